"""How fast is decontamination beside datatrove's n-gram filter and open-r1's script?

    OMP_NUM_THREADS=1 python benchmarks/decontamination.py --candidates F... --benchmarks F... \
        --open-r1 open-r1/scripts/decontaminate.py [--repeats 3] [--name NAME]

Needs `pip install datatrove spacy tldextract "xxhash<3.6"`. All search 9-grams of the same
statements in one thread; every time includes building the index. datatrove is its own filter (its
default tokeniser and settings) on an index of its own hashes. open-r1 is its script's loop, one
`map` per benchmark; "open-r1 without map" calls the script's functions alone. "ours in map" is what
notebook 01 runs.
"""

import argparse
import os
import re
import runpy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import datasets
import numpy as np
import peers
from datatrove.data import Document
from datatrove.pipeline.decont.n_grams import NGramsDecontConfig, NGramsDecontFilter
from datatrove.utils.text import ngrams, simplify_text

from ace_lib import decontaminate

NGRAM = decontaminate.MATH_NGRAM


def ours(candidates: list[str], benchmarks: dict[str, list[str]]) -> dict[str, list]:
    rows = {
        name: [{"id": str(i), "prompt": text} for i, text in enumerate(texts)]
        for name, texts in benchmarks.items()
    }
    return decontaminate.find_overlaps(candidates, decontaminate.build_index(rows, NGRAM))


def datatrove(candidates: list[str], benchmarks: dict[str, list[str]]) -> list[bool]:
    config = NGramsDecontConfig(n_grams=NGRAM)
    with tempfile.TemporaryDirectory() as folder:
        step = NGramsDecontFilter(folder, config)
        for name, texts in benchmarks.items():
            hashes = {
                step.hash_func(" ".join(gram))
                for text in texts
                for gram in ngrams(
                    step.tokenizer.word_tokenize(simplify_text(text, config.norm_config)), NGRAM
                )
            }
            array = np.array(list(hashes), dtype=config.hash_config.np_descr)
            array.tofile(Path(folder) / f"{name}.index.hashes")
        return [
            step.filter(Document(text, str(number))) is not True
            for number, text in enumerate(candidates)
        ]


def ours_in_map(candidates: list[str], benchmarks: dict[str, list[str]]) -> list[bool]:
    rows = {
        name: [{"id": str(i), "prompt": text} for i, text in enumerate(texts)]
        for name, texts in benchmarks.items()
    }
    pool = datasets.Dataset.from_dict({"prompt": candidates, "domain": ["math"] * len(candidates)})
    arguments = {
        "indexes": {"math": decontaminate.build_index(rows, NGRAM)},
        "rule": "any",
        "coverage": 0.5,
        "same_numbers": False,
    }
    marked = pool.map(decontaminate.mark_contaminated, batched=True, fn_kwargs=arguments)
    return marked["contaminated"][:]


def open_r1_in_map(script: str) -> Callable[[list[str], dict[str, list[str]]], list[bool]]:
    code = runpy.run_path(script)

    def run(candidates: list[str], benchmarks: dict[str, list[str]]) -> list[bool]:
        rows = datasets.Dataset.from_dict({"problem": candidates})
        for name, texts in benchmarks.items():
            lookup = code["build_ngram_lookup"](texts, NGRAM)

            def find_contaminated(row: dict, name: str = name, lookup: dict = lookup) -> dict:
                grams = code["build_ngram_single"](row["problem"], ngram_size=NGRAM)
                row[f"contaminated_{name}"] = any({gram in lookup for gram in grams})
                return row

            rows = rows.map(find_contaminated)
        return np.any([rows[f"contaminated_{name}"] for name in benchmarks], axis=0).tolist()

    return run


def open_r1(script: str) -> Callable[[list[str], dict[str, list[str]]], list[bool]]:
    code = runpy.run_path(script)

    def run(candidates: list[str], benchmarks: dict[str, list[str]]) -> list[bool]:
        found = np.zeros(len(candidates), dtype=bool)
        for texts in benchmarks.values():
            lookup = code["build_ngram_lookup"](texts, NGRAM)
            for number, text in enumerate(candidates):
                grams = code["build_ngram_single"](text, NGRAM)
                found[number] |= any({gram in lookup for gram in grams})
        return found.tolist()

    return run


def peak_memory(candidates: list[str], benchmarks: dict[str, list[str]]) -> float:
    """MB by which our resident memory grows at most, evidence included (Linux)."""

    def read(field: str) -> int:
        return int(re.search(rf"{field}:\s+(\d+)", Path("/proc/self/status").read_text())[1])

    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is in use
    before = read("VmRSS")
    ours(candidates, benchmarks)
    return (read("VmHWM") - before) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", nargs="+", required=True)
    parser.add_argument("--benchmarks", nargs="+", required=True)
    parser.add_argument("--open-r1", required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--name", default="decontamination")
    arguments = parser.parse_args()
    os.environ["TQDM_DISABLE"] = "1"
    datasets.disable_progress_bars()
    candidates = peers.read_statements(arguments.candidates)
    benchmarks = {
        Path(name).name.split(".")[0]: peers.read_statements([name])
        for name in arguments.benchmarks
    }
    ways = {
        "ours": ours,
        "ours in map": ours_in_map,
        "datatrove": datatrove,
        "open-r1": open_r1_in_map(arguments.open_r1),
        "open-r1 without map": open_r1(arguments.open_r1),
    }
    start = time.process_time()
    ours(candidates[:1], benchmarks)  # compiles the loops, or loads them
    first_call = time.process_time() - start
    memory = peak_memory(candidates, benchmarks)
    flags: dict[str, list] = {}

    def bind(name: str) -> Callable[[], object]:
        return lambda: flags.update({name: ways[name](candidates, benchmarks)})

    timed = peers.take_turns({name: bind(name) for name in ways}, arguments.repeats)
    flags["ours"] = decontaminate.is_contaminated(flags["ours"])
    items = [{"id": str(i), "prompt": t} for i, t in enumerate(sum(benchmarks.values(), []))]
    num_ngrams = len(decontaminate.build_index({"all": items}, NGRAM).table.keys)
    result = {
        "candidates": len(candidates),
        "candidate_characters": sum(map(len, candidates)),
        "benchmark_items": len(items),
        "benchmarks": len(benchmarks),
        "benchmark_ngrams": num_ngrams,
        "cpu_seconds": timed,
        "times_faster_than": peers.ratios(timed),
        "flagged_by_any": {name: sum(values) for name, values in flags.items()},
        "found_of_the_peers": {
            name: round(
                np.mean([f for f, p in zip(flags["ours"], flags[name], strict=True) if p]), 4
            )
            for name in ("datatrove", "open-r1")
        },
        "first_call_s": round(first_call, 2),
        "peak_memory_mb": round(memory, 1),
        "memory_allowed_mb": round(50 + 16 * num_ngrams / 1e6, 1),
    }
    peers.save(arguments.name, result, ["numpy", "numba", "datasets", "datatrove", "spacy"])


if __name__ == "__main__":
    main()
