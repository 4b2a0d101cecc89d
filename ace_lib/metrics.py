"""Estimators and intervals: avg@k, pass@k, paired differences.

Scores are in **points** (0–100), the papers' unit. A *table* is what `evaluate.read_table`
returns: one row per (problem, sample) with columns `problem_id` and `reward` (1, 0, or NaN
where the verifier itself failed; NaN rows are left out, never counted as wrong).

Samples of one problem are not independent evidence, so every interval treats the **problem**
as the unit (clustered). It answers "what if the benchmark had other problems of this kind";
it does not contain the variation between training seeds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
NUM_DRAWS = 2000  # of a bootstrap


@dataclass(frozen=True)
class Estimate:
    """A score in points with its 95 % interval; `n` problems, at least `k` samples of each."""

    avg: float
    low: float
    high: float
    n: int
    k: int

    def __str__(self) -> str:
        return f"{self.avg:.1f} [{self.low:.1f}, {self.high:.1f}]"

    def to_dict(self) -> dict:
        """Plain dict {avg, low, high, n, k}, as the run files store it."""
        return asdict(self)


@lru_cache
def student_t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Quantile of Student's t.

    With t = sqrt(df)·tan(θ) its density becomes cos(θ)^(df-1) on (-π/2, π/2): bounded and
    smooth, so a fine grid gives five digits without scipy.
    """
    theta = np.linspace(-math.pi / 2, math.pi / 2, 20_001)
    density = np.cos(theta).clip(min=0) ** (degrees_of_freedom - 1)
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    angle = np.interp(probability, mass / mass[-1], theta)
    return math.sqrt(degrees_of_freedom) * math.tan(angle)


