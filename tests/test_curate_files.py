"""`ace decontaminate` and `ace dedup`: every row in one output, errors that name the place."""

import gzip
import json
from pathlib import Path

import pytest

from ace_lib.cli import main
from ace_lib.tables import read_rows, write_rows

ITEM = "Find the number of ordered pairs of positive integers whose sum is at most 2026."
OTHER = "A farmer has 17 sheep and buys 5 more at the market each day. How many after a week?"
CLEAN = {"id": "clean", "problem": OTHER, "answer": "52", "extra": {"level": [1, None, 2.5]}}
LEAK = {"id": "leak", "problem": f"Solve this. {ITEM}", "answer": "7", "extra": None}


def files(folder: Path, suffix: str = "jsonl", candidates: list | None = None) -> list[str]:
    """Write candidates and one benchmark, and return the arguments that name all files."""
    source = write_rows(
        folder / f"raw.{suffix}", [CLEAN, LEAK] if candidates is None else candidates
    )
    exam = write_rows(folder / f"exam.{suffix}", [{"task_id": "e1", "question": ITEM}])
    outputs = ["--out", str(folder / f"kept.{suffix}"), "--report", str(folder / "report.jsonl")]
    return ["decontaminate", "--candidates", str(source), "--benchmarks", str(exam), *outputs]


def read(path: Path) -> list[dict]:
    return [row.data for row in read_rows(path)]


def fails(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture, reason: str) -> None:
    """Expect an error that holds `reason`, and no output, not even a partial one."""
    before = set(folder.iterdir())
    assert main(arguments) == 1
    assert reason in capsys.readouterr().err
    assert set(folder.iterdir()) == before


@pytest.mark.parametrize("rule", ["any", "coverage"])
@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
def test_every_row_is_in_one_output(tmp_path, capsys, suffix, rule) -> None:
    assert main([*files(tmp_path, suffix), "--rule", rule]) == 0
    assert read(tmp_path / f"kept.{suffix}") == [CLEAN]
    (removed,) = map(json.loads, (tmp_path / "report.jsonl").read_text().splitlines())
    assert removed == {
        "file": str(tmp_path / f"raw.{suffix}"), "row": 2, "id": "leak", "reason": "overlap",
        "benchmark": "exam", "item": "e1",
        "ngram": "find the number of ordered pairs of positive integers",
        "item_share": 1.0, "prompt_share": pytest.approx(15 / 17),
    }  # fmt: skip
    assert "1 of 2 rows kept" in (shown := capsys.readouterr().out)
    assert "1 removed: exam" in shown


def test_rows_without_a_statement_are_counted_and_reported(tmp_path, capsys) -> None:
    bad = [{"problem": ""}, {"problem": None}, {"problem": ["x"]}, {"answer": "1"}]
    bad += [{"problem": "half \ud83d a sign"}]
    arguments = files(tmp_path)
    (tmp_path / "raw.jsonl").write_text("\n".join(map(json.dumps, [CLEAN, *bad, LEAK])))
    assert main(arguments) == 0
    report = [json.loads(line) for line in (tmp_path / "report.jsonl").read_text().splitlines()]
    assert [row["row"] for row in report if row["reason"] == "skipped"] == [2, 3, 4, 5, 6]
    assert [row.get("detail", "").split()[-1:] for row in report[:5]] == [
        ["empty"], ["empty"], ["text"], ["missing"], ["'\\ud83d'"],
    ]  # fmt: skip
    assert "5 removed: skipped" in capsys.readouterr().out


