"""The rows of the claims ledger: published numbers, the rule in one line, and the rule in code.

A `paper=` number is the published effect, the mean over the benchmarks where several are printed.
"""

from __future__ import annotations

import math

import numpy as np

from ace_lib import intervals
from ace_lib.claims import Arm, Claim, Evidence, NoData, Part, SeedRuns, about_zero, describe, gain
from ace_lib.scaling import fit_scaling

FLAT_MARGIN = 5.0  # points; "barely moves" and "flat" mean: the interval stays within this
COLLAPSE_RATIO = 2.0  # entropy below half of the on-policy run's counts as collapse


def scaling(evidence: Evidence) -> list[Part]:
    """Prompts (a) against responses per prompt (b), unless the sets cannot separate them."""
    sets = [
        (seed, row)
        for seed, found in enumerate(evidence)
        for row in found.json("04_scale_sft_data", "scaling.json")["sets"]
    ]
    fit = fit_scaling(
        [row["num_prompts"] for _, row in sets],
        [row["responses_per_prompt"] for _, row in sets],
        [row["score"] for _, row in sets],
        run_seeds=[seed for seed, _ in sets],
    )
    ends = {name: dict(zip(("low", "high"), fit.intervals[name], strict=True)) for name in "ab"}
    arms = (
        {"name": "a: prompts", "avg": fit.a, **ends["a"]},
        {"name": "b: responses", "avg": fit.b, **ends["b"]},
    )
    low, high = fit.intervals["a_minus_b"]
    return [
        Part("a − b", fit.a - fit.b, low, high, n=len(sets), unit="points per standard deviation",
             at_least=0, usable=fit.identifiable, paper=4.831 - 2.635, arms=arms)
    ]  # fmt: skip


def epochs(evidence: Evidence) -> list[Part]:
    """Gain of the last epoch but one over the first, and the change in the last epoch."""
    step = "05_train_sft"
    arms = []
    for found in evidence:
        rows = found.json(step, "sft.json")["epochs"]
        if len(rows) < 3:
            raise NoData(f"{step} measured {len(rows)} epochs, three are needed")
        arms.append([found.arm(f"epoch {row['epoch']}", step, row["samples"])
                     for row in (rows[0], rows[-2], rows[-1])])  # fmt: skip
    first, before_last, last = (arm.name for arm in arms[0])
    return [
        gain(f"{before_last} − {first}", [a[:2] for a in arms]),
        about_zero(f"{last} − {before_last}", [a[1:] for a in arms], FLAT_MARGIN),
    ]


def temperature(evidence: Evidence) -> list[Part]:
    """The chosen temperature against every other one that was trained."""
    step = "07_sweep_temperature"
    chosen, others = [], []
    for found in evidence:
        data = found.json(step, "temperature.json")
        arms = {row["temperature"]: found.arm(f"T {row['temperature']:.2f}", step, row["samples"],
                                              [row["train"]]) for row in data["runs"]}  # fmt: skip
        chosen.append(arms.pop(data["chosen"], None))
        others.append([(arm, t < data["chosen"]) for t, arm in arms.items()])
    if None in chosen or not all(others):
        raise NoData(f"{step} trained no run at the chosen temperature and another one")
    parts = []
    for same in zip(*others, strict=True):
        is_colder = same[0][1]
        name = (
            f"chosen ({chosen[0].name}) − {'colder' if is_colder else 'hotter'} ({same[0][0].name})"
        )
        pairs = [(other, ours) for (other, _), ours in zip(same, chosen, strict=True)]
        parts.append(gain(name, pairs, paper=67.6 - (64.6 if is_colder else 65.3)))
    return parts


def _relation_arms(found: SeedRuns, names: tuple[str, ...]) -> list[Arm]:
    step = "10_relate_sft_and_rl"
    data = found.json(step, "relation.json")
    return [
        found.arm(name, step, data["samples"][name],
                  [data["train"][start]] if (start := name.removesuffix("-after")) != name else [])
        for name in names
    ]  # fmt: skip


def synergy(evidence: Evidence) -> list[Part]:
    """Gap strong − weak after RL, and how much narrower it is than before."""
    names = ("weak-before", "strong-before", "weak-after", "strong-after")
    arms = [_relation_arms(found, names) for found in evidence]
    return [
        gain("gap after RL", [a[2:] for a in arms], paper=1.6),
        gain("gap before − gap after", arms, (-1.0, 1.0, 1.0, -1.0), paper=6.6 - 1.6),
    ]


def pass_at_k(evidence: Evidence) -> list[Part]:
    """RL − SFT at every measured k."""
    curve = evidence[0].json("10_relate_sft_and_rl", "relation.json")["pass_at_k"]["difference"]
    arms = [_relation_arms(found, ("SFT", "final")) for found in evidence]
    return [gain(f"pass@{k}, RL − SFT", arms, k=k) for k in sorted(row["k"] for row in curve)]


