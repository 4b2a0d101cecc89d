"""Does a profile make sense before it costs GPU hours? `ace lint PROFILE`.

Types, ranges and names are checked by `ace_lib.params`; the rules here are about values that only
fail together, many of them after days: batches that do not divide, lengths beyond the context,
ratios that vanish with length, disks that fill. Each rule yields what is wrong and how to mend it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ace_lib import benchmarks, provenance, scaling, sources
from ace_lib.doctor import read_pins
from ace_lib.model_shapes import ModelShape, shape_of
from ace_lib.plan import DoesNotFit, Plan, make_plan
from ace_lib.profiles import Profile, load_profile, stages
from ace_lib.steps import Step, read_steps

# Tokens that a prompt may take beside its answer.
PROMPT_TOKENS = 2048
ORIGINAL_ROPE_BASE = 1.0e4
# Products of token ratios: with a mismatch of 2 % per token their mean weight is 0.38 at 8K tokens.
MAX_SEQUENCE_RATIO_TOKENS = 2048
# Releases that were run together (TRL 1.16 supports vLLM 0.22 to 0.31).
TESTED = {"torch": "2.13.", "transformers": "5.17.", "trl": "1.16.", "vllm": "0.31."}


@dataclass(frozen=True)
class Finding:
    """One fault: where it is written, what is wrong, and how to mend it."""

    place: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}\n    fix: {self.fix}"


@dataclass(frozen=True)
class Subject:
    """What the rules look at."""

    profile: Profile
    steps: list[Step]
    shape: ModelShape
    plan: Plan

    @property
    def rl(self) -> list[Step]:
        """Steps that declare RL batches with their accumulation: notebooks 07 and 08."""
        return [s for s in self.steps if "gradient_accumulation_steps" in s.settings.values]

    @property
    def stage_steps(self) -> list[Step]:
        """The RL stages in order."""
        return [s for s in self.steps if "stage" in s.settings.values]

    def place(self, step: Step, name: str) -> str:
        """Where a step's value was written: the stage's section, the notebook's, or shared."""
        places = self.profile.places
        for keys in (("stages", step.variant, name), ("notebooks", step.notebook, name)):
            if keys in places:
                return self.profile.place(*keys)
        return self.profile.place("shared", name)


Rule = Callable[[Subject], Iterator[Finding]]


def lint(profile_name: str) -> list[Finding]:
    """Return every fault of a profile; none means that its values fit each other.

    Raises:
        AceError: the profile cannot be read at all; the message has file and line.
    """
    profile, steps = load_profile(profile_name), read_steps(profile_name)
    shape = shape_of(profile.shared["model"])
    subject = Subject(profile, steps, shape, make_plan(profile_name))
    return [finding for rule in RULES for finding in rule(subject)]


# --- batches and machines ------------------------------------------------------------------------


def batch_divides(subject: Subject) -> Iterator[Finding]:
    """TRL gives every process the same number of answers in every part of a batch."""
    processes = subject.profile.compute.num_processes
    for step in subject.rl:
        s = step.settings
        answers = s.prompts_per_batch * s.num_generations
        parts = processes * s.gradient_accumulation_steps
        if answers % parts:
            yield Finding(
                subject.place(step, "prompts_per_batch"),
                f"{step.name}: {s.prompts_per_batch} prompts × {s.num_generations} answers = "
                f"{answers} do not divide into {processes} processes × "
                f"{s.gradient_accumulation_steps} accumulation steps",
                f"choose a product that divides {answers}",
            )


def groups_stay_whole(subject: Subject) -> Iterator[Finding]:
    """A process samples and judges whole groups: all answers of a prompt."""
    processes = subject.profile.compute.num_processes
    for step in subject.rl:
        prompts = step.settings.prompts_per_batch
        if prompts % processes:
            yield Finding(
                subject.place(step, "prompts_per_batch"),
                f"{step.name}: {prompts} prompts over {processes} processes would split groups",
                f"take a multiple of {processes}",
            )


def sft_batch_divides(subject: Subject) -> Iterator[Finding]:
    """Rows of a batch are dealt to the processes."""
    processes = subject.profile.compute.num_processes
    for step in subject.steps:
        size = step.settings.values.get("batch_size", 0)
        if size % processes:
            yield Finding(
                subject.place(step, "batch_size"),
                f"{step.notebook}: batch_size {size} does not divide by {processes} processes",
                f"take a multiple of {processes}",
            )


