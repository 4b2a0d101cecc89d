"""How fast are MinHash signatures beside datatrove's signature step and datasketch?

    OMP_NUM_THREADS=1 python benchmarks/dedup.py --candidates F... [--repeats 3]

Needs `pip install datatrove datasketch spacy tokenizers tldextract "xxhash<3.6"`. All make 112
hashes over 5-grams of words (datatrove's defaults) of the same prompts, in one thread. datatrove is
its own step, which also writes the signatures to disk; datasketch gets words split at spaces.
"""

import argparse
import tempfile

import datasketch
import peers
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

from ace_lib import dedup

NUM_HASHES = 112
SHINGLE = 5


def sign_ours(prompts: list[str]) -> None:
    dedup.minhash_signatures(prompts, NUM_HASHES, SHINGLE)


def sign_datatrove(prompts: list[str]) -> None:
    config = MinhashConfig(n_grams=SHINGLE, num_buckets=14, hashes_per_bucket=NUM_HASHES // 14)
    with tempfile.TemporaryDirectory() as folder:
        step = MinhashDedupSignature(folder, config)
        step.run(Document(text, str(number)) for number, text in enumerate(prompts))


def sign_datasketch(prompts: list[str]) -> None:
    empty = datasketch.MinHash(num_perm=NUM_HASHES)
    for prompt in prompts:
        words = prompt.lower().split()
        count = max(1, len(words) - SHINGLE + 1)
        signature = empty.copy()
        signature.update_batch({" ".join(words[i : i + SHINGLE]).encode() for i in range(count)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", nargs="+", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    prompts = peers.read_statements(arguments.candidates)
    ways = {"ours": sign_ours, "datatrove": sign_datatrove, "datasketch": sign_datasketch}
    turns = {name: (lambda sign=sign: sign(prompts)) for name, sign in ways.items()}
    timed = peers.take_turns(turns, arguments.repeats)
    result = {
        "prompts": len(prompts),
        "characters": sum(map(len, prompts)),
        "cpu_seconds": timed,
        "times_faster_than": peers.ratios(timed),
    }
    peers.save("dedup", result, ["numpy", "datatrove", "datasketch", "spacy"])


if __name__ == "__main__":
    main()
