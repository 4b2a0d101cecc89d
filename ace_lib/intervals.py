"""95 % intervals of means: over problems, and over problems and training seeds.

Samples of one problem are not independent evidence, so the **problem** is the unit; with several
training runs the **seed** is a second one, crossed with the first. All values here are scores of
0–1 or differences of such; low and high are not clipped.
"""

import math
from functools import lru_cache

import numpy as np

CONFIDENCE = 0.95
TAIL = (1 - CONFIDENCE) / 2
# Below, normal theory does not hold: the usual rule for a share, n·p >= 5.
MIN_DIFFERING = 5


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


def reach_without_spread(num_problems: int) -> float:
    """Half width when all problems agree: zero would be falsely certain.

    If none of n problems differs, at most a share 1 - 0.025^(1/n) of all problems does, with 95 %
    confidence (Clopper and Pearson's exact bound); each could differ by the whole range.
    """
    return 1 - TAIL ** (1 / num_problems)


def _least_reach(values: np.ndarray) -> float:
    """The exact bound where too few of `values` (seeds, problems) differ for a spread, else 0."""
    found, counts = np.unique(values, return_counts=True)
    num_differing = (values != found[counts.argmax()]).any(axis=0).sum()
    return reach_without_spread(values.shape[1]) if num_differing < MIN_DIFFERING else 0.0


def over_problems(values: np.ndarray) -> tuple[float, float]:
    """t-interval of the mean of independent values, shape (problems,)."""
    reach = _least_reach(values[None])
    if len(values) > 1:
        error = values.std(ddof=1) / math.sqrt(len(values))
        reach = max(reach, error * student_t_quantile(1 - TAIL, len(values) - 1))
    return _around(values.mean(), reach)


def over_seeds_and_problems(values: np.ndarray) -> tuple[float, float]:
    """Interval of the mean over problems and seeds, both taken as random draws.

    Two-way analysis of variance without replication: Var(mean) = (MS_seeds + MS_problems -
    MS_rest) / (seeds · problems), degrees of freedom after Satterthwaite; Clark (1973) has it for
    subjects and words. Few seeds make it wide where seeds differ, as it should be.

    Args:
        values: of every seed on the same problems, shape (seeds, problems); one seed is fine.
    """
    num_seeds, num_problems = values.shape
    if num_seeds == 1 or num_problems == 1:
        return over_problems(values.ravel())
    of_seed, of_problem, centre = values.mean(axis=1), values.mean(axis=0), values.mean()
    rest = values - of_seed[:, None] - of_problem + centre
    freedom = np.array([num_seeds - 1, num_problems - 1, (num_seeds - 1) * (num_problems - 1)])
    squares = np.array(
        [
            num_problems * ((of_seed - centre) ** 2).sum(),
            num_seeds * ((of_problem - centre) ** 2).sum(),
            (rest**2).sum(),
        ]
    )
    seeds, problems, noise = means = squares / freedom
    # A component of variance that comes out negative is zero.
    total = max(seeds + problems - noise, seeds, problems)
    reach = _least_reach(values)
    if total > 0:
        satterthwaite = total**2 / float((means**2 / freedom).sum())
        error = math.sqrt(total / values.size)
        reach = max(reach, error * student_t_quantile(1 - TAIL, satterthwaite))
    return _around(centre, reach)


def over_seeds(means: np.ndarray) -> tuple[float, float]:
    """t-interval of the mean of one value a seed, shape (seeds,), at least two: any unit."""
    error = means.std(ddof=1) / math.sqrt(len(means))
    return _around(means.mean(), error * student_t_quantile(1 - TAIL, len(means) - 1))


def _around(centre: float, reach: float) -> tuple[float, float]:
    return float(centre - reach), float(centre + reach)
