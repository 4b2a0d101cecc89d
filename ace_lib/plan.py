"""What a profile costs, before a GPU is touched: `ace plan PROFILE`.

Times come from a small model of the hardware with a stated range for each assumption, because
nobody knows the mean length of answers or the efficiency of a cluster beforehand. Sampling is
bound by reading weights and key-value cache once per token, and a synchronous RL step waits for
its longest answer; training is bound by FLOPs. Held to P1's published GPU hours and to measured
tiny runs in `tests/test_plan.py`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ace_lib import AceError, tinyworld
from ace_lib.hardware import (
    CHECKPOINT_BYTES,
    ENGINE_EXTRA,
    GIB,
    HARDWARE,
    MEAN_LENGTH,
    Memory,
    Range,
    disk_of,
    memory_of,
)
from ace_lib.model_shapes import ModelShape, shape_of
from ace_lib.profiles import Compute, load_profile
from ace_lib.steps import read_steps
from ace_lib.workload import Answers, Training, Updates, Work, of_profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class DoesNotFit(AceError):
    """A profile asks for more memory or disk than its hardware has."""


# CPU seconds to judge an answer, by domain. P1, section 3: 1,024 answers take 64 workers 3.9 s
# (math) and 552.4 s (code). The low ends are this kit's verdicts on easy tests.
_CONTEST_JUDGING = {"math": (0.001, 3.9 * 64 / 1024), "code": (0.5, 552.4 * 64 / 1024)}
_GENERATED_JUDGING = {"math": (0.0002, 0.002), "code": (0.005, 0.03)}
NOTEBOOK_SECONDS = (2.0, 60.0)  # kernel, imports, figures; curation (01), one GRPO step (06)
BANDWIDTH_SHARE = (0.8, 0.5)  # the first belongs to the low estimate
MAX_SEQUENCES = 256  # that vLLM decodes at once
JUDGING_WORKERS_PER_GPU = 8


@dataclass(frozen=True)
class Cost:
    """What one piece of work takes: ranges of seconds on the whole machine."""

    step: str
    name: str
    seconds: Range
    sampling: Range
    tokens: Range
    flops: Range


@dataclass(frozen=True)
class Plan:
    """Costs, memory and disk of a profile."""

    profile: str
    compute: Compute
    shape: ModelShape
    costs: list[Cost]
    memory: Memory
    disk: float

    @property
    def num_units(self) -> int:
        """GPUs, or 1 for a CPU machine."""
        return max(1, self.compute.num_gpus)

    def by_step(self) -> dict[str, list[Cost]]:
        """The costs of every notebook run, in order."""
        steps = dict.fromkeys(cost.step for cost in self.costs)
        return {step: [cost for cost in self.costs if cost.step == step] for step in steps}

    def hours(self, costs: Sequence[Cost] | None = None) -> Range:
        """GPU hours (machine hours on a CPU) of some costs, by default of all."""
        chosen = self.costs if costs is None else costs
        return tuple(
            sum(cost.seconds[end] for cost in chosen) * self.num_units / 3600 for end in (0, 1)
        )

    def check(self) -> None:
        """Raise DoesNotFit with the reason and what would help."""
        memory = self.memory
        state_room = memory.available
        if self.compute.vllm_mode == "colocate":
            state_room -= memory.engine_room
        sharding = "more GPUs to shard over, sharding: fsdp2 or zero3"
        for when, needed, room, fix in (
            ("training", memory.training, memory.available,
             f"more gradient_accumulation_steps, {sharding}"),
            ("sampling", memory.sampling, memory.engine_room, "a larger tensor_parallel"),
            ("the trainer's state beside the engine", memory.state, state_room, sharding),
        ):  # fmt: skip
            if self.compute.num_gpus and needed > room:
                raise DoesNotFit(
                    f"{self.profile}: {when} needs {needed / GIB:.0f} GiB per GPU, "
                    f"{room / GIB:.0f} GiB are usable: {fix}, or a smaller model"
                )
        stated = load_profile(self.profile).needs["disk_gib"]
        if self.disk > stated * GIB:
            raise DoesNotFit(
                f"{self.profile}: models, checkpoints and rows take {self.disk / GIB:.0f} GiB, the "
                f"profile states {stated:g}: raise needs: disk_gib"
            )


def make_plan(profile_name: str) -> Plan:
    """Plan a profile from its parameters.

    Raises AceError: the profile is not well formed, or its model's size is unknown.
    """
    profile = load_profile(profile_name)
    compute, shape = profile.compute, shape_of(profile.shared["model"])
    works = of_profile(read_steps(profile_name))
    everything = [work for part in works.values() for work in part]
    memory = memory_of(compute, shape, everything)
    is_generated = profile.shared["benchmarks_code"][0] in tinyworld.BENCHMARKS
    judging = _GENERATED_JUDGING if is_generated else _CONTEST_JUDGING
    estimate = _Estimate(compute, shape, memory, judging)
    costs = []
    for step, part in works.items():
        costs.append(Cost(step, "the notebook itself", NOTEBOOK_SECONDS, *3 * [(0.0, 0.0)]))
        costs += [estimate.cost(step, work) for work in part]
    return Plan(profile_name, compute, shape, costs, memory, disk_of(compute, shape, everything))


class _Estimate:
    """Turns work into time; index 0 is the low end of each range, 1 the high one."""

    def __init__(
        self, compute: Compute, shape: ModelShape, memory: Memory, judging: dict[str, Range]
    ) -> None:
        self.compute, self.shape, self.memory, self.judging = compute, shape, memory, judging
        self.hardware = HARDWARE[compute.gpu]
        self.num_units = max(1, compute.num_gpus)

    def cost(self, step: str, work: Work) -> Cost:
        """Both ends of the time, the tokens and the FLOPs of one piece of work."""
        ends = [self._cost(work, end) for end in (0, 1)]
        return Cost(step, work.name, *zip(*ends, strict=True))

    def _cost(self, work: Work, end: int) -> tuple[float, float, float, float]:
        """(seconds, of which sampling, tokens, FLOPs) at one end of the ranges."""
        mean = MEAN_LENGTH[end] * work.max_length
        start = self.hardware.start_seconds[end]
        forward = self._forward_flops(mean)
        if isinstance(work, Training):
            num_rows = work.num_rows * work.epochs
            flops = num_rows * self._passes * forward
            return start + self._train(flops, end), 0.0, num_rows * mean, flops
        sampling = self._sample(work, mean, end)
        if isinstance(work, Answers):
            tokens = work.num_answers * mean
            return start + sampling, sampling, tokens, work.num_answers * forward
        workers = JUDGING_WORKERS_PER_GPU * self.num_units if self.compute.num_gpus else 2
        judging = work.num_answers * self.judging[work.domain][end] / workers
        # With vLLM, TRL also needs the trainer's own log-probabilities of what was sampled.
        passes = self._passes + (self.compute.vllm_mode != "none")
        flops = work.num_answers * passes * forward
        one = sampling + self._train(flops, end) + judging
        num_answers = work.steps * work.num_answers
        return (start + work.steps * one, work.steps * sampling, num_answers * mean,
                num_answers * (passes + 1) * forward)  # fmt: skip

    @property
    def _passes(self) -> int:
        """Forward and backward; with gradient checkpointing (on GPUs) one more forward."""
        return 4 if self.compute.num_gpus else 3

    def _forward_flops(self, length: float) -> float:
        return 2 * self.shape.num_parameters * length + self.shape.attention_flops(length)

    def _train(self, flops: float, end: int) -> float:
        speed = self.hardware.flops * self.hardware.utilisation[1 - end]
        return flops / (speed * self.compute.num_processes)

    def _sample(self, work: Answers | Updates, mean: float, end: int) -> float:
        """Until the last answer is there: the longest, or what the engines' rate allows."""
        per_engine = math.ceil(work.num_answers / self._num_engines(work))
        together = min(per_engine, self._max_together(work, mean))
        seconds = self._decode_step(together, mean, end)
        return max(work.max_length, per_engine * mean / together) * seconds

    def _num_engines(self, work: Answers | Updates) -> int:
        """RL samples beside every trainer, or on one server; `vllm_engine.sample` on one node."""
        if isinstance(work, Updates) and self.compute.vllm_mode == "server":
            return 1
        num_gpus = self.num_units if isinstance(work, Updates) else self.compute.gpus_per_node
        return max(1, num_gpus // self.compute.tensor_parallel)

    def _max_together(self, work: Answers | Updates, mean: float) -> int:
        """Sequences that the key-value cache of one engine holds."""
        if not self.compute.num_gpus:
            return MAX_SEQUENCES
        memory = self.memory
        room = memory.engine_room if isinstance(work, Updates) else memory.available
        room -= memory.engine_weights + ENGINE_EXTRA
        per_sequence = mean * self.shape.kv_bytes_per_token() / self.compute.tensor_parallel
        return max(1, min(MAX_SEQUENCES, int(room / per_sequence)))

    def _decode_step(self, together: int, mean: float, end: int) -> float:
        """Seconds in which each of `together` sequences grows by a token."""
        bytes_per_value = 2 if self.compute.num_gpus else 4
        weights = bytes_per_value * self.shape.num_parameters
        # On average half of an answer is there, and half of the sequences still grow.
        cache = together / 2 * mean / 2 * self.shape.kv_bytes_per_token(bytes_per_value)
        engine = self.compute.tensor_parallel * BANDWIDTH_SHARE[end]
        reading = (weights + cache) / (self.hardware.bandwidth * engine)
        flops = 2 * self.shape.num_parameters * together
        computing = flops / (self.hardware.flops * self.hardware.utilisation[1 - end]
                             * self.compute.tensor_parallel)  # fmt: skip
        return self.hardware.step_seconds[end] + max(reading, computing)


def report(plan: Plan) -> str:
    """The plan as text: a row per notebook run, totals, memory, disk and the assumptions."""
    on_gpu, memory = plan.compute.num_gpus > 0, plan.memory
    unit, scale = ("GPU hours", 1) if on_gpu else ("minutes", 60)
    lines = [f"{'run':<28} {'million tokens':>19} {unit:>17} {'sampling':>8}"]
    lines += [_row(plan, step, costs, scale) for step, costs in plan.by_step().items()]
    lines.append(_row(plan, "all", plan.costs, scale))
    days = [hours / plan.num_units / 24 for hours in plan.hours()]
    on_end = f"; {days[0]:.2g} to {days[1]:.2g} days on end" if on_gpu else ""
    least, most = HARDWARE[plan.compute.gpu].utilisation
    lines += [
        "",
        f"{plan.profile}: {plan.compute.describe()}, "
        f"{plan.shape.num_parameters:,} parameters{on_end}",
    ]
    flops = [sum(cost.flops[end] for cost in plan.costs) for end in (0, 1)]
    cache = plan.shape.kv_bytes_per_token() / plan.compute.tensor_parallel
    lines.append(f"FLOPs: {flops[0]:.2g} – {flops[1]:.2g}")
    if on_gpu:
        lines += [
            f"memory per GPU: training {memory.training / GIB:.1f} of "
            f"{memory.available / GIB:.0f} GiB, {memory.state / GIB:.1f} of them weights, "
            "gradients and AdamW's moments",
            f"engine in RL: {memory.sampling / GIB:.1f} of {memory.engine_room / GIB:.0f} GiB at "
            f"least; key-value cache {cache / 1024:.0f} KiB per token",
        ]
    checkpoint = CHECKPOINT_BYTES * plan.shape.num_parameters
    lines += [
        f"disk: {plan.disk / GIB:.1f} GiB of models, checkpoints and rows; a checkpoint has "
        f"{checkpoint / GIB:.3g} GiB",
        f"assumed: answers of {MEAN_LENGTH[0]:.0%} to {MEAN_LENGTH[1]:.0%} of the longest allowed; "
        f"training at {least:.0%} to {most:.0%} of the data sheet's FLOPs; "
        f"sampling at {BANDWIDTH_SHARE[1]:.0%} to {BANDWIDTH_SHARE[0]:.0%} of its bandwidth; the "
        "longest answer of every RL step reaches the limit; a teacher that is sampled here is as "
        "large as the model, any other's attempts are at hand",
    ]
    return "\n".join(lines)


def _row(plan: Plan, name: str, costs: Sequence[Cost], scale: float) -> str:
    hours = [end * scale for end in plan.hours(costs)]
    tokens = [sum(cost.tokens[end] for cost in costs) / 1e6 for end in (0, 1)]
    share = sum(c.sampling[1] for c in costs) / sum(c.seconds[1] for c in costs)
    return f"{name:<28} {_span(tokens):>19} {_span(hours):>17} {share:>8.0%}"


def _span(ends: Sequence[float]) -> str:
    """Two numbers, with digits as far as they mean something."""
    low, high = (f"{end:,.0f}" if end >= 10 else f"{end:.2g}" for end in ends)
    return f"{low} – {high}"


def draw(plan: Plan) -> tuple["Figure", str]:
    """Figure of the cost of every run, low to high end, and its alt text."""
    from ace_lib import plots

    scale, unit = (1, "GPU hours") if plan.compute.num_gpus else (60, "minutes on 2 cores")
    ranges = {step: plan.hours(costs) for step, costs in plan.by_step().items()}
    fig, axes = plots.figure(width=8, height=0.28 * len(ranges) + 1.2)
    for step, (low, high) in ranges.items():
        axes.barh(step, scale * (high - low), left=scale * low, color=plots.SKY)
    axes.set(xlabel=f"{unit}, low to high end", xscale="log", title=f"Cost of {plan.profile}")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.invert_yaxis()
    dearest = max(ranges, key=lambda step: ranges[step][1])
    total = _span([scale * end for end in plan.hours()])
    alt = f"Range of {unit} for each notebook run; {dearest} takes most, all together {total}."
    return fig, alt
