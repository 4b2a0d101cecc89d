"""`ace verify`: order, gz, errors with line numbers, nothing half-written."""

import gzip
import json

import pytest

from ace_lib.cli import main
from ace_lib.verify import NO_REWARD, STATUSES

MATH = {"id": "m", "domain": "math", "response": "\\boxed{0.5}", "gold": "\\frac12"}
CODE = {
    "id": "c", "domain": "code", "mode": "call", "entry_point": "f",
    "response": "```python\ndef f(a):\n    return a\n```", "tests": [{"input": [1], "output": 1}],
}  # fmt: skip


def write(path, rows):
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8") as out:
        out.write("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_one_verdict_per_row_in_order(tmp_path, suffix):
    wrong = {**MATH, "id": 7, "response": "\\boxed{2}"}
    empty = {**CODE, "id": "none", "tests": []}
    source = write(tmp_path / f"in.{suffix}", [MATH, CODE, wrong, empty])
    target = tmp_path / "out.jsonl"
    assert main(["verify", str(source), str(target), "--workers", "1"]) == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [row["id"] for row in rows] == ["m", "c", 7, "none"]
    assert [row["reward"] for row in rows] == [1.0, 1.0, 0.0, None]
    assert all(set(row) == {"id", "status", "reward", "seconds", "detail"} for row in rows)
    assert {row["status"] for row in rows} <= set(STATUSES)
    assert rows[3]["status"] in NO_REWARD


def test_neither_long_integers_nor_half_characters_stop_it(tmp_path):
    tests = [{"input": [10**5999], "output": 10**6000}]
    long = {**CODE, "response": None, "program": "def f(a):\n    return a * 10", "tests": tests}
    half = {**CODE, "id": "\ud800", "response": "```python\nraise ValueError('\\ud800')\n```"}
    source = write(tmp_path / "in.jsonl", [long, half])
    target = tmp_path / "out.jsonl"
    assert main(["verify", str(source), str(target), "--workers", "1"]) == 0
    rows = [json.loads(line) for line in target.read_text().splitlines()]
    assert [(row["id"], row["reward"]) for row in rows] == [("c", 1.0), ("\ud800", 0.0)]
    rows[1]["detail"]["reason"].encode()


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{not json", "line 2: not JSON"),
        ("[1]", "line 2: a JSON list, expected an object"),
        ('{"id": 1}', "line 2: domain"),
        ('{"id": 1, "domain": "math", "gold": "5"}', "line 2: no text in response"),
        ('{"domain": "math", "gold": "5", "response": ""}', "line 2: 'id' is missing"),
        ('{"id": 1, "domain": "math", "response": ""}', "line 2: 'gold' is missing"),
        ('{"id": 1, "domain": "code", "program": "", "tests": []}', "line 2: 'mode' is missing"),
        (json.dumps({**CODE, "time_limit": -1}), "line 2: time_limit"),
        (json.dumps({**CODE, "time_limit": "6"}), "line 2: time_limit"),
        ("[" * 100_000, "line 2: not JSON"),
        ("9" * 50_001, "line 2: not JSON"),
    ],
)
def test_a_malformed_line_is_named_and_nothing_is_written(tmp_path, capsys, line, reason):
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(MATH) + "\n" + line + "\n")
    target = tmp_path / "out.jsonl"
    assert main(["verify", str(source), str(target)]) != 0
    assert reason in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_files_that_cannot_be_used(tmp_path, capsys):
    broken = tmp_path / "broken.jsonl.gz"
    broken.write_bytes(gzip.compress(b"{}\n" * 1000)[:-12])
    binary = tmp_path / "binary.jsonl"
    binary.write_bytes(b"\xff\xfe\x00")
    for source, target in (
        (tmp_path / "missing.jsonl", tmp_path / "out.jsonl"),
        (broken, tmp_path / "out.jsonl"),
        (binary, tmp_path / "out.jsonl"),
    ):
        assert main(["verify", str(source), str(target)]) != 0
        message = capsys.readouterr().err
        assert message.count("\n") == 1 and "Traceback" not in message
        assert not target.exists()


def test_an_old_result_stays_when_the_new_one_fails(tmp_path):
    target = tmp_path / "out.jsonl"
    target.write_text("old")
    source = tmp_path / "in.jsonl"
    source.write_text("{")
    assert main(["verify", str(source), str(target)]) != 0
    assert target.read_text() == "old"


def test_no_rows_give_an_empty_file(tmp_path):
    source = write(tmp_path / "in.jsonl", [])
    assert main(["verify", str(source), str(tmp_path / "out.jsonl")]) == 0
    assert (tmp_path / "out.jsonl").read_text() == ""