def gpus_agree(subject: Subject) -> Iterator[Finding]:
    """The needs are what a user is asked for; the compute section is what is launched."""
    profile = subject.profile
    if profile.needs["gpus"] != profile.compute.gpus_per_node:
        yield Finding(
            profile.place("needs", "gpus"),
            f"needs {profile.needs['gpus']} GPUs, but compute: gpus_per_node is "
            f"{profile.compute.gpus_per_node}",
            "state the same number in both",
        )
    if (profile.compute.gpu == "none") != (profile.compute.gpus_per_node == 0):
        yield Finding(
            profile.place("compute", "gpu"),
            f"gpu: {profile.compute.gpu} with gpus_per_node: {profile.compute.gpus_per_node}",
            "name the kind of GPU, or set gpu: none and gpus_per_node: 0",
        )


def launcher_reaches(subject: Subject) -> Iterator[Finding]:
    """`local` is one process, `torchrun` one machine."""
    compute = subject.profile.compute
    if compute.launcher == "local" and compute.num_gpus > 1:
        message, fix = f"`local` uses one of {compute.num_gpus} GPUs", "launcher: torchrun or slurm"
    elif compute.launcher == "torchrun" and compute.nodes > 1:
        message, fix = f"`torchrun` starts one of {compute.nodes} nodes", "launcher: slurm"
    else:
        return
    yield Finding(subject.profile.place("compute", "launcher"), message, fix)


def sharding_has_processes(subject: Subject) -> Iterator[Finding]:
    """A single process has nothing to share its state with."""
    compute = subject.profile.compute
    if compute.sharding != "none" and compute.num_processes == 1:
        yield Finding(
            subject.profile.place("compute", "sharding"),
            f"sharding: {compute.sharding} with a single process",
            "sharding: none, or more GPUs with launcher: torchrun",
        )


def engine_is_used(subject: Subject) -> Iterator[Finding]:
    """The engine of evaluation and that of RL belong together."""
    compute, engine = subject.profile.compute, subject.profile.shared["engine"]
    if compute.vllm_mode != "none" and engine != "vllm":
        message, fix = f"engine: {engine} with vllm_mode: {compute.vllm_mode}", "engine: vllm"
        place = subject.profile.place("shared", "engine")
    elif compute.vllm_mode == "none" and engine == "vllm" and compute.num_gpus:
        message = "RL would sample with the built-in loop, evaluation with vLLM"
        fix = "vllm_mode: colocate, or server"
        place = subject.profile.place("compute", "vllm_mode")
    else:
        return
    yield Finding(place, message, fix)


def tensor_parallel_divides(subject: Subject) -> Iterator[Finding]:
    """vLLM splits attention heads over the GPUs of one engine."""
    compute, size = subject.profile.compute, subject.profile.compute.tensor_parallel
    whole = max(1, compute.gpus_per_node)
    for number, what in (
        (whole, "GPUs of a node"),
        (subject.shape.num_heads, "attention heads"),
        (subject.shape.num_kv_heads, "key-value heads"),
    ):
        if number % size:
            yield Finding(
                subject.profile.place("compute", "tensor_parallel"),
                f"tensor_parallel {size} does not divide the {number} {what}",
                f"take a divisor of {number}",
            )


# --- the recipe ----------------------------------------------------------------------------------


