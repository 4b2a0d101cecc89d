"""Which problem stands at each place of an RL run: epochs, each in its own seeded order.

TRL replays the first epoch's order when a run goes on in a later one, so its data set holds places
only. Every process finds the problems by itself, from the rewards that all of them are told.
"""

import random
from collections.abc import Mapping, Sequence

from ace_lib.problems import ProblemFileError

# Chance that an epoch takes a problem that no answer solved, or that every answer solved
# (Nemotron-Cascade's two numbers, read in this order).
CHANCE_TO_RETURN = {0.0: 0.10, 1.0: 0.01}


class Schedule:
    """The order of a run's problems.

    Args:
        num_problems: of the run.
        prompts_per_batch: places of a generation batch.
        seed: of the orders, and of what returns.
        filter_epochs: an epoch leaves out what all or none of the answers solved on the latest
            visit, but for a few. A visit in the very batch that an epoch begins in comes too late
            for it.

    Raises:
        ProblemFileError: there is no problem.
    """

    def __init__(
        self, num_problems: int, prompts_per_batch: int, seed: int, filter_epochs: bool = False
    ) -> None:
        if num_problems == 0:
            raise ProblemFileError("no problem to train on: loosen the filter of this stage")
        self._num_problems, self._prompts_per_batch = num_problems, prompts_per_batch
        self._seed, self._filter_epochs = seed, filter_epochs
        self._order: list[int] = []
        self._epoch = 0
        self._rates: dict[int, float] = {}

    def batch(self, number: int) -> list[int]:
        """Problem indices of a generation batch; those before it must have been noted."""
        end = (number + 1) * self._prompts_per_batch
        while len(self._order) < end:
            self._order += self._next_epoch()
        return self._order[end - self._prompts_per_batch : end]

    def note(self, number: int, rewards: Mapping[int, Sequence[float | None]]) -> None:
        """Take in the rewards of a generation batch, by problem; None where there is no verdict."""
        self.batch(number)
        for problem, given in rewards.items():
            known = [reward for reward in given if reward is not None]
            if known:
                self._rates[problem] = sum(known) / len(known)

    def _next_epoch(self) -> list[int]:
        rng = random.Random(f"{self._seed}-{self._epoch}")
        self._epoch += 1
        order = list(range(self._num_problems))
        rng.shuffle(order)
        if not self._filter_epochs:
            return order
        kept = [p for p in order if rng.random() < CHANCE_TO_RETURN.get(self._rates.get(p), 1.0)]
        return kept or order  # nothing left to learn from: all of them again