def problem_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Per problem: `mean` reward, number `judged`, number `passed`; index `problem_id`.

    Raises:
        ValueError: no row has a verdict.
    """
    judged = table.dropna(subset=["reward"])
    if judged.empty:
        raise ValueError("no judged answer in the table: every reward is missing (NaN)")
    groups = judged.groupby("problem_id", sort=True)["reward"].agg(["mean", "count", "sum"])
    return groups.rename(columns={"count": "judged", "sum": "passed"})


def avg_at_k(table: pd.DataFrame) -> Estimate:
    """avg@k: mean over problems of the mean reward over k samples (P1 section 4.1)."""
    scores = problem_scores(table)
    low, high = _mean_interval(scores["mean"].to_numpy())
    return _points(scores["mean"].mean(), max(low, 0.0), min(high, 1.0), scores)


def mean_of_benchmarks(tables: Sequence[pd.DataFrame]) -> Estimate:
    """Unweighted mean of the benchmarks' avg@k, the z of P2's scaling fit, in points.

    Errors of the benchmarks are independent; degrees of freedom after Welch–Satterthwaite.
    """
    scores = [problem_scores(table) for table in tables]
    means = np.array([s["mean"].mean() for s in scores])
    sizes = np.array([len(s) for s in scores])
    variances = np.array([s["mean"].var(ddof=1) for s in scores]) / sizes
    centre, total = float(means.mean()), float(variances.sum())
    if total > 0:
        freedom = total**2 / float((variances**2 / (sizes - 1)).sum())
        reach = math.sqrt(total) / len(scores) * student_t_quantile((1 + CONFIDENCE) / 2, freedom)
    else:
        reach = _reach_without_spread(int(sizes.sum()))
    fewest = min(int(s["judged"].min()) for s in scores)
    low, high = max(0.0, centre - reach), min(1.0, centre + reach)
    return Estimate(100 * centre, 100 * low, 100 * high, n=int(sizes.sum()), k=fewest)


def _mean_interval(values: np.ndarray) -> tuple[float, float]:
    """95 % t-interval of the mean of independent values (0–1, or differences of such)."""
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    if error > 0:
        reach = error * student_t_quantile((1 + CONFIDENCE) / 2, len(values) - 1)
    else:
        reach = _reach_without_spread(len(values))
    return float(values.mean() - reach), float(values.mean() + reach)


def _reach_without_spread(num_values: int) -> float:
    """Half width of an interval when all values are the same: zero would be falsely certain.

    If none of n problems differs, at most a share 1 - 0.025^(1/n) of all problems does, with 95 %
    confidence (Clopper and Pearson's exact bound); each could differ by the whole range.
    """
    return 1 - ((1 - CONFIDENCE) / 2) ** (1 / num_values)


def _points(avg: float, low: float, high: float, scores: pd.DataFrame) -> Estimate:
    return Estimate(
        100 * float(avg), 100 * float(low), 100 * float(high),
        n=len(scores), k=int(scores["judged"].min()),
    )  # fmt: skip


def variance_components(table: pd.DataFrame) -> tuple[float, float]:
    """Split the variance of one answer's reward into (between problems, within a problem).

    Both in squared reward units (0–1). Every problem needs at least two judged samples.
    """
    scores = problem_scores(table)
    p, k = scores["mean"].to_numpy(), scores["judged"].to_numpy()
    if k.min() < 2:
        raise ValueError("variance within a problem needs num_samples >= 2")
    within = float(np.mean(p * (1 - p) * k / (k - 1)))
    between = float(p.var(ddof=1)) - within * float(np.mean(1 / k))
    return max(between, 0.0), within


def standard_error(
    between: float, within: float, num_problems: int, num_samples: int, fixed_problems: bool = False
) -> float:
    """Standard error of avg@k in points that `num_problems` × `num_samples` answers will have.

    `fixed_problems=True` keeps only the noise of sampling, as P1's 1.8 / 1.2 / 0.7 for AIME24
    at k = 16 / 32 / 64 does; False adds the luck of which problems are in the benchmark.
    """
    variance = within / num_samples + (0.0 if fixed_problems else between)
    return 100 * math.sqrt(variance / num_problems)


def pass_at_k_of_counts(judged: np.ndarray, passed: np.ndarray, k: int) -> np.ndarray:
    """Unbiased pass@k per problem: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, section 2.1).

    Args:
        judged: n, answers per problem, shape (problems,); every n >= k.
        passed: c, right answers per problem, shape (problems,).
        k: budget of answers.
    """
    # C(n-c,k)/C(n,k) = prod_{i<k} (n-c-i)/(n-i); a factor 0 means k draws must hit a pass.
    steps = np.arange(k)[None, :]
    factors = (judged - passed)[:, None] - steps
    return 1 - np.prod(factors.clip(min=0) / (judged[:, None] - steps), axis=1)


def pass_at_k(table: pd.DataFrame, k: int) -> Estimate:
    """pass@k over problems with a percentile bootstrap interval over problems.

    Problems with fewer than k judged samples are left out (`n` tells how many remain).

    Raises:
        ValueError: no problem has k judged samples.
    """
    scores = problem_scores(table)
    scores = scores[scores["judged"] >= k]
    if scores.empty:
        raise ValueError(f"pass@{k} needs problems with at least {k} judged samples each")
    values = _pass_at_k(scores, k)
    low, high = _bootstrap_mean_interval(values)
    return _points(values.mean(), max(low, 0.0), min(high, 1.0), scores)


def pass_at_k_difference(before: pd.DataFrame, after: pd.DataFrame, k: int) -> Estimate:
    """pass@k of `after` minus `before`, paired by problem, bootstrap over problems; in points.

    Raises:
        ValueError: no problem has k judged samples in both tables.
    """
    sides = [problem_scores(table) for table in (before, after)]
    sides = [scores[scores["judged"] >= k] for scores in sides]
    common = sides[0].index.intersection(sides[1].index)
    if common.empty:
        raise ValueError(f"pass@{k} needs problems with {k} judged samples in both tables")
    first, second = (scores.loc[common] for scores in sides)
    values = _pass_at_k(second, k) - _pass_at_k(first, k)
    return _points(values.mean(), *_bootstrap_mean_interval(values), first)


def _pass_at_k(scores: pd.DataFrame, k: int) -> np.ndarray:
    return pass_at_k_of_counts(scores["judged"].to_numpy(), scores["passed"].to_numpy(), k)


def _bootstrap_mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Percentile bootstrap 95 % interval of the mean of independent `values` (range 1)."""
    if values.min() == values.max():
        reach = _reach_without_spread(len(values))
        return float(values[0]) - reach, float(values[0]) + reach
    draws = np.random.default_rng(0).integers(len(values), size=(NUM_DRAWS, len(values)))
    tail = (1 - CONFIDENCE) / 2
    return tuple(np.quantile(values[draws].mean(axis=1), [tail, 1 - tail]).tolist())


def paired_contrast(tables: Sequence[pd.DataFrame], weights: Sequence[float]) -> Estimate:
    """Weighted sum of avg@k over tables of the **same problems**, in points.

    Pairing by problem removes the difficulty of the problems from the interval.

    Raises:
        ValueError: the tables do not hold the same problems.
    """
    scores = [problem_scores(table) for table in tables]
    first = scores[0].index
    for other in scores[1:]:
        if not first.equals(other.index):
            missing = sorted(first.symmetric_difference(other.index))[:3]
            raise ValueError(f"a paired comparison needs the same problems; differing: {missing}")
    values = sum(w * s["mean"].to_numpy() for w, s in zip(weights, scores, strict=True))
    low, high = _mean_interval(values)
    fewest = min(scores, key=lambda s: s["judged"].min())
    return _points(values.mean(), low, high, fewest)


def paired_difference(before: pd.DataFrame, after: pd.DataFrame) -> Estimate:
    """avg@k of `after` minus avg@k of `before` on the same problems, in points."""
    return paired_contrast([before, after], [-1.0, 1.0])


def newly_solved(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Problems that no sample of `before` solves and at least one of `after` does."""
    a, b = problem_scores(before)["passed"], problem_scores(after)["passed"]
    common = a.index.intersection(b.index)
    return [str(name) for name in common if a[name] == 0 and b[name] > 0]
