"""What a profile's notebooks ask of the hardware, counted from their parameters before any runs.

Three kinds of work matter: supervised training, RL updates, and answers sampled for evaluation or
entropy. The counts mirror the job lists of the notebooks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ace_lib.benchmarks import name_of
from ace_lib.params import Settings
from ace_lib.sources import SOURCES
from ace_lib.steps import Step

# Notebook 09: arms besides the three length schedules. Short: overlong filter on and off, 2 and 4
# updates per batch, two kinds of wrong verdicts.
NUM_SHORT_ARMS, NUM_FULL_ARMS, NUM_CODE_ARMS, NUM_GROUP_ARMS = 6, 2, 2, 2


@dataclass(frozen=True)
class Training:
    """Supervised training: `num_rows` rows on disk, seen `epochs` times, of at most `max_length`.

    `num_models` are written to disk. `rows_together` of a step are in memory at once, shared out to
    the processes; packed, each process holds one sequence.
    """

    name: str
    num_rows: int
    epochs: int
    max_length: int
    num_models: int
    rows_together: int = 1


@dataclass(frozen=True)
class Updates:
    """RL updates: each samples answers, judges them and learns from them, part by part."""

    name: str
    steps: int
    prompts_per_batch: int
    num_generations: int
    gradient_accumulation_steps: int
    max_length: int
    domain: str
    importance_sampling: str
    num_models: int

    @property
    def num_answers(self) -> int:
        """Answers of one update."""
        return self.prompts_per_batch * self.num_generations

    @property
    def rows_together(self) -> int:
        """Answers that all processes together learn from in one pass."""
        return -(-self.num_answers // self.gradient_accumulation_steps)


@dataclass(frozen=True)
class Answers:
    """Answers sampled outside training."""

    name: str
    num_answers: int
    max_length: int


Work = Training | Updates | Answers


def of_profile(steps: list[Step]) -> dict[str, list[Work]]:
    """Work of every step, by its name."""
    # Settings of the RL stages, whose jobs notebooks 09 and 10 vary.
    stages = {s.variant: s.settings for s in steps if s.notebook == "08_train_rl_stage"}
    works = {}
    for step in steps:
        count = _COUNTS.get(step.notebook)
        works[step.name] = count(step.settings, stages) if count else []
    return works


def _updates(name: str, settings: Settings, num_models: int, **changes: object) -> Updates:
    """RL with a notebook's own parameters, some of them replaced."""
    values = {"domain": "math", **settings.values, **changes}
    return Updates(
        name, values["steps"], values["prompts_per_batch"], values["num_generations"],
        values["gradient_accumulation_steps"], values["max_completion_length"], values["domain"],
        values["importance_sampling"], num_models,
    )  # fmt: skip


def _num_problems(source: str, wanted: int) -> int:
    """Problems that a benchmark gives: at most as many as it has."""
    known = SOURCES.get(source)
    return min(wanted, known.size) if known and known.size else wanted


def _evaluation(settings: Settings, sources: list[str], times: int = 1) -> Answers:
    """Answers to benchmarks, `samples_per_benchmark` going before `num_samples`."""
    other = settings.values.get("samples_per_benchmark", {})
    num_answers = times * sum(
        other.get(name_of(source), settings.num_samples)
        * _num_problems(source, settings.num_problems)
        for source in sources
    )
    return Answers("evaluation", num_answers, settings.max_new_tokens)


def _entropy(settings: Settings, num_temperatures: int) -> Answers:
    num_answers = num_temperatures * settings.num_prompts * settings.samples_per_prompt
    return Answers("entropy", num_answers, settings.max_completion_length)


def _benchmarks(settings: Settings) -> list[str]:
    return [*settings.benchmarks_math, *settings.benchmarks_code]


def _curate_data(settings: Settings, stages: Mapping[str, Settings]) -> list[Work]:
    """Attempts of a teacher that is sampled here, at as many prompts as the bundled pool has."""
    is_file = settings.teacher.endswith((".jsonl", ".jsonl.gz"))
    if is_file or settings.teacher == "tiny" or settings.teacher.startswith("http"):
        return []
    num_prompts = settings.num_math + settings.num_code
    attempts = num_prompts * settings.num_attempts
    return [Answers("the teacher's attempts", attempts, settings.teacher_max_tokens)]


def _measure_models(settings: Settings, stages: Mapping[str, Settings]) -> list[Work]:
    return [_evaluation(settings, settings.problems)]