def test_repeated_ids_are_counted_and_both_rows_decided(tmp_path, capsys) -> None:
    twin = {**LEAK, "id": "clean"}
    assert main(files(tmp_path, candidates=[CLEAN, twin, CLEAN])) == 0
    assert "2 of 3 rows kept, 2 ids repeat" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.jsonl").read_text())["row"] == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"problem": "x"}\n{"problem"\n', "raw.jsonl, line 2: not JSON"),
        (b'{"problem": "x"}\n\xff\n', "raw.jsonl, line 2: not UTF-8"),
        (b"[1]\n", "raw.jsonl, line 1: a JSON list"),
        (b'{"statement": "x", "id": 1}\n', "first row, which has statement, id"),
    ],
)
def test_a_bad_file_is_named_and_nothing_is_written(tmp_path, capsys, content, reason) -> None:
    arguments = files(tmp_path)
    (tmp_path / "raw.jsonl").write_bytes(content)
    fails(arguments, tmp_path, capsys, reason)


@pytest.mark.parametrize("suffix", ["jsonl.gz", "parquet"])
def test_a_truncated_file_is_named_and_nothing_is_written(tmp_path, capsys, suffix) -> None:
    rows = [{"problem": f"Find {number} + {number * 7919 % 1009}."} for number in range(5000)]
    arguments = files(tmp_path, suffix, rows)
    source = tmp_path / f"raw.{suffix}"
    source.write_bytes(source.read_bytes()[:-2000])
    fails(arguments, tmp_path, capsys, source.name)


def test_a_damaged_gzip_file_is_named(tmp_path, capsys) -> None:
    arguments = files(tmp_path, "jsonl.gz")
    packed = bytearray(gzip.compress(b'{"problem": "x"}\n' * 5000))
    packed[15:40] = bytes(25)
    (tmp_path / "raw.jsonl.gz").write_bytes(packed)
    fails(arguments, tmp_path, capsys, "raw.jsonl.gz")


@pytest.mark.parametrize("command", ["decontaminate", "dedup"])
def test_no_candidates_are_refused_and_one_empty_file_beside_others_is_not(
    tmp_path, capsys, command
) -> None:
    arguments = files(tmp_path)
    if command == "dedup":
        arguments = [command, *arguments[1:3], *arguments[5:]]
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    at = arguments.index("--candidates") + 1
    fails([*arguments[:at], str(empty), *arguments[at + 1 :]], tmp_path, capsys, "no rows in")
    assert main([*arguments[: at + 1], str(empty), *arguments[at + 1 :]]) == 0


def test_unusable_benchmarks_are_refused(tmp_path, capsys) -> None:
    arguments = files(tmp_path)
    exam = tmp_path / "exam.jsonl"
    write_rows(exam, [{"statement": ITEM}])
    fails(arguments, tmp_path, capsys, "has statement; name the statements with --column (of ben")
    exam.write_text("")
    fails(arguments, tmp_path, capsys, "no items in exam")
    write_rows(exam, [{"id": 1, "problem": ITEM}, {"id": 1, "problem": OTHER}])
    fails(arguments, tmp_path, capsys, "row 2: id '1' repeats")
    other = tmp_path / "more" / "exam.jsonl"
    write_rows(exam, [{"id": 1, "problem": ITEM}])
    write_rows(other, [{"id": 1, "problem": OTHER}])
    fails([*arguments, "--benchmarks", str(exam), str(other)], tmp_path, capsys, "two benchmarks")


@pytest.mark.parametrize("column", ["Problem", "statement"])
def test_a_benchmark_may_name_its_statements_otherwise(tmp_path, capsys, column) -> None:
    arguments = files(tmp_path)
    write_rows(tmp_path / "exam.jsonl", [{"Answer": 7, column: ITEM}])
    named = ["--benchmark-column", column] if column == "statement" else []
    assert main([*arguments, *named]) == 0
    assert "1 removed: exam" in capsys.readouterr().out


def test_a_byte_order_mark_and_half_a_character_outside_the_statement_do_no_harm(tmp_path) -> None:
    arguments = files(tmp_path)
    noted = CLEAN | {"note": "half \ud83d"}
    (tmp_path / "raw.jsonl").write_text(json.dumps(noted) + "\n", encoding="utf-8-sig")
    assert main(arguments) == 0
    assert read(tmp_path / "kept.jsonl") == [noted]


