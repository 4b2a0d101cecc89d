"""Every rule of the ledger against simulated runs in which its claim is true, false or unsure."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ace_lib import claim_rules, claims, intervals, problems, runs

BENCHMARKS = {"math": ("m",), "code": ("c",)}
SEED_SPREAD = 0.01  # standard deviation of a training run's luck, share of answers
LEDGER_IDS = [
    "scaling", "epochs", "temperature", "synergy", "warmup", "overlong", "math→code", "code-RL",
    "math-first", "on-policy", "hard-data", "length-order", "pass@k", "noise", "final",
]  # fmt: skip


@dataclass(frozen=True)
class Simulated(claims.SeedRuns):
    """Runs whose answers are drawn: `rates` has the true pass rate behind every samples file.

    All seeds share the problems' difficulties; every table has the luck of its own training run.
    """

    files: dict = field(default_factory=dict)
    rates: dict = field(default_factory=dict)
    difficulties: np.ndarray = None
    random: np.random.Generator = None

    def json(self, step: str, name: str) -> dict:
        return self.files[step]

    def arm(self, name, step, samples, train=()) -> claims.Arm:
        key = samples if isinstance(samples, str) else samples[0]
        rate = self.rates[key] + self.random.normal(0, SEED_SPREAD)
        chance = np.clip(rate + self.difficulties, 0, 1)
        rewards = (self.random.random((len(chance), 4)) < chance[:, None]).astype(float)
        columns = {"problem_id": np.repeat(np.arange(len(chance)), 4), "reward": rewards.ravel()}
        table = pd.DataFrame(columns).assign(num_tokens=30, truncated=False, status="passed")
        return claims.Arm(name, table)


def simulate(rng, files, rates, num_seeds=6, num_problems=600) -> list[Simulated]:
    difficulties = rng.normal(0, 0.15, num_problems)
    return [
        Simulated("tiny", BENCHMARKS, files() if callable(files) else files, rates,
                  difficulties, rng)
        for _ in range(num_seeds)
    ]  # fmt: skip


def ablation_files(key: str, pairs: dict[str, tuple[str, str]]) -> dict:
    names = dict.fromkeys(name for pair in pairs.values() for name in pair)
    arms = [{"name": name, "samples": name, "train": []} for name in names]
    return {"09_compare_stages": {key: {"arms": arms, "pairs": pairs}}}


def stage_files(*stages: str, suffix: str = "") -> dict:
    return {
        f"08_train_rl_stage-{stage}": {
            side: {b: {"samples": f"{side} {stage} {b}{suffix}"} for b in "mc"}
            for side in ("before", "after")
        }
        for stage in stages
    }


def relation_files() -> dict:
    names = [f"{start}-{when}" for start in ("weak", "strong") for when in ("before", "after")]
    relation = {
        "samples": {name: name for name in [*names, "SFT", "final"]},
        "train": {"weak": "", "strong": ""},
        "pass_at_k": {"difference": [{"k": 1}, {"k": 4}]},
    }
    return {"10_relate_sft_and_rl": relation}


def epoch_files() -> dict:
    return {"05_train_sft": {"epochs": [{"epoch": i, "samples": f"e{i}"} for i in (1, 2, 3)]}}


def temperature_files() -> dict:
    rows = [{"temperature": t, "samples": f"T{t}", "train": ""} for t in (0.7, 0.9, 1.1)]
    return {"07_sweep_temperature": {"chosen": 0.9, "runs": rows}}


def pair(winner: float, loser: float) -> dict:
    return {"winner": winner, "loser": loser}


def ablation_case(key: str, *effects: str) -> tuple:
    """A rule of notebook 09 with one pair of arms behind all its effects."""
    files = ablation_files(key, dict.fromkeys(effects, ("winner", "loser")))
    return files, pair(0.5, 0.38), pair(0.38, 0.5), pair(0.5, 0.5)


# claim -> runs, then true pass rates where the claim holds, where it fails, where nothing differs
CASES = {
    "epochs": (epoch_files(), {"e1": 0.3, "e2": 0.5, "e3": 0.5}, {"e1": 0.5, "e2": 0.3, "e3": 0.3},
               {"e1": 0.5, "e2": 0.5, "e3": 0.5}),
    "temperature": (temperature_files(), {"T0.7": 0.4, "T0.9": 0.52, "T1.1": 0.4},
                    {"T0.7": 0.52, "T0.9": 0.4, "T1.1": 0.4},
                    {"T0.7": 0.5, "T0.9": 0.5, "T1.1": 0.5}),
    "synergy": (
        relation_files(),
        {"weak-before": 0.2, "strong-before": 0.5, "weak-after": 0.5, "strong-after": 0.62},
        {"weak-before": 0.2, "strong-before": 0.3, "weak-after": 0.3, "strong-after": 0.6},
        {"weak-before": 0.4, "strong-before": 0.4, "weak-after": 0.5, "strong-after": 0.5},
    ),
    "pass@k": (relation_files(), {"SFT": 0.3, "final": 0.55}, {"SFT": 0.55, "final": 0.3},
               {"SFT": 0.5, "final": 0.5}),
    "warmup": ablation_case("warmup", "with − without warm-up"),
    "overlong": ablation_case("overlong", "on − off, short length", "off − on, full length"),
    "math-first": ablation_case("math_first", "math first − code alone"),
    "hard-data": ablation_case("hard_data", "hard − easy"),
    "length-order": ablation_case("length_order", "growing − long from the start"),
    "noise": ablation_case("noise", "clean − false negatives", "clean − false positives"),
    "math→code": (stage_files("math_8k", "math_24k"),
                  {"before math_8k c": 0.4, "after math_24k c": 0.52},
                  {"before math_8k c": 0.52, "after math_24k c": 0.4},
                  {"before math_8k c": 0.5, "after math_24k c": 0.5}),
    "code-RL": (stage_files("code_24k", "code_32k"),
                {"before code_24k c": 0.4, "after code_32k c": 0.6,
                 "before code_24k m": 0.5, "after code_32k m": 0.5},
                {"before code_24k c": 0.4, "after code_32k c": 0.6,
                 "before code_24k m": 0.6, "after code_32k m": 0.4},
                {"before code_24k c": 0.5, "after code_32k c": 0.5,
                 "before code_24k m": 0.5, "after code_32k m": 0.5}),
    "final": (stage_files("math_8k", "math_32k"),
              {f"{side} {b}": rate for b in "mc"
               for side, rate in (("before math_8k", 0.3), ("after math_32k", 0.6))},
              {f"{side} {b}": rate for b in "mc"
               for side, rate in (("before math_8k", 0.6), ("after math_32k", 0.3))},
              {f"{side} {b}": 0.5 for b in "mc" for side in ("before math_8k", "after math_32k")}),
}  # fmt: skip


def rule(claim_id: str) -> claims.Claim:
    return next(claim for claim in claim_rules.LEDGER if claim.id == claim_id)


def verdicts(claim_id: str, files, rates, draws: int = 10, **size) -> list[str]:
    rng = np.random.default_rng(0)
    return [
        rule(claim_id).check(simulate(rng, files, rates, **size))["verdict"] for _ in range(draws)
    ]


@pytest.mark.parametrize("claim_id", CASES)
def test_a_true_claim_is_reproduced_and_a_false_one_contradicted(claim_id: str) -> None:
    files, true, false, _ = CASES[claim_id]
    assert verdicts(claim_id, files, true).count("reproduced") >= 9
    assert verdicts(claim_id, files, false).count("contradicted") >= 9


@pytest.mark.parametrize("claim_id", CASES)
def test_few_problems_and_one_seed_leave_a_claim_open(claim_id: str) -> None:
    files, *_, equal = CASES[claim_id]
    found = verdicts(claim_id, files, equal, draws=60, num_seeds=1, num_problems=12)
    assert found.count("inconclusive") >= 50
    assert found.count("reproduced") <= 4  # by chance 1 in 40


def test_a_gain_that_is_surely_too_small_to_matter_is_no_effect() -> None:
    files, *_, equal = CASES["warmup"]
    found = verdicts("warmup", files, equal, num_seeds=8, num_problems=1000)
    assert found.count("no_effect") >= 6
    assert found.count("reproduced") <= 1


def scaling_files(a: float, b: float, rng: np.random.Generator, together: bool = False) -> dict:
    """Seven sets with scores on the plane, noise of one point on each."""
    prompts = [32, 64, 128, 256, 32, 256, 256]
    responses = [p / 8 for p in prompts] if together else [1, 1, 1, 1, 4, 2, 4]
    logs = np.log2([prompts, responses])
    x, y = (logs - logs.mean(axis=1, keepdims=True)) / logs.std(axis=1, keepdims=True)
    scores = 40 + a * x + b * y + rng.normal(0, 1) + rng.normal(0, 1, 7)
    sets = [
        {"num_prompts": p, "responses_per_prompt": r, "score": z}
        for p, r, z in zip(prompts, responses, scores, strict=True)
    ]
    return {"04_scale_sft_data": {"sets": sets}}


@pytest.mark.parametrize(
    ("a", "b", "together", "expected"),
    [(8, 2, False, "reproduced"), (2, 8, False, "contradicted"), (8, 2, True, "inconclusive"),
     (5, 5, False, "inconclusive")],
)  # fmt: skip
def test_scaling_is_decided_only_where_the_sets_can_tell(a, b, together, expected) -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        evidence = simulate(rng, lambda: scaling_files(a, b, rng, together), {})
        found.append(rule("scaling").check(evidence)["verdict"])
    assert found.count(expected) >= 37


def on_policy_files(ratio: float, rng: np.random.Generator) -> dict:
    files = ablation_files("on_policy", {"": ("short, mask on", "4 updates")})
    ratio *= np.exp(rng.normal(0, 0.04))
    size = {"avg": ratio, "low": ratio * 0.9, "high": ratio * 1.1, "n": 80, "k": 4}
    entry = files["09_compare_stages"]["on_policy"]
    entry["effects"] = {"entropy ratio, 1 update over 4": size}
    return files


@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize(
    ("ratio", "expected"),
    [(3.0, "reproduced"), (2.0, "inconclusive"), (1.4, "no_effect"), (0.6, "contradicted")],
)
def test_on_policy_wants_entropy_below_half(ratio, expected, num_seeds) -> None:
    rng = np.random.default_rng(0)
    rates = {"short, mask on": 0.5, "4 updates": 0.5}
    found = [
        rule("on-policy").check(
            simulate(rng, lambda: on_policy_files(ratio, rng), rates, num_seeds=num_seeds)
        )["verdict"]
        for _ in range(40)
    ]
    assert found.count(expected) >= 38


def test_every_rule_was_simulated() -> None:
    assert {*CASES, "scaling", "on-policy"} == set(LEDGER_IDS)


@pytest.mark.parametrize(("seed_spread", "num_seeds"), [(0.0, 3), (0.05, 3), (0.05, 6), (0.1, 4)])
def test_intervals_over_seeds_and_problems_cover_the_truth(seed_spread, num_seeds) -> None:
    rng = np.random.default_rng(1)
    hits = naive = 0
    for _ in range(600):
        luck = rng.normal(0, seed_spread, (num_seeds, 1))
        values = 0.1 + luck + rng.normal(0, 0.1, 60) + rng.normal(0, 0.3, (num_seeds, 60))
        low, high = intervals.over_seeds_and_problems(values)
        hits += low <= 0.1 <= high
        low, high = intervals.over_problems(values.mean(axis=0))
        naive += low <= 0.1 <= high
    assert hits / 600 > 0.92
    if seed_spread >= 0.05:
        assert naive / 600 < 0.85  # who forgets the seeds is too sure


def test_one_seed_or_one_problem_falls_back_on_the_other() -> None:
    values = np.random.default_rng(2).random((1, 30))
    assert intervals.over_seeds_and_problems(values) == intervals.over_problems(values[0])
    low, high = intervals.over_seeds(np.array([1.0, 2.0, 3.0]))
    assert (low, high) == pytest.approx((2 - 4.30265 / 3**0.5, 2 + 4.30265 / 3**0.5), abs=1e-3)


def test_where_few_problems_differ_the_exact_bound_holds() -> None:
    same, one = np.zeros(60), np.eye(60)[0] / 8
    widths = [np.ptp(intervals.over_problems(values)) for values in (same, one)]
    assert widths[1] == pytest.approx(widths[0]) == 2 * intervals.reach_without_spread(60)
    many = np.where(np.arange(60) < 20, 1.0, 0.0)
    error = many.std(ddof=1) / 60**0.5
    assert np.ptp(intervals.over_problems(many)) == pytest.approx(2 * 2.00100 * error, rel=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 9, "reproduced"), (-9, -0.1, "contradicted"), (-1, 3, "inconclusive"),
     (0.0, 2.1, "inconclusive"), (-1, 1.9, "no_effect"), (0.1, 1.9, "reproduced")],
)  # fmt: skip
def test_the_whole_interval_decides(low, high, expected) -> None:
    part = claims.Part("x", (low + high) / 2, low, high, at_least=0, small=claims.SMALL_GAIN)
    assert claims.judge([part]) == expected


def test_all_parts_must_hold_and_one_can_contradict() -> None:
    good, open_, none, bad = (
        claims.Part("x", v, v - 1.5, v + 1.5, at_least=0, small=claims.SMALL_GAIN)
        for v in (3, 1, 0, -3)
    )
    assert claims.judge([good, good]) == "reproduced"
    assert claims.judge([good, open_]) == "inconclusive"
    assert claims.judge([good, none]) == "no_effect"
    assert claims.judge([good, none, bad]) == "contradicted"
    assert claims.judge([]) == "not_run"


def test_the_ledger_has_one_row_per_published_finding() -> None:
    assert [claim.id for claim in claim_rules.LEDGER] == LEDGER_IDS
    for claim in claim_rules.LEDGER:
        assert {mark for _, _, mark in claim.published} <= set("VQPI")
        assert claim.published and claim.rule


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[claims.SeedRuns]:
    monkeypatch.setenv("ACE_RUNS", str(tmp_path))
    return claims.read_evidence("tiny", [], ["m"], ["c"])


def write_run(step: str, done: bool = True, **files: dict) -> Path:
    folder = runs.profile_folder("tiny") / step
    for name, data in files.items():
        runs.write_json(folder / f"{name}.json", data)
    if done:
        runs.write_json(folder / "DONE", {"input_hash": "x", "run_id": "y", "summary": {}})
    return folder


def test_without_runs_every_row_is_not_run_and_says_why(evidence, tmp_path) -> None:
    rows = claims.write_claims(evidence, tmp_path / "claims.json")
    assert {row["verdict"] for row in rows} == {"not_run"}
    assert all("has not been run in tiny" in row["note"] for row in rows)
    assert json.loads((tmp_path / "claims.json").read_text())["counts"]["not_run"] == len(rows)


def test_an_unfinished_run_is_no_data(evidence) -> None:
    write_run("04_scale_sft_data", done=False, scaling={"sets": []})
    assert rule("scaling").check(evidence)["verdict"] == "not_run"


def test_a_file_of_another_version_is_named_not_guessed_at(evidence) -> None:
    write_run("04_scale_sft_data", scaling={"old": 1})
    with pytest.raises(claims.ClaimError, match="04_scale_sft_data have no 'sets'"):
        rule("scaling").check(evidence)


def test_arms_are_read_from_files_with_what_was_seen_of_them(evidence, tmp_path) -> None:
    files = stage_files("math_8k", "math_32k", suffix=".jsonl.gz")
    for step, data in files.items():
        folder = write_run(step, stage=data)
        for side in ("before", "after"):
            for b in "mc":
                rows = [
                    {"problem_id": f"{b}{i}", "sample": k, "reward": float(side == "after"),
                     "status": "passed", "num_tokens": 20, "truncated": i == 0}
                    for i in range(40) for k in range(2)
                ]  # fmt: skip
                problems.write_jsonl(folder / data[side][b]["samples"], rows)
        log = [{"step": i, "reward": i / 19, "entropy": 0.5 - i / 100, "mean_length": 20,
                "truncated": 0.1} for i in range(20)]  # fmt: skip
        problems.write_jsonl(folder / "train/metrics.jsonl", log)
    claims.write_claims(evidence, tmp_path / "claims.json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    data = json.loads((tmp_path / "claims.json").read_text(), parse_constant=refuse)
    row = next(r for r in data["claims"] if r["id"] == "final")
    effect = row["effects"][0]
    assert (row["verdict"], effect["avg"], effect["n"], effect["k"]) == ("reproduced", 100, 40, 2)
    assert effect["at_most"] is None
    before, after = effect["arms"]
    assert (before["avg"], after["avg"], after["tokens"]) == (0, 100, 20)
    assert after["truncated"] == pytest.approx(1 / 40)
    assert after["entropy"] == pytest.approx([0.495, 0.315])
    assert "entropy" not in before
