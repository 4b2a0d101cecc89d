"""What an RL run writes down at every step, and what it tells its schedule."""

import time
from collections.abc import Callable
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from ace_lib import AceError, training
from ace_lib.schedule import Schedule

if TYPE_CHECKING:
    from ace_lib.grpo import Rollout
    from ace_lib.rl import GRPOJob

# Steps whose truncated share decides whether a run ends early.
STOP_STEPS = 10


class OffPolicyStep(AceError):
    """A run declared on-policy clipped a ratio: the update did not see its own samples."""


class Recorder:
    """Turns rollouts and TRL's log into `metrics.jsonl`, `pass_rates.jsonl` and progress."""

    def __init__(self, job: "GRPOJob", rows: list[dict], progress: Callable[..., None]) -> None:
        self.job, self.rows, self.progress = job, rows, progress
        self.metrics_file = Path(job.output) / "metrics.jsonl"
        self.pass_rates_file = Path(job.output) / "pass_rates.jsonl"
        self.latest: dict[str, float] = {}
        self.pending: list[dict] = []
        self.step_started = time.perf_counter()
        self.schedule = Schedule(len(rows), job.prompts_per_batch, job.seed, job.filter_epochs)
        self.num_batches = 0

    def recall(self, step: int) -> None:
        """Tell the schedule what is on disk of the steps up to `step`."""
        places = {row["id"]: place for place, row in enumerate(self.rows)}
        visits = training.rows_until(self.pass_rates_file, step)
        for _, batch in groupby(visits, key=itemgetter("step")):
            self._note({places[visit["problem_id"]]: visit["rewards"] for visit in batch})

    def _note(self, rewards: dict[int, list[float | None]]) -> None:
        self.schedule.note(self.num_batches, rewards)
        self.num_batches += 1

    def on_rollout(self, rollout: "Rollout") -> None:
        """Note what a generation batch shows: pass rate, exact entropy, lengths, truncation."""
        lengths = rollout.lengths
        known = [r for r in rollout.rewards if r is not None]
        size = self.job.num_generations
        self.pending = [
            {
                "problem_id": self.rows[rollout.problems[i]]["id"],
                "rewards": rollout.rewards[i : i + size],
                "lengths": lengths[i : i + size],
            }
            for i in range(0, len(lengths), size)
        ]
        problems = rollout.problems[::size]
        self._note({place: entry["rewards"]
                    for place, entry in zip(problems, self.pending, strict=True)})  # fmt: skip
        equal = [len({*entry["rewards"]} - {None}) < 2 for entry in self.pending]
        self.latest = {
            "reward": sum(known) / len(known) if known else float("nan"),
            "entropy": rollout.entropy / sum(lengths),
            "mean_length": sum(lengths) / len(lengths),
            "truncated": sum(rollout.truncated) / len(lengths),
            "groups_without_signal": sum(equal) / len(equal),
            "without_verdict": len(rollout.rewards) - len(known),
        }

    def on_log(self, step: int, logs: dict[str, float]) -> None:
        """Write one row per step; check that an on-policy run is one."""
        clipped = logs["clip_ratio/region_mean"]
        if self.job.num_iterations == 1 and clipped != 0:
            raise OffPolicyStep(f"step {step}: {clipped:.2%} of the ratios were clipped")
        now = time.perf_counter()
        row = {"step": step} | self.latest | {
            "loss": logs["loss"],
            "grad_norm": logs["grad_norm"],
            "clipped": clipped,
            "sampler_mismatch": logs.get("sampling/sampling_logp_difference/mean", 0.0),
            "seconds": round(now - self.step_started, 3),
        }  # fmt: skip
        self.step_started = now
        training.append_rows(self.metrics_file, [row])
        training.append_rows(
            self.pass_rates_file, [{"step": step} | entry for entry in self.pending]
        )
        self.pending = []
        self.progress(done=step, total=self.job.max_steps, **row)

    def is_long_enough(self) -> bool:
        """Whether hardly any answer is truncated any more, see `stop_at_truncated`."""
        if self.job.stop_at_truncated == 0:
            return False
        shares = [row["truncated"] for row in training.read_metrics(self.job.output)[-STOP_STEPS:]]
        return len(shares) == STOP_STEPS and mean(shares) <= self.job.stop_at_truncated
