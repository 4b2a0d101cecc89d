"""Carries out the GRPO job of a JSON file with samples that depend on the prompt alone.

Run by `test_distributed.py`, as one process or under torchrun: what differs between the two is then
how the work is spread, and nothing else.
"""

import json
import random
import sys
from pathlib import Path

import torch

from ace_lib import rl, sampling
from ace_lib.profiles import Compute
from ace_lib.rl import GRPOJob


def fixed_samples(model, prompts, num_samples, max_new_tokens, temperature, seed, ends, top_p=1.0):
    token_ids = []
    for prompt in prompts:
        for number in range(num_samples):
            rng = random.Random(f"{prompt}-{number}")
            length = rng.randint(2, max_new_tokens)
            ids = [rng.randint(10, 120) for _ in range(length)]
            token_ids.append(ids if length == max_new_tokens else [*ids[:-1], ends[0]])
    entropies = torch.zeros(len(token_ids), max_new_tokens)
    for row, ids in zip(entropies, token_ids, strict=True):
        row[: len(ids)] = 0.5
    return sampling.Batch(token_ids, [ids[-1] not in ends for ids in token_ids],
                          torch.zeros_like(entropies), entropies)  # fmt: skip


def vowel_score(rows):
    def score(indices, texts):
        return [None if "q" in t else float(any(c in "aeiou" for c in t)) for t in texts]

    return score


if __name__ == "__main__":
    order = json.loads(Path(sys.argv[1]).read_text())
    sampling.generate_batch = fixed_samples
    rl.make_score = vowel_score
    rl.train(GRPOJob(**order["job"]), lambda **event: None, Compute(**order["compute"]))
