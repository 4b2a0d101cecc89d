"""Temperature-adjusted entropy, the papers' dial for the RL temperature (P2 section 3.3).

Read here as: the mean over generated tokens of the entropy, in nats, of softmax(logits / T), on
completions sampled at that same T. P2 prints no formula; this reading matches veRL's code and the
values P2 shows for one policy at T 0.6, 0.85 and 1.0. Every token counts once: a mean of means
over samples or batches would let short completions count too much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ace_lib import problems
from ace_lib.profiles import ONE_PROCESS, Compute
from ace_lib.runs import write_json

if TYPE_CHECKING:
    from ace_lib.sampling import Sample

NUM_RESAMPLES = 1000


@dataclass
class EntropyJob:
    """Entropy of one model at several temperatures, for `ace_lib.launch`.

    `output/entropies.json` becomes a list with one `measure_entropy` result per temperature.
    """

    name: str
    model: str
    output: str
    problems_file: str
    temperatures: list[float]
    num_samples: int
    max_new_tokens: int
    seed: int = 0
    engine: str = "transformers"


def run_job(job: EntropyJob, progress: Callable[..., None], compute: Compute) -> None:
    """Carry out an entropy job in this process."""
    rows = problems.read_jsonl(job.problems_file)
    limits = (job.num_samples, job.max_new_tokens, job.seed, job.engine, compute)
    results = []
    for temperature in job.temperatures:
        results.append(measure_entropy(job.model, rows, temperature, *limits))
        entropy = results[-1]["mean"]
        progress(done=len(results), total=len(job.temperatures), entropy=entropy)
    write_json(Path(job.output) / "entropies.json", results)


def measure_entropy(
    model_path: Path | str,
    rows: Sequence[dict],
    temperature: float,
    num_samples: int,
    max_new_tokens: int,
    seed: int,
    engine: str = "transformers",
    compute: Compute = ONE_PROCESS,
) -> dict[str, float]:
    """Temperature-adjusted entropy of a model over problems, with a 95 % interval.

    Args:
        model_path: folder of a model with its tokenizer.
        rows: problem rows.
        temperature: of sampling and of the entropy.
        num_samples: completions per problem.
        max_new_tokens: limit per completion; truncated ones count with the tokens they have.
        seed: of sampling.
        engine: "transformers" gives the entropy of every token; "vllm" only its log-probability,
            whose negative has the entropy as its mean, so the interval is a little wider.
        compute: GPUs for vLLM.

    Returns:
        temperature, mean, low, high (nats per token; bootstrap over problems), num_tokens,
        mean_length (tokens), truncated (share).
    """
    from ace_lib import sampling

    prompts = sampling.render_prompts(model_path, rows)
    chunks = sampling.sample(
        model_path, prompts, num_samples, max_new_tokens, temperature, seed=seed, engine=engine,
        compute=compute,
    )  # fmt: skip
    groups = [group for chunk in chunks for group in chunk]
    sums = [sum(map(entropy_of, group)) for group in groups]
    counts = [sum(len(sample.token_ids) for sample in group) for group in groups]
    samples = [sample for group in groups for sample in group]
    low, high = bootstrap_ratio(sums, counts, seed)
    return {
        "temperature": temperature,
        "mean": sum(sums) / sum(counts),
        "low": low,
        "high": high,
        "num_tokens": sum(counts),
        "mean_length": sum(counts) / len(samples),
        "truncated": sum(sample.truncated for sample in samples) / len(samples),
    }


def entropy_of(sample: "Sample") -> float:
    """Entropy summed over a sample's tokens, nats; with vLLM an unbiased estimate of it."""
    return sum(sample.entropies) if sample.entropies else -sum(sample.logprobs)


def nearest_temperature(results: Sequence[dict], target: float) -> float:
    """Temperature at which the entropy should be `target`, to two digits.

    Entropy grows with T; between two measured temperatures it is taken as linear, outside them
    the nearer end is returned.

    Args:
        results: what `measure_entropy` returned, at several temperatures.
        target: nats; 0.3 in P2.
    """
    points = sorted((r["temperature"], r["mean"]) for r in results)
    for (low_t, low), (high_t, high) in zip(points, points[1:], strict=False):
        if low <= target <= high:
            share = (target - low) / (high - low) if high > low else 0.0
            return round(low_t + share * (high_t - low_t), 2)
    return min(points, key=lambda point: abs(point[1] - target))[0]


def bootstrap_ratio(
    sums: Sequence[float], counts: Sequence[float], seed: int
) -> tuple[float, float]:
    """95 % percentile interval of sum(sums) / sum(counts), resampling pairs with replacement."""
    chosen = np.random.default_rng(seed).integers(len(sums), size=(NUM_RESAMPLES, len(sums)))
    ratios = np.take(sums, chosen).sum(axis=1) / np.take(counts, chosen).sum(axis=1)
    return tuple(np.quantile(ratios, [0.025, 0.975]).tolist())