def lengths_fit_context(subject: Subject) -> Iterator[Finding]:
    """Beyond the trained context a model babbles, unless SFT raises the RoPE base (P2, 3)."""
    profile, own = subject.profile, subject.shape.context
    context = profile.shared["context"] if profile.includes("05_train_sft") else own
    if context > own and profile.shared["rope_theta"] <= ORIGINAL_ROPE_BASE:
        yield Finding(
            profile.place("shared", "rope_theta"),
            f"a context of {context:,} tokens with the RoPE base of a model trained for {own:,}",
            "rope_theta: 1.0e+6, and SFT at that length",
        )
    room = context - min(PROMPT_TOKENS, context // 4)
    for step in subject.steps:
        for name in ("max_completion_length", "max_new_tokens", "max_length"):
            length = step.settings.values.get(name, 0)
            if length > room:
                yield Finding(
                    subject.place(step, name),
                    f"{step.name}: {name} {length:,} with a context of {context:,} tokens and "
                    "room for the prompt",
                    f"at most {room:,}, or a larger context with SFT at that length",
                )


def stages_are_known(subject: Subject) -> Iterator[Finding]:
    """A misspelt stage would silently run with another's values."""
    known = [stage.name for stage in stages()]
    for name in subject.profile.stages:
        if name not in known:
            yield Finding(
                subject.profile.place("stages", name),
                f"there is no stage {name!r}",
                f"the stages are {', '.join(known)}",
            )


def stages_grow(subject: Subject) -> Iterator[Finding]:
    """Lengths of one domain grow from stage to stage (P1, 3.2)."""
    longest: dict[str, tuple[str, int]] = {}
    for step in subject.stage_steps:
        domain, length = step.settings.domain, step.settings.max_completion_length
        before, previous = longest.get(domain, ("", 0))
        if length < previous:
            yield Finding(
                subject.place(step, "max_completion_length"),
                f"{step.variant}: {length:,} tokens, after {previous:,} in {before}",
                f"at least {previous:,}",
            )
        longest[domain] = (step.variant, length)


def on_policy(subject: Subject) -> Iterator[Finding]:
    """Several updates per batch collapse the entropy within 100 steps (P1, 3.3)."""
    for step in subject.rl:
        if step.settings.num_iterations != 1:
            yield Finding(
                subject.place(step, "num_iterations"),
                f"{step.name}: {step.settings.num_iterations} updates per batch are off-policy",
                "num_iterations: 1; notebook 09 compares 2 and 4 by itself",
            )


def ratios_do_not_vanish(subject: Subject) -> Iterator[Finding]:
    """Products of token ratios correct nothing at length: they only weigh answers away."""
    for step in subject.rl:
        mode, length = step.settings.importance_sampling, step.settings.max_completion_length
        if mode.startswith("sequence") and length > MAX_SEQUENCE_RATIO_TOKENS:
            yield Finding(
                subject.place(step, "importance_sampling"),
                f"{step.name}: {mode} multiplies the ratios of up to {length:,} tokens; what "
                "sampler and trainer differ by makes the weights vanish",
                "importance_sampling: token_truncate",
            )


def groups_are_varied(subject: Subject) -> Iterator[Finding]:
    """At a temperature near 0 all answers of a problem are the same."""
    temperature = subject.profile.shared["evaluation_temperature"]
    if temperature < 0.05:
        yield Finding(
            subject.profile.place("shared", "evaluation_temperature"),
            f"at {temperature:g} all samples of a problem agree: avg@k and its interval say "
            "nothing more than one",
            "0.6, as in the papers, or one sample per problem",
        )


def samples_name_benchmarks(subject: Subject) -> Iterator[Finding]:
    """A misspelt benchmark would get `num_samples` answers."""
    for step in subject.steps:
        s = step.settings.values
        used = [s.get(name, []) for name in ("problems", "benchmarks_math", "benchmarks_code")]
        known = {benchmarks.name_of(source) for source in [*sources.SOURCES, *sum(used, [])]}
        for name in sorted(set(s.get("samples_per_benchmark", {})) - known):
            yield Finding(
                subject.place(step, "samples_per_benchmark"),
                f"{step.name}: samples_per_benchmark names {name!r}, which is no benchmark",
                f"one of {', '.join(sorted(known))}",
            )


def entropies_are_ordered(subject: Subject) -> Iterator[Finding]:
    """Notebook 07 needs a run that is too cold and one that is too hot."""
    for step in subject.steps:
        s = step.settings.values
        others = s.get("other_entropies")
        if others is not None and not min(others) < s["target_entropy"] < max(others):
            yield Finding(
                subject.place(step, "target_entropy"),
                f"{step.name}: target_entropy {s['target_entropy']:g} is not between other "
                f"entropies, {others}",
                "other_entropies: [0.15, 0.4]",
            )


def temperatures_rise(subject: Subject) -> Iterator[Finding]:
    """Between two measured temperatures the entropy is taken as linear."""
    for step in subject.rl:
        grid = step.settings.temperatures
        if len(grid) < 2 or sorted(set(grid)) != grid:
            yield Finding(
                subject.place(step, "temperatures"),
                f"{step.name}: temperatures {grid} must be at least two, rising",
                f"{sorted(set(grid)) if len(set(grid)) > 1 else '[0.6, 0.85, 1.0]'}",
            )


def _are_separable(prompts: list[int], responses: list[int]) -> bool:
    try:
        return scaling.separability(prompts, responses)[1] <= scaling.MAX_CONDITION_NUMBER
    except ValueError:  # one of them never varies
        return False


def sft_sets_can_be_compared(subject: Subject) -> Iterator[Finding]:
    """Prompts and responses of the SFT sets must not grow alike, or no fit tells them apart."""
    for step in subject.steps:
        s = step.settings.values
        if "set_prompts" not in s:
            continue
        prompts, responses = s["set_prompts"], s["set_responses"]
        if len(prompts) != len(responses):
            message = f"{len(prompts)} set_prompts and {len(responses)} set_responses"
        elif not _are_separable(prompts, responses):
            message = "prompts and responses of the sets grow together"
        elif s["weak_set"] not in [f"v{i + 1}" for i in range(len(prompts))]:
            message = f"weak_set {s['weak_set']!r} is none of v1 to v{len(prompts)}"
        else:
            continue
        yield Finding(
            subject.place(step, "set_prompts"),
            message,
            "one number per set in both lists, one of which grows alone, and weak_set one of them",
        )


# --- what the machine must have ------------------------------------------------------------------


def fits(subject: Subject) -> Iterator[Finding]:
    """Memory per GPU, and room for models and checkpoints."""
    try:
        subject.plan.check()
    except DoesNotFit as error:
        message, _, fix = str(error).removeprefix(f"{subject.profile.name}: ").partition(": ")
        key = ("needs", "disk_gib") if "checkpoints" in message else ("compute",)
        yield Finding(subject.profile.place(*key), message, fix)


def minutes_are_planned(subject: Subject) -> Iterator[Finding]:
    """The stated time is what a user reserves."""
    low, high = (60 * hours / subject.plan.num_units for hours in subject.plan.hours())
    stated = subject.profile.needs["minutes"]
    if not low <= stated <= high:
        yield Finding(
            subject.profile.place("needs", "minutes"),
            f"{stated:,g} minutes are stated, the plan says {low:,.0f} to {high:,.0f}",
            "state what `ace plan` says, or fewer steps",
        )


def hub_needs_network(subject: Subject) -> Iterator[Finding]:
    """Without network nothing is looked for on the hub, or sent there."""
    if subject.profile.needs["network"]:
        return
    for step in subject.steps:
        for name, value in step.settings.values.items():
            remote = any(map(sources.is_remote, value if isinstance(value, list) else []))
            if remote or (name == "push_to" and value):
                yield Finding(
                    subject.place(step, name),
                    f"{step.notebook}: {name} is on the hub, and the profile needs no network",
                    "needs: network: true, or local files",
                )


def versions_were_tested(subject: Subject) -> Iterator[Finding]:
    """Releases of the engines that were never run together fail in ways that cost days."""
    if subject.profile.shared["engine"] != "vllm":
        return
    lock = provenance.lock_folder() / "gpu.txt"
    pins = read_pins(lock)
    for name, version in TESTED.items():
        if not pins.get(name, "").startswith(version):
            yield Finding(
                f"locks/{lock.name}",
                f"{name} {pins.get(name, 'is missing')}, tested with {version}x",
                "git checkout locks, or test the new set and change ace_lib/lint.py",
            )


RULES: list[Rule] = [
    batch_divides, groups_stay_whole, sft_batch_divides, gpus_agree, launcher_reaches,
    sharding_has_processes,
    engine_is_used, tensor_parallel_divides, lengths_fit_context, stages_are_known, stages_grow,
    on_policy, ratios_do_not_vanish, groups_are_varied, samples_name_benchmarks,
    entropies_are_ordered, temperatures_rise, sft_sets_can_be_compared,
    fits, minutes_are_planned, hub_needs_network, versions_were_tested,
]  # fmt: skip