def _ablation_arms(found: SeedRuns, key: str) -> dict[str, Arm]:
    step = "09_compare_stages"
    rows = found.json(step, "ablations.json")[key]["arms"]
    return {row["name"]: found.arm(row["name"], step, row["samples"], row["train"]) for row in rows}


def ablation(key: str, effects: dict[str, float | None]):
    """Rule for an ablation of notebook 09: every named effect is positive; values: the paper's."""

    def parts(evidence: Evidence) -> list[Part]:
        arms = [_ablation_arms(found, key) for found in evidence]
        pairs = evidence[0].json("09_compare_stages", "ablations.json")[key]["pairs"]
        return [
            gain(name, [(a[pairs[name][1]], a[pairs[name][0]]) for a in arms], paper=paper)
            for name, paper in effects.items()
        ]

    return parts


def on_policy(evidence: Evidence) -> list[Part]:
    """Entropy with one update per batch over entropy with four, at the end of training."""
    name = "entropy ratio, 1 update over 4"
    found = [seed.json("09_compare_stages", "ablations.json")["on_policy"] for seed in evidence]
    ratios = [entry["effects"][name] for entry in found]
    arms = [_ablation_arms(seed, "on_policy") for seed in evidence]
    low, high = ratios[0]["low"], ratios[0]["high"]
    logs = np.log([ratio["avg"] for ratio in ratios])
    if len(ratios) > 1:
        low, high = np.exp(intervals.over_seeds(logs)).tolist()
    return [
        Part(name, math.exp(logs.mean()), low, high, n=ratios[0]["n"], k=ratios[0]["k"],
             unit="ratio", at_least=COLLAPSE_RATIO, refuted_below=1.0, small=COLLAPSE_RATIO,
             arms=tuple(describe([a[arm] for a in arms]) for arm in arms[0]))
    ]  # fmt: skip


def math_to_code(evidence: Evidence) -> list[Part]:
    """Code benchmarks from before the first to after the last math-only stage."""
    arms = [found.stage_arms("math_8k", "math_24k", "code") for found in evidence]
    return [gain("code, math-only RL − SFT", arms, paper=(44.4 - 37.6 + 37.6 - 34.1) / 2)]


def code_rl(evidence: Evidence) -> list[Part]:
    """Both domains from before to after the two code stages."""
    code, math_ = (
        [found.stage_arms("code_24k", "code_32k", domain) for found in evidence]
        for domain in ("code", "math")
    )
    return [
        gain("code, after − before code RL", code, paper=51.8 - 44.4),
        about_zero("math, after − before code RL", math_, FLAT_MARGIN, paper=(1.0 - 0.8) / 2),
    ]


def final(evidence: Evidence) -> list[Part]:
    """Final model against the SFT model, both domains."""
    papers = {"math": (72.6 - 62.0 + 64.8 - 48.4) / 2, "code": (57.2 - 48.8 + 52.1 - 43.8) / 2}
    return [
        gain(
            f"{domain}, final − SFT",
            [found.stage_arms("math_8k", "math_32k", domain) for found in evidence],
            paper=paper,
        )
        for domain, paper in papers.items()
    ]


def stage(*names: str) -> tuple[str, ...]:
    """Run names of RL stages."""
    return tuple(f"08_train_rl_stage-{name}" for name in names)


ABLATIONS = ("09_compare_stages",)
RELATION = ("10_relate_sft_and_rl",)
POSITIVE = (
    "95 % interval of the paired difference above 0; contradicted when wholly below 0, no effect "
    "when it reaches neither above 0 nor up to 2 points"
)

