"""Entropy of stored samples: eight temperatures against one, and peak memory over their number.

    python benchmarks/entropy_pass.py [--model tiny] [--tokens 96] [--rounds 5]

Each measurement is a process of its own, so that its peak memory is its own. `base` is what the
process holds once the model is loaded.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from statistics import median

import peers

EIGHT = [0.4, 0.6, 0.7, 0.85, 1.0, 1.2, 1.5, 1.8]
PROMPT_TOKENS = 32


def measure(model_name: str, num_rows: int, num_tokens: int, num_temperatures: int) -> dict:
    """Seconds of the second of two passes, and peak memory before and after, in MiB."""
    import torch

    from ace_lib import models, parallel, sampling
    from ace_lib.entropy_pass import token_entropies

    model, tokenizer = sampling.load(models.resolve_model(model_name))
    parallel.set_threads(model)
    draw = torch.Generator().manual_seed(0)
    size = (num_rows, PROMPT_TOKENS + num_tokens)
    ids = torch.randint(len(tokenizer), size, generator=draw).tolist()
    prompts, completions = ([row[part] for row in ids] for part in
                            (slice(PROMPT_TOKENS), slice(PROMPT_TOKENS, None)))  # fmt: skip
    temperatures = EIGHT[:num_temperatures]
    base = _peak_mib()
    token_entropies(model, prompts[:2], completions[:2], temperatures)
    started = time.process_time()
    token_entropies(model, prompts, completions, temperatures)
    return {"seconds": time.process_time() - started, "base": base, "peak": _peak_mib()}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def in_process(*arguments: object) -> dict:
    """`measure` in a fresh process."""
    command = [sys.executable, __file__, "--measure", json.dumps(arguments)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Print the ratio of eight temperatures to one, and the peaks, as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(*json.loads(arguments.measure))))
        return
    name, rows, tokens = arguments.model, arguments.rows, arguments.tokens
    pairs = [
        [in_process(name, rows, tokens, count)["seconds"] for count in (1, 8)]
        for _ in range(arguments.rounds)
    ]
    peaks = {
        f"{factor * rows} rows": {
            key: round(value) for key, value in in_process(name, factor * rows, tokens, 8).items()
            if key != "seconds"
        }
        for factor in (1, 4)
    }  # fmt: skip
    result = {
        "model": name,
        "tokens_per_row": tokens,
        "cpu_seconds_one_and_eight": [[round(s, 3) for s in pair] for pair in pairs],
        "eight_to_one": round(median(eight / one for one, eight in pairs), 2),
        "peak_mib": peaks,
    }
    peers.save("entropy_pass", result, ["torch", "transformers"])


if __name__ == "__main__":
    main()