@pytest.mark.parametrize("output", ["--out", "--report"])
def test_an_output_that_cannot_be_opened_leaves_no_other(tmp_path, capsys, output) -> None:
    (folder := tmp_path / "folder").mkdir()
    fails([*files(tmp_path), output, str(folder)], tmp_path, capsys, "cannot be written (it is a")
    fails([*files(tmp_path), output, f"{tmp_path}/raw.jsonl/x"], tmp_path, capsys, "be written")


def test_what_follows_a_gzip_stream_is_named_with_the_line_before_it(tmp_path, capsys) -> None:
    arguments = files(tmp_path, "jsonl.gz")
    with (tmp_path / "raw.jsonl.gz").open("ab") as file:
        file.write(b"garbage")
    fails(arguments, tmp_path, capsys, "not a gzip file after line 2")


def test_a_row_of_a_benchmark_without_a_statement_is_reported(tmp_path, capsys) -> None:
    arguments = files(tmp_path)
    write_rows(tmp_path / "exam.jsonl", [{"id": 1, "problem": ITEM}, {"id": 2, "problem": " "}])
    assert main(arguments) == 0
    assert "1 benchmark items, 1 rows without" in capsys.readouterr().out
    assert json.loads((tmp_path / "report.jsonl").read_text().splitlines()[0])["id"] == 2


def test_impossible_arguments_are_refused(tmp_path, capsys) -> None:
    arguments = files(tmp_path)
    same = str(tmp_path / "report.jsonl")
    fails([*arguments, "--out", same], tmp_path, capsys, "must be different files")
    fails([*arguments, "--out", str(tmp_path / "raw.jsonl")], tmp_path, capsys, "different files")
    fails([*arguments, "--column", "body"], tmp_path, capsys, "no column body")
    fails(
        [*arguments, "--rule", "coverage", "--coverage", "2"], tmp_path, capsys, "share in (0, 1]"
    )
    fails([*arguments, "--candidates", "absent.jsonl"], tmp_path, capsys, "absent.jsonl: no such")


def test_prompts_of_ten_megabytes_are_compared(tmp_path) -> None:
    words = "seven green boats sail past the old stone tower " * 200_000
    huge = [{"id": "clean", "problem": words}, {"id": "leak", "problem": f"{words}. {ITEM}"}]
    assert len(words) > 9e6
    assert main([*files(tmp_path, "jsonl.gz", huge), "--rule", "coverage"]) == 0
    assert [row["id"] for row in read(tmp_path / "kept.jsonl.gz")] == ["clean"]


def test_a_mixed_column_does_not_fit_parquet(tmp_path, capsys) -> None:
    mixed = [CLEAN, {**CLEAN, "answer": 3}]
    arguments = files(tmp_path, candidates=mixed)
    fails([*arguments, "--out", str(tmp_path / "kept.parquet")], tmp_path, capsys, "does not fit")


def test_dedup_keeps_one_row_of_each_cluster(tmp_path, capsys) -> None:
    rows = [
        CLEAN,
        {"id": "copy", "problem": OTHER.upper(), "answer": "53"},
        {"id": "wrapped", "problem": f"Please answer: {OTHER}", "answer": "52", "verified": True},
        {"id": "void", "problem": ""},
        {"id": "new", "problem": ITEM, "answer": "52"},
    ]
    source = write_rows(tmp_path / "raw.jsonl", rows)
    out, report = tmp_path / "kept.jsonl", tmp_path / "report.jsonl"
    assert (
        main(["dedup", "--candidates", str(source), "--out", str(out), "--report", str(report)])
        == 0
    )
    assert [row["id"] for row in read(out)] == ["wrapped", "new"]
    removed = [json.loads(line) for line in report.read_text().splitlines()]
    assert [row["reason"] for row in removed] == ["near", "exact", "skipped"]
    assert [row["duplicate_of"]["id"] for row in removed[:2]] == ["wrapped", "wrapped"]
    assert removed[0]["conflicting_answers"] is True
    assert "2 of 5 rows kept" in capsys.readouterr().out
