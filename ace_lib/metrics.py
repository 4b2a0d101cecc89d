"""Estimators and intervals: avg@k, pass@k, paired differences.

Scores are in **points** (0–100), the papers' unit. A *table* is what `evaluate.read_table`
returns: one row per (problem, sample) with columns `problem_id` and `reward` (1, 0, or NaN
where the verifier itself failed; NaN rows are left out, never counted as wrong).

Intervals (`ace_lib.intervals`) treat the problem as the unit: they answer "what if the benchmark
had other problems of this kind". Over one training run they do not contain the luck of its seed;
those over the runs of several seeds do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from ace_lib import intervals

if TYPE_CHECKING:
    import pandas as pd


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


def problem_scores(table: pd.DataFrame) -> pd.DataFrame:
    """Per problem: `mean` reward, number `judged`, number `passed`; index `problem_id`.

    Raises ValueError: no row has a verdict.
    """
    judged = table.dropna(subset=["reward"])
    if judged.empty:
        raise ValueError("no judged answer in the table: every reward is missing (NaN)")
    groups = judged.groupby("problem_id", sort=True)["reward"].agg(["mean", "count", "sum"])
    return groups.rename(columns={"count": "judged", "sum": "passed"})


def mean(values: Sequence[pd.Series], samples: int, bounds: tuple[float, float]) -> Estimate:
    """Mean over problems and training seeds, in points.

    Args:
        values: a series per seed, scores (0–1) or differences of such by problem id. Seeds that
            answered the same problems are crossed with them; otherwise, from one seed to the next
            everything is drawn anew, and the seeds' means alone decide.
        samples: answers per problem, at least; kept as `k`.
        bounds: what a mean can be, in points.

    Raises:
        ValueError: a seed has no problem.
    """
    if any(series.empty for series in values):
        raise ValueError("a mean needs at least one problem of every seed")
    if all(series.index.equals(values[0].index) for series in values):
        low, high = intervals.over_seeds_and_problems(np.array([s.to_numpy() for s in values]))
        centre = float(np.mean([s.mean() for s in values]))
    else:
        means = np.array([series.mean() for series in values])
        centre, (low, high) = float(means.mean()), intervals.over_seeds(means)
    low, high = max(100 * low, bounds[0]), min(100 * high, bounds[1])
    return Estimate(100 * centre, low, high, n=len(values[0]), k=samples)


SCORE, DIFFERENCE = (0.0, 100.0), (-math.inf, math.inf)  # bounds


def avg_at_k(*tables: pd.DataFrame) -> Estimate:
    """avg@k: mean over problems of the mean reward over k samples (P1 section 4.1).

    Several tables are those of several training seeds.
    """
    scores = [problem_scores(table) for table in tables]
    return mean([s["mean"] for s in scores], _fewest(scores), SCORE)


def _fewest(scores: Sequence[pd.DataFrame]) -> int:
    return min(int(s["judged"].min()) for s in scores)


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
        quantile = intervals.student_t_quantile(1 - intervals.TAIL, freedom)
        reach = math.sqrt(total) / len(scores) * quantile
    else:
        reach = intervals.reach_without_spread(int(sizes.sum()))
    low, high = max(0.0, centre - reach), min(1.0, centre + reach)
    return Estimate(100 * centre, 100 * low, 100 * high, n=int(sizes.sum()), k=_fewest(scores))


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


def pass_at_k_by_problem(table: pd.DataFrame, k: int) -> pd.Series:
    """Unbiased pass@k (0–1) of every problem with k judged samples or more.

    Raises ValueError: no problem has.
    """
    scores = problem_scores(table)
    scores = scores[scores["judged"] >= k]
    if scores.empty:
        raise ValueError(f"pass@{k} needs problems with at least {k} judged samples each")
    values = pass_at_k_of_counts(scores["judged"].to_numpy(), scores["passed"].to_numpy(), k)
    return scores["mean"] * 0 + values


def pass_at_k(table: pd.DataFrame, k: int) -> Estimate:
    """pass@k over problems; those with fewer than k judged samples are left out (see `n`)."""
    return mean([pass_at_k_by_problem(table, k)], k, SCORE)


def pass_at_k_difference(before: pd.DataFrame, after: pd.DataFrame, k: int) -> Estimate:
    """pass@k of `after` minus `before` in points, paired over problems that both can tell of."""
    change = pass_at_k_by_problem(after, k) - pass_at_k_by_problem(before, k)
    return mean([change.dropna()], k, DIFFERENCE)


def contrast_by_problem(tables: Sequence[pd.DataFrame], weights: Sequence[float]) -> pd.Series:
    """Weighted sum of the mean rewards over tables of the **same problems**, by problem.

    Pairing by problem removes the difficulty of the problems from the interval. Raises ValueError:
    the tables do not hold the same problems.
    """
    scores = [problem_scores(table)["mean"] for table in tables]
    for other in scores[1:]:
        if not scores[0].index.equals(other.index):
            missing = sorted(scores[0].index.symmetric_difference(other.index))[:3]
            raise ValueError(f"a paired comparison needs the same problems; differing: {missing}")
    return sum(weight * score for weight, score in zip(weights, scores, strict=True))


def paired_contrast(tables: Sequence[pd.DataFrame], weights: Sequence[float]) -> Estimate:
    """Weighted sum of avg@k over tables of the same problems, in points."""
    fewest = _fewest([problem_scores(table) for table in tables])
    return mean([contrast_by_problem(tables, weights)], fewest, DIFFERENCE)


def paired_difference(before: pd.DataFrame, after: pd.DataFrame) -> Estimate:
    """avg@k of `after` minus avg@k of `before` on the same problems, in points."""
    return paired_contrast([before, after], [-1.0, 1.0])


def newly_solved(before: pd.DataFrame, after: pd.DataFrame) -> list[str]:
    """Problems that no sample of `before` solves and at least one of `after` does."""
    a, b = problem_scores(before)["passed"], problem_scores(after)["passed"]
    common = a.index.intersection(b.index)
    return [str(name) for name in common if a[name] == 0 and b[name] > 0]
