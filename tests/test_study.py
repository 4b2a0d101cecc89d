"""A study runs what a claim needs, seed after seed, and shows the ledger over all of them."""

import pandas as pd
import pytest

from ace_lib import AceError, comparison, pipeline, profiles, report, runs, study
from ace_lib.claim_rules import LEDGER
from ace_lib.steps import read_steps

CLAIMS = {claim.id: claim for claim in LEDGER}


def test_a_profile_with_another_seed_is_the_profile_with_that_seed() -> None:
    first, second = profiles.load_profile("study"), profiles.load_profile("study@7")
    assert (first.shared["seed"], second.shared["seed"]) == (0, 7)
    assert second.name == "study@7"
    assert dict(second.shared) | {"seed": 0} == dict(first.shared)
    assert {step.settings.profile for step in read_steps("study@7")} == {"study@7"}
    with pytest.raises(profiles.ProfileError, match="'study@x': what follows the @ is a seed"):
        profiles.load_profile("study@x")


@pytest.mark.parametrize(
    ("claim_id", "expected"),
    [
        ("epochs", ["01_curate_data", "05_train_sft"]),
        ("temperature", ["01_curate_data", "05_train_sft", "07_sweep_temperature"]),
        ("math→code", ["01_curate_data", "05_train_sft", "08_train_rl_stage-math_8k",
                       "08_train_rl_stage-math_16k", "08_train_rl_stage-math_24k"]),
    ],
)  # fmt: skip
def test_a_row_needs_only_what_it_is_read_from(claim_id: str, expected: list[str]) -> None:
    assert [step.name for step in study.steps_of("study", CLAIMS[claim_id])] == expected


@pytest.mark.parametrize("claim", LEDGER, ids=lambda claim: claim.id)
def test_every_row_can_be_run_on_its_own(claim) -> None:
    needed = {step.name for step in study.steps_of("study", claim)}
    assert {*claim.runs} <= needed


@pytest.fixture
def calls(tmp_path, monkeypatch) -> list[tuple]:
    """Calls of `pipeline.run_profile`, each of which leaves a complete run of 60 seconds."""
    monkeypatch.setenv("ACE_RUNS", str(tmp_path))
    made: list[tuple] = []

    def run_profile(profile: str, only: str = "", redo: str = "") -> None:
        made.append((profile, only))
        timings = runs.read_timings(profile) | {only: {"seconds": 60.0}}
        runs.write_json(runs.profile_folder(profile) / "timings.json", timings)

    def is_complete(step) -> bool:
        return (step.settings.profile, step.name) in made

    monkeypatch.setattr(pipeline, "run_profile", run_profile)
    monkeypatch.setattr(pipeline, "is_complete", is_complete)
    return made


def test_a_study_goes_through_its_seeds_and_reports_last(calls, capsys) -> None:
    study.run_study("study")
    seeds = list(dict.fromkeys(profile for profile, _ in calls))
    more = profiles.load_profile("study").notebooks["11_report"]["more_seeds"]
    assert len(more) >= 3
    assert seeds == ["study", *(f"study@{seed}" for seed in more)]
    assert calls[-1] == ("study", "11_report")
    num_runs = len(seeds) * len(study.steps_of("study", None))
    assert len(calls) == len(set(calls)) == num_runs + 1
    lines = capsys.readouterr().out.splitlines()
    assert f"{num_runs} runs to go" in lines[0]  # nothing is known yet
    assert "1 runs, about 1 minutes to go" in lines[-1]
    study.run_study("study")
    assert calls[-1] == calls[-2] == ("study", "11_report")  # only the report, anew


def test_one_row_runs_its_own_steps_and_is_printed(calls, capsys) -> None:
    study.run_study("study", "epochs")
    assert {step for _, step in calls} == {"01_curate_data", "05_train_sft"}
    assert "### epochs: not run" in capsys.readouterr().out
    with pytest.raises(AceError, match="no claim 'epoch' in the ledger: the claims are scaling, "):
        study.run_study("study", "epoch")


def test_a_users_run_stands_below_the_published_models() -> None:
    score = {"avg": 61.25, "low": 58.0, "high": 64.5}
    scores = {"aime24": score, "livecodebench-v6-2025-05": score, "tiny-lcb5": score,
              "gsm8k": score, "humanevalplus": score, "mbpp-plus": score}  # fmt: skip
    table = comparison.beside_published([report.Result("final", "run", "command", scores)])
    assert isinstance(table, pd.DataFrame)
    assert table.loc["AceReason-Nemotron-1.1-7B (P2)", "AIME24"] == "72.6"
    ours = table.loc["this run, final"]
    assert ours["AIME24"] == ours["LCB v6"] == ours["LCB v5"] == "61.2 [58.0, 64.5]"
    assert ours["AIME25"] == ours["MATH500"] == ours["EvalPlus"] == "–"
    assert comparison.column_of("tiny-evalplus") == "EvalPlus"
    assert len(comparison.published()) == 19
