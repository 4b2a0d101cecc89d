"""Every rule of the ledger against runs made up to support, refute or leave open its claim."""

import json
import math
from pathlib import Path

import pytest

from ace_lib import claim_rules, claims, problems, runs

LEDGER_IDS = [
    "scaling", "epochs", "temperature", "synergy", "warmup", "overlong", "math→code", "code-RL",
    "math-first", "on-policy", "hard-data", "length-order", "pass@k", "noise", "final",
]  # fmt: skip
NUM_PROBLEMS = 40


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> claims.Evidence:
    monkeypatch.setenv("ACE_RUNS", str(tmp_path))
    return claims.Evidence("tiny", ("m1", "m2"), ("c1",))


def write_run(step: str, done: bool = True, **files: dict) -> Path:
    folder = runs.profile_folder("tiny") / step
    for name, data in files.items():
        runs.write_json(folder / f"{name}.json", data)
    if done:
        runs.write_json(folder / "DONE", {"input_hash": "x", "run_id": "y", "summary": {}})
    return folder


def write_samples(folder: Path, name: str, benchmark: str, rate: float) -> str:
    """Samples of 40 problems × 4 whose pass rate is `rate`, spread evenly over problems."""
    rows = [
        {
            "problem_id": f"{benchmark}-{i}",
            "sample": k,
            "reward": float((i * 4 + k) % 10 < rate * 10),
        }
        for i in range(NUM_PROBLEMS)
        for k in range(4)
    ]
    problems.write_jsonl(folder / f"{name}.jsonl.gz", rows)
    return f"{name}.jsonl.gz"


def verdict_of(evidence: claims.Evidence, claim_id: str) -> str:
    claim = next(c for c in claim_rules.LEDGER if c.id == claim_id)
    return claim.check(evidence)["verdict"]


def effect(avg: float, reach: float = 1.0) -> dict:
    return {"avg": avg, "low": avg - reach, "high": avg + reach, "n": 40, "k": 4}


def test_the_ledger_has_one_row_per_published_finding() -> None:
    assert [claim.id for claim in claim_rules.LEDGER] == LEDGER_IDS
    for claim in claim_rules.LEDGER:
        assert {mark for _, _, mark in claim.published} <= set("VQPI")
        assert claim.published and claim.rule


def test_without_runs_every_row_is_not_run_and_says_why(evidence, tmp_path) -> None:
    rows = claims.write_claims(evidence, tmp_path / "claims.json")
    assert {row["verdict"] for row in rows} == {"not_run"}
    assert all(row["note"] for row in rows)
    assert json.loads((tmp_path / "claims.json").read_text())["counts"]["not_run"] == len(rows)


def test_an_unfinished_run_is_no_data(evidence) -> None:
    write_run("04_scale_sft_data", done=False, scaling={"fit": {}})
    assert verdict_of(evidence, "scaling") == "not_run"


def test_a_file_of_another_version_is_named_not_guessed_at(evidence) -> None:
    write_run("04_scale_sft_data", scaling={"old": 1})
    with pytest.raises(claims.ClaimError, match="04_scale_sft_data have no 'fit'"):
        verdict_of(evidence, "scaling")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0.1, 2, "reproduced"), (-2, -0.1, "contradicted"), (-1, 1, "inconclusive"),
     (0.0, 2, "inconclusive")],
)  # fmt: skip
def test_a_gain_needs_its_interval_on_one_side(low, high, expected) -> None:
    part = claims.gain("x", {"avg": (low + high) / 2, "low": low, "high": high})
    assert claims.judge([part]) == expected


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-4, 4, "reproduced"), (-9, -6, "contradicted"), (6, 9, "contradicted"),
     (-4, 8, "inconclusive")],
)  # fmt: skip
def test_about_zero_means_an_interval_inside_the_margin(low, high, expected) -> None:
    part = claims.about_zero("x", {"avg": 0, "low": low, "high": high}, margin=5)
    assert claims.judge([part]) == expected


def test_all_parts_must_hold_and_one_can_contradict() -> None:
    good, open_, bad = (claims.gain("x", effect(v)) for v in (3, 0, -3))
    assert claims.judge([good, good]) == "reproduced"
    assert claims.judge([good, open_]) == "inconclusive"
    assert claims.judge([good, bad]) == "contradicted"
    assert claims.judge([]) == "not_run"


def test_scaling_stays_open_where_the_sets_cannot_separate(evidence) -> None:
    fit = {"a": 5.0, "b": 2.0, "intervals": {"a_minus_b": [1.0, 5.0]}, "identifiable": True}
    write_run("04_scale_sft_data", scaling={"fit": fit})
    assert verdict_of(evidence, "scaling") == "reproduced"
    write_run("04_scale_sft_data", scaling={"fit": fit | {"identifiable": False}})
    assert verdict_of(evidence, "scaling") == "inconclusive"
    fit["intervals"] = {"a_minus_b": [-5.0, -1.0]}
    write_run("04_scale_sft_data", scaling={"fit": fit})
    assert verdict_of(evidence, "scaling") == "contradicted"


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((0.2, 0.6, 0.6), "reproduced"), ((0.6, 0.2, 0.2), "contradicted"),
     ((0.2, 0.6, 0.9), "contradicted"), ((0.5, 0.5, 0.5), "inconclusive"),
     ((0.0, 0.0, 0.0), "inconclusive")],
)  # fmt: skip
def test_epochs_must_rise_and_then_be_flat(evidence, rates, expected) -> None:
    folder = write_run("05_train_sft")
    epochs = [
        {"epoch": i + 1, "samples": [write_samples(folder, f"e{i}-{b}", b, rate) for b in "mc"]}
        for i, rate in enumerate(rates)
    ]
    write_run("05_train_sft", sft={"epochs": epochs})
    assert verdict_of(evidence, "epochs") == expected