def _scale_sft_data(settings: Settings, stages: Mapping[str, Settings]) -> list[Work]:
    num_sets = len(settings.set_prompts)
    return [
        Training(
            "SFT",
            num_sets * settings.num_rows,
            1,
            settings.max_length,
            num_sets,
            1 if settings.packing else settings.batch_size,
        ),
        _evaluation(settings, _benchmarks(settings), num_sets),
    ]


def _train_sft(settings: Settings, stages: Mapping[str, Settings]) -> list[Work]:
    epochs = settings.num_train_epochs
    rows = settings.num_prompts * settings.responses_per_prompt
    development = settings.num_development * settings.num_samples * epochs
    return [
        Training(
            "SFT",
            rows,
            epochs,
            settings.max_length,
            epochs + 1,
            1 if settings.packing else settings.batch_size,
        ),
        Answers("choice of the epoch", development, settings.max_new_tokens),
        _evaluation(settings, _benchmarks(settings)),
    ]


def _sweep_temperature(settings: Settings, stages: Mapping[str, Settings]) -> list[Work]:
    return [
        _entropy(settings, len(settings.temperatures) + 3),
        _updates("RL at three T", settings, 3, steps=3 * settings.steps),
        _evaluation(settings, settings.benchmarks_math, 3),
    ]


def _train_rl_stage(settings: Settings, stages: Mapping[str, Settings]) -> list[Work]:
    return [
        _entropy(settings, len(settings.temperatures)),
        _updates("RL", settings, 1),
        _evaluation(settings, _benchmarks(settings)),
    ]


def _compare_stages(settings: Settings, stages: Mapping[str, Settings]) -> list[Work]:
    short, long, last = stages["math_8k"], stages["math_24k"], stages["math_32k"]
    total, steps = settings.schedule_steps, settings.steps
    third, half = total // 3, total // 2
    batch = {"prompts_per_batch": settings.prompts_per_batch,
             "num_generations": settings.num_generations}  # fmt: skip

    def schedule(stage: Settings, models: int, steps: int) -> Updates:
        length = stage.max_completion_length
        return _updates(f"length schedules, {length:,} tokens", short, models, steps=steps,
                        max_completion_length=length, **batch)  # fmt: skip

    def arms(name: str, stage: Settings, number: int) -> Updates:
        return _updates(name, stage, number, steps=number * steps, **batch)

    num_math_arms = 3 + NUM_SHORT_ARMS + NUM_FULL_ARMS + NUM_GROUP_ARMS
    problems = {
        name: sum(_num_problems(source, settings.num_problems) for source in sources)
        for name, sources in (
            ("math", settings.benchmarks_math),
            ("code", settings.benchmarks_code),
        )
    }
    num_problems = num_math_arms * problems["math"] + NUM_CODE_ARMS * problems["code"]
    return [
        schedule(short, 1, third),
        schedule(stages["math_16k"], 2, third + half),
        schedule(long, 3, 3 * total - 2 * third - half),
        arms("overlong, updates per batch, noise", short, NUM_SHORT_ARMS),
        arms("overlong at full length", last, NUM_FULL_ARMS),
        arms("code before and after math", stages["code_24k"], NUM_CODE_ARMS),
        arms("easy and hard prompts", long, NUM_GROUP_ARMS),
        Answers("evaluation", num_problems * settings.num_samples, last.max_completion_length),
        Answers("entropy", 3 * problems["math"] * settings.num_samples,
                short.max_completion_length),
    ]  # fmt: skip


def _relate_sft_and_rl(settings: Settings, stages: Mapping[str, Settings]) -> list[Work]:
    stage = stages["math_16k"]
    num_problems = sum(
        _num_problems(source, settings.pass_at_k_num_problems) for source in _benchmarks(settings)
    )
    return [
        _entropy(stage, 2 * len(stage.temperatures)),
        _updates("RL from two starts", stage, 2, steps=2 * settings.steps,
                 prompts_per_batch=settings.prompts_per_batch),
        _evaluation(settings, settings.benchmarks_math, 4),
        Answers("pass@k", 2 * num_problems * settings.pass_at_k_num_samples,
                settings.max_new_tokens),
    ]  # fmt: skip


_COUNTS: dict[str, Callable[[Settings, Mapping[str, Settings]], list[Work]]] = {
    "01_curate_data": _curate_data,
    "03_measure_models": _measure_models,
    "04_scale_sft_data": _scale_sft_data,
    "05_train_sft": _train_sft,
    "07_sweep_temperature": _sweep_temperature,
    "08_train_rl_stage": _train_rl_stage,
    "09_compare_stages": _compare_stages,
    "10_relate_sft_and_rl": _relate_sft_and_rl,
}
