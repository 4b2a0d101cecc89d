"""`ace audit`: what it counts, and what it refuses."""

import json

import pytest

from ace_lib.audit import summarize
from ace_lib.cli import main
from ace_lib.verify import Verdict

ROW = {"id": 1, "response": "\\boxed{0.5}", "gold": "\\frac12", "label": True, "category": "a"}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_mistakes_are_counted_by_category():
    labels = [True, False, True, False, True]
    rows = [{**ROW, "label": label, "category": "ab"[i > 2]} for i, label in enumerate(labels)]
    rewards = [1.0, 1.0, 0.0, 0.0, None]
    verdicts = [Verdict("", "", reward, 2.0 * i, {"tier": 1 + i % 3}) for i, reward in
                enumerate(rewards)]  # fmt: skip
    table = summarize(rows, verdicts)
    mistakes = ["false_positives", "false_negatives", "errors", "slow"]
    assert table.loc["a", mistakes].tolist() == [1, 1, 0, 2]
    assert table.loc["b", mistakes].tolist() == [0, 0, 1, 2]
    assert table.loc["all", ["rows", "accuracy", "tier_1", "tier_3"]].tolist() == [5, 0.4, 0.4, 0.2]


def test_several_files_are_audited_and_mistakes_shown(tmp_path, capsys):
    right = write(tmp_path / "right.jsonl", ROW)
    wrong = write(tmp_path / "wrong.jsonl", {**ROW, "id": "odd one", "label": False})
    assert main(["audit", right, wrong, "--workers", "1"]) == 0
    assert "odd one" in capsys.readouterr().out
    assert main(["audit", right, wrong, "--workers", "1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["categories"]["all"]["false_positives"] == 1
    assert [mistake["id"] for mistake in report["mistakes"]] == ["odd one"]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([ROW, {**ROW, "label": "yes"}], "line 2: label is 'yes'"),
        ([{**ROW, "category": None}], "line 1: category is None"),
        ([[1]], "line 1: a JSON list, expected an object"),
        ([], "no labelled rows"),
    ],
)
def test_malformed_rows_are_named(tmp_path, capsys, rows, reason):
    assert main(["audit", write(tmp_path / "rows.jsonl", *rows)]) == 1
    message = capsys.readouterr().err
    assert reason in message and message.count("\n") == 1
    assert main(["audit", str(tmp_path / "missing.jsonl")]) == 1


def test_a_pool_needs_a_worker(tmp_path, capsys):
    assert main(["audit", write(tmp_path / "rows.jsonl", ROW), "--workers", "0"]) == 1
    assert "at least 1" in capsys.readouterr().err