@pytest.mark.parametrize(
    ("rates", "expected"),
    [((0.3, 0.6, 0.4), "reproduced"), ((0.3, 0.4, 0.6), "contradicted"),
     ((0.3, 0.6, 0.6), "inconclusive")],
)  # fmt: skip
def test_temperature_needs_the_chosen_one_above_every_other(evidence, rates, expected) -> None:
    folder = write_run("07_sweep_temperature")
    rows = [
        {"temperature": t, "samples": write_samples(folder, f"t{t}", "m", rate)}
        for t, rate in zip((0.4, 0.8, 1.2), rates, strict=True)
    ]
    write_run("07_sweep_temperature", temperature={"chosen": 0.8, "runs": rows})
    assert verdict_of(evidence, "temperature") == expected


def write_stage(stage: str, before: float, after: float, code_after: float | None = None) -> None:
    folder = write_run(f"08_train_rl_stage-{stage}")
    sides = {}
    for side, rate in (("before", before), ("after", after)):
        sides[side] = {}
        for b in ("m1", "m2", "c1"):
            is_code = b == "c1" and side == "after" and code_after is not None
            name = write_samples(folder, f"{side}-{b}", b, code_after if is_code else rate)
            sides[side][b] = {"samples": name}
    write_run(f"08_train_rl_stage-{stage}", stage=sides)


def test_final_pairs_the_first_stages_start_with_the_last_stages_end(evidence) -> None:
    write_stage("math_8k", 0.2, 0.3)
    assert verdict_of(evidence, "final") == "not_run"
    write_stage("math_32k", 0.5, 0.7)
    assert verdict_of(evidence, "final") == "reproduced"
    write_stage("math_32k", 0.5, 0.1)
    assert verdict_of(evidence, "final") == "contradicted"


def test_code_rl_wants_code_up_and_math_still(evidence) -> None:
    write_stage("code_24k", 0.4, 0.4)
    write_stage("code_32k", 0.4, 0.4, code_after=0.8)
    assert verdict_of(evidence, "code-RL") == "reproduced"
    write_stage("code_32k", 0.4, 0.9, code_after=0.8)
    assert verdict_of(evidence, "code-RL") == "contradicted"
    write_stage("math_8k", 0.2, 0.3)
    write_stage("math_24k", 0.2, 0.3, code_after=0.6)
    assert verdict_of(evidence, "math→code") == "reproduced"


ABLATION_EFFECTS = {
    "warmup": ("warmup", ["with − without warm-up"]),
    "overlong": ("overlong", ["on − off, short length", "off − on, full length"]),
    "math-first": ("math_first", ["math first − code alone"]),
    "hard-data": ("hard_data", ["hard − easy"]),
    "length-order": ("length_order", ["growing − long from the start"]),
}


@pytest.mark.parametrize("claim_id", ABLATION_EFFECTS)
@pytest.mark.parametrize(
    ("size", "expected"), [(4, "reproduced"), (-4, "contradicted"), (0.2, "inconclusive")]
)
def test_ablations_read_their_effects(evidence, claim_id, size, expected) -> None:
    key, names = ABLATION_EFFECTS[claim_id]
    write_run("09_compare_stages", ablations={key: {"effects": {n: effect(size) for n in names}}})
    assert verdict_of(evidence, claim_id) == expected


@pytest.mark.parametrize(
    ("avg", "expected"), [(4.0, "reproduced"), (1.6, "inconclusive"), (0.5, "contradicted")]
)
def test_on_policy_wants_entropy_below_half(evidence, avg, expected) -> None:
    effects = {"entropy ratio, 1 update over 4": effect(avg, 0.3)}
    write_run("09_compare_stages", ablations={"on_policy": {"effects": effects}})
    assert verdict_of(evidence, "on-policy") == expected


@pytest.mark.parametrize(
    ("gap", "narrowing", "expected"),
    [(5, 4, "reproduced"), (5, -4, "contradicted"), (5, 0, "inconclusive"),
     (-5, 4, "contradicted")],
)  # fmt: skip
def test_synergy_and_pass_at_k_read_the_relation(evidence, gap, narrowing, expected) -> None:
    curve = [{"k": k} | effect(gain) for k, gain in ((1, gap), (8, narrowing))]
    relation = {
        "effects": {"gap_after": effect(gap), "narrowing": effect(narrowing)},
        "pass_at_k": {"difference": curve},
    }
    write_run("10_relate_sft_and_rl", relation=relation)
    assert verdict_of(evidence, "synergy") == expected
    assert verdict_of(evidence, "pass@k") == expected


def test_claims_json_is_strict_json(evidence, tmp_path) -> None:
    write_stage("math_8k", 0.2, 0.3)
    write_stage("math_32k", 0.5, 0.7)
    claims.write_claims(evidence, tmp_path / "claims.json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    data = json.loads((tmp_path / "claims.json").read_text(), parse_constant=refuse)
    row = next(r for r in data["claims"] if r["id"] == "final")
    assert row["effects"][0]["n"] == 2 * NUM_PROBLEMS
    assert row["effects"][0]["at_most"] is None
    assert math.isclose(row["effects"][0]["avg"], 50)
