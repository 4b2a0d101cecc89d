"""Which way of sampling is fastest for a tiny model on this machine?

    python benchmarks/generation.py [--model FOLDER] [--rows 128] [--max-new-tokens 96]

Samples the same prompts with TRL's path (`model.generate` as GRPOTrainer calls it), with the same
through static prompt batches of equal length, with the kit's loop in one thread and in two, and
with vLLM when it is installed. Ways take turns in one run and the median counts, so that a busy
machine hits all alike: trust the ratios more than the tokens per second.
"""

import argparse
import importlib.util
import os
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ace_lib import models, parallel, sampling, tinyworld
from ace_lib.prompts import render_prompt
from ace_lib.vllm_engine import CPU_ENVIRONMENT

TEMPERATURE = 0.9


def make_prompts(tokenizer: object, num_prompts: int) -> list[list[int]]:
    rng = random.Random(0)
    topics = ("algebra", "combinatorics", "number_theory", "geometry")
    rows = [tinyworld.make_problem("math", topics[i % 4], 3, rng) for i in range(num_prompts)]
    texts = [render_prompt(tokenizer, row) for row in rows]
    return tokenizer(texts, add_special_tokens=False).input_ids


@torch.no_grad()
def generate(model, tokenizer, prompts, num_samples, max_new_tokens) -> int:
    """What TRL does: every prompt repeated, padded left, one call of `generate`."""
    repeated = [p for p in prompts for _ in range(num_samples)]
    batch = tokenizer.pad({"input_ids": repeated}, padding_side="left", return_tensors="pt")
    output = model.generate(
        **batch, max_new_tokens=max_new_tokens, do_sample=True, temperature=TEMPERATURE,
        top_k=0, top_p=1.0, eos_token_id=sampling.end_tokens(model, tokenizer),
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    completions = output[:, batch["input_ids"].shape[1] :]
    # Padding follows the end token, which itself counts as sampled.
    return int((completions != tokenizer.pad_token_id).sum())


def generate_by_length(model, tokenizer, prompts, num_samples, max_new_tokens) -> int:
    """`generate` over groups of prompts of one length: no padding, more and smaller batches."""
    groups: dict[int, list] = {}
    for prompt in prompts:
        groups.setdefault(len(prompt), []).append(prompt)
    return sum(
        generate(model, tokenizer, group, num_samples, max_new_tokens) for group in groups.values()
    )


def tight_loop(num_parts: int) -> Callable[..., int]:
    def run(model, tokenizer, prompts, num_samples, max_new_tokens) -> int:
        ends = sampling.end_tokens(model, tokenizer)
        size = -(-len(prompts) // num_parts)
        parts = [prompts[i : i + size] for i in range(0, len(prompts), size)]

        def sample(part: list[list[int]]) -> int:
            batch = sampling._generate(
                model, part, 0, num_samples, max_new_tokens, TEMPERATURE, ends, 1.0
            )
            return sum(map(len, batch.token_ids))

        return sum(parallel.map_parts(sample, parts))

    return run


def make_vllm(path: Path) -> Callable[..., int]:
    os.environ.update(CPU_ENVIRONMENT)
    from vllm import LLM, SamplingParams

    engine = LLM(str(path), enforce_eager=True, dtype="float32", max_model_len=512)

    def run(model, tokenizer, prompts, num_samples, max_new_tokens) -> int:
        options = SamplingParams(n=num_samples, temperature=TEMPERATURE, max_tokens=max_new_tokens)
        outputs = engine.generate(
            [{"prompt_token_ids": p} for p in prompts], options, use_tqdm=False
        )
        return sum(len(sample.token_ids) for output in outputs for sample in output.outputs)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--rows", type=int, default=128)
    parser.add_argument("--num-samples", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    path = models.resolve_model(options.model)
    model, tokenizer = sampling.load(path)
    prompts = make_prompts(tokenizer, options.rows // options.num_samples)
    ways = {
        "generate, as TRL calls it": generate,
        "generate, static batches by length": generate_by_length,
        "the kit's loop, one thread": tight_loop(1),
        "the kit's loop, two threads": tight_loop(2),
    }
    if importlib.util.find_spec("vllm"):
        ways["vLLM"] = make_vllm(path)
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(options.repeats + 1):
        for name, way in ways.items():
            torch.manual_seed(repeat)
            started = time.perf_counter()
            tokens = way(model, tokenizer, prompts, options.num_samples, options.max_new_tokens)
            if repeat:  # the first round warms up
                speeds[name].append(tokens / (time.perf_counter() - started))
    base = statistics.median(speeds["generate, as TRL calls it"])
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {options.rows} rows")
    for name, values in speeds.items():
        speed = statistics.median(values)
        print(f"{name:<36} {speed:8,.0f} tokens/s  {speed / base:5.2f} x")


if __name__ == "__main__":
    main()