LEDGER = (
    Claim(
        "scaling",
        "More prompts help SFT more than more responses per prompt.",
        (("a (prompts), b (responses)", "4.831 > 2.635", "Q"), ("R²", "0.989", "Q")),
        "interval of a − b above 0, provided the condition number lets a and b be separated",
        ("04_scale_sft_data",),
        scaling,
    ),
    Claim(
        "epochs",
        "SFT improves up to epoch 5 and is flat from there.",
        (("accuracy over epochs 1–6", "rises to 5, then flat (curve)", "Q"),),
        "first epoch to last but one: interval above 0; last epoch: interval within ±5 points",
        ("05_train_sft",),
        epochs,
    ),
    Claim(
        "temperature",
        "RL works best at the temperature whose adjusted entropy is about 0.3.",
        (
            ("AIME24 at T 0.6, entropy 0.15", "64.6", "P"),
            ("AIME24 at T 0.85, entropy 0.26→0.38", "67.6", "P"),
            ("AIME24 at T 1.0, entropy 0.40→0.22", "65.3", "P"),
        ),
        "chosen T minus every other trained T: " + POSITIVE,
        ("07_sweep_temperature",),
        temperature,
    ),
    Claim(
        "synergy",
        "A stronger SFT start ends higher after the same RL, and the gap narrows.",
        (("AIME24 gap v7 − v5, before → after RL", "6.6 → 1.6", "Q"),),
        "gap after RL above 0 and narrowing above 0 (95 % intervals over problems)",
        RELATION,
        synergy,
    ),
    Claim(
        "warmup",
        "Skipping the short 8K warm-up stage ends worse.",
        (("AIME25 with / without the 8K stage", "56.7 / 51.8", "P"),),
        "with − without, same number of updates: " + POSITIVE,
        ABLATIONS,
        ablation("warmup", {"with − without warm-up": 56.7 - 51.8}),
    ),
    Claim(
        "overlong",
        "Masking truncated samples helps at short lengths and hurts at the full length.",
        (
            ("32K, AIME24 mask on / off", "70.2 / 71.4", "P"),
            ("32K, LCB v6 mask on / off", "45.1 / 48.0", "P"),
            ("share overlong at the start of 8K", "about 30 %", "P"),
        ),
        "on − off at the short length above 0 and off − on at the full length above 0",
        ABLATIONS,
        ablation(
            "overlong", {"on − off, short length": None, "off − on, full length": 71.4 - 70.2}
        ),
    ),
    Claim(
        "math→code",
        "Math-only RL lifts code as well.",
        (("7B, LCB v5", "37.6 → 44.4", "V"), ("7B, LCB v6", "34.1 → 37.6", "V")),
        "code benchmarks, after − before the three math stages: " + POSITIVE,
        stage("math_8k", "math_24k"),
        math_to_code,
    ),
    Claim(
        "code-RL",
        "Code RL lifts code while math barely moves.",
        (
            ("7B, LCB v5", "44.4 → 51.8", "V"),
            ("7B, AIME24", "65.9 → 66.9", "V"),
            ("7B, AIME25", "52.5 → 51.7", "V"),
        ),
        "code gain above 0 and math change within ±5 points (95 % intervals)",
        stage("code_24k", "code_32k"),
        code_rl,
    ),
    Claim(
        "math-first",
        "Code RL from the math-RL checkpoint beats code RL from SFT.",
        (("7B, LCB over code-RL steps", "above throughout (curve)", "V"),),
        "code, from math RL − from SFT, same code-RL budget: " + POSITIVE,
        ABLATIONS,
        ablation("math_first", {"math first − code alone": None}),
    ),
    Claim(
        "on-policy",
        "Several updates per batch collapse the entropy.",
        (("2 or 4 updates per batch", "collapse within about 100 steps", "V"),),
        "entropy of 1 update over that of 4, after the same updates: interval above 2 (below half "
        "is collapse); contradicted when wholly below 1, no effect when wholly below 2",
        ABLATIONS,
        on_policy,
    ),
    Claim(
        "hard-data",
        "Late stages want hard prompts only.",
        (
            ("24K stage AIME24 full/easy/medium/hard", "63.3 / 64.4 / 65.3 / 65.9", "V"),
            ("24K stage AIME25 full/easy/medium/hard", "51.1 / 50.8 / 51.9 / 52.5", "V"),
        ),
        "hard − easy prompts, same number of updates: " + POSITIVE,
        ABLATIONS,
        ablation("hard_data", {"hard − easy": (65.9 - 64.4 + 52.5 - 50.8) / 2}),
    ),
    Claim(
        "length-order",
        "8K→16K→24K ends above starting long.",
        (("7B, AIME over steps", "8→16→24K above 16→24K and 24K (curve)", "V"),),
        "growing − long from the start, same number of updates: " + POSITIVE,
        ABLATIONS,
        ablation("length_order", {"growing − long from the start": None}),
    ),
    Claim(
        "pass@k",
        "RL is above SFT at every k and solves problems SFT never does.",
        (
            ("AIME25 gain, k = 8 → k = 128", "8.3 → 1.2", "Q"),
            ("LCB v6 gain at k = 128", "5", "Q"),
            ("newly solved, LCB v5 and v6", "more than 10 each", "Q"),
        ),
        "RL − SFT above 0 at every measured k; contradicted when wholly below 0 at any k",
        RELATION,
        pass_at_k,
    ),
    Claim(
        "noise",
        "Wrong rewards hurt: false negatives stall training, false positives collapse it.",
        (("training curves", "stall / collapse (curve)", "V"),),
        "clean − each kind of fault: " + POSITIVE,
        ABLATIONS,
        ablation("noise", {"clean − false negatives": None, "clean − false positives": None}),
    ),
    Claim(
        "final",
        "The whole recipe lifts the SFT model far on math and code.",
        (
            ("AIME24, SFT-7B → 1.1-7B", "62.0 → 72.6", "V"),
            ("AIME25, SFT-7B → 1.1-7B (conclusion prints 63.2)", "48.4 → 64.8", "V"),
            ("LCB v5, SFT-7B → 1.1-7B (conclusion prints 52.8)", "48.8 → 57.2", "V"),
            ("LCB v6, SFT-7B → 1.1-7B", "43.8 → 52.1", "V"),
        ),
        "final − SFT on math and on code: " + POSITIVE,
        stage("math_8k", "math_32k"),
        final,
    ),
)
