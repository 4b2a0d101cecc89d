"""Every known source: rows of ours in its exact columns, and every way that a row can be broken."""

import base64
import json
import pickle
import textwrap
import warnings
import zlib
from pathlib import Path

import datasets
import huggingface_hub
import pytest

from ace_lib import problems, sources
from ace_lib.tables import write_rows

ASKED = {"problem": "What is 3 + 4?", "answer": "7"}
SOLVED = {"prompt": "What is 3 + 4?", "gold": "7", "domain": "math"}
THOUGHT = "<think>\nadd\n</think>\nIt is \\boxed{7}."
TWICE = "def twice(x):\n    return 2 * x\n"
STDIN = {"inputs": ["1\n", "2\n"], "outputs": ["2\n", "4\n"]}
CALLS = {"fn_name": "twice", "inputs": [[1], [2]], "outputs": [[2], [4]]}
CALLED = {
    "mode": "call", "entry_point": "twice",
    "tests": [{"input": [1], "output": 2}, {"input": [2], "output": 4}],
}  # fmt: skip
PRINTED = {
    "mode": "stdin",
    "tests": [{"input": "1\n", "output": "2\n"}, {"input": "2\n", "output": "4\n"}],
}
APPS = {
    "question": "Double it.", "solutions": json.dumps([TWICE]), "input_output": json.dumps(STDIN),
    "difficulty": "introductory", "url": "https://example.org/1", "starter_code": "",
}  # fmt: skip
TACO = APPS | {
    "raw_tags": "[]", "name": None, "source": "codewars", "tags": "[]", "skill_types": "[]",
    "Expected Auxiliary Space": None, "time_limit": None, "date": None, "picture_num": None,
    "memory_limit": None, "Expected Time Complexity": None,
    "input_output": json.dumps(CALLS), "starter_code": "def twice(x):\n\t",
}  # fmt: skip
PLUS = (
    "def assertion(out, exp, atol):\n    assert out == exp\n\n\n"
    "inputs = [[1], [2], [(3,)]]\nresults = [2, 4, 6]\n"
    "for i, (inp, exp) in enumerate(zip(inputs, results)):\n    assertion(NAME(*inp), exp, 0)\n"
)
LOOP = PLUS.split("\n\n\n")[1].replace("NAME", "candidate")
CHECK = f"def check(candidate):\n{textwrap.indent(LOOP, '    ')}"
HUMANEVAL = {
    "task_id": "HumanEval/900", "entry_point": "twice", "canonical_solution": "    return 2 * x\n",
    "prompt": 'def twice(x):\n    """Double x."""\n',
    "test": "def check(candidate):\n    assert candidate(1) == 2\n    assert candidate(2) == 4\n",
}  # fmt: skip
MBPP = {
    "task_id": 900, "text": "Double it.", "code": TWICE, "test_setup_code": "",
    "test_list": ["assert twice(1) == 2", "assert twice(2) == 4"], "challenge_test_list": [],
}  # fmt: skip


def pack(tests: object) -> str:
    """Pack private tests as LiveCodeBench does."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(tests)))).decode()


def contest(day: str, function: str = "") -> dict:
    """A row of LiveCodeBench, its second test private."""
    kind = "functional" if function else "stdin"
    pairs = [("1", "2"), ("2", "4")] if function else [("1\n", "2\n"), ("2\n", "4\n")]
    public, private = ([{"input": i, "output": o, "testtype": kind}] for i, o in pairs)
    return {
        "question_title": "Double", "question_content": "Double it.", "platform": "atcoder",
        "question_id": f"abc-{day}", "contest_id": "abc", "contest_date": f"{day}T00:00:00",
        "starter_code": f"class Solution:\n    def {function}(self, x):" if function else "",
        "difficulty": "easy", "public_test_cases": json.dumps(public),
        "private_test_cases": pack(private),
        "metadata": json.dumps({"func_name": function} if function else {}),
    }  # fmt: skip


FUNCTION_TESTS = [
    {"type": "function_call", "fn_name": "twice", "input": [x], "output": [2 * x]} for x in (1, 2)
]
LAYOUTS: dict[str, tuple[dict, dict]] = {
    "acereason-math": (ASKED, SOLVED),
    "deepscaler": (ASKED | {"solution": "Add."}, SOLVED),
    "numinamath": (
        ASKED | {
            "solution": "Add.", "problem_type": "Algebra", "question_type": "math-word-problem",
            "problem_is_valid": "Yes", "solution_is_valid": "Yes", "source": "olympiads",
            "synthetic": False,
        },
        SOLVED | {"topic": "Algebra", "source": "olympiads", "verified": True},
    ),
    "openmathreasoning": (
        {
            "problem": "What is 3 + 4?", "expected_answer": "7", "generated_solution": THOUGHT,
            "problem_type": "has_answer_extracted", "problem_source": "aops_c4", "used_in_kaggle":
            True, "generation_model": "DeepSeek-R1", "pass_rate_72b_tir": "0.5", "inference_mode":
            "cot",
        },
        SOLVED | {"response": THOUGHT, "source": "aops_c4"},
    ),
    "acereason-sft": (
        {"category": "math", "source": "aops", "input": "What is 3 + 4?", "output": THOUGHT},
        SOLVED | {"response": THOUGHT, "source": "aops"},
    ),
    "acemath": (
        {"messages": [{"role": "user", "content": "What is 3 + 4?"}], "answer": "\\boxed{7}"},
        SOLVED | {"response": "\\boxed{7}"},
    ),
    "opencodereasoning": (
        {
            "id": "q1", "input": "Double it.", "output": "<think>…</think>", "source": "atcoder",
            "license": "mit", "dataset": "taco", "split": "train", "difficulty": "EASY",
            "solution": TWICE,
        },
        {"prompt": "Double it.", "solutions": [TWICE], "license": "mit", "domain": "code"},
    ),
    "opc-sft-stage2": (
        {
            "seq_id": 5, "instruction": "Double it.", "output": "Here: …", "code": TWICE,
            "entry_point": "twice", "testcase": ["assert twice(1) == 2", "assert twice(2) == 4"],
        },
        CALLED | {"id": "opc/5", "response": "Here: …", "starter_code": "def twice(x):"},
    ),
    "apps": (APPS | {"id": 7}, PRINTED | {"solutions": [TWICE], "topic": "introductory"}),
    "taco": (TACO, CALLED | {"solutions": [TWICE], "starter_code": "def twice(x):\n\t"}),
    "deepcoder": (
        {"problem": "Double it.", "solutions": [TWICE], "tests": json.dumps(FUNCTION_TESTS)},
        CALLED | {"solutions": [TWICE]},
    ),
    "deepcoder-taco": (
        {"problem": "Double it.", "solutions": [TWICE], "tests": json.dumps(STDIN)},
        PRINTED | {"solutions": [TWICE]},
    ),
    "aime24": (
        ASKED | {"id": 60, "solution": "Add.", "url": "https://example.org", "year": "2024"},
        SOLVED | {"id": "60"},
    ),
    "aime25": (ASKED | {"id": "3"}, SOLVED | {"id": "3"}),
    "math500": (
        ASKED | {"solution": "Add.", "subject": "Algebra", "level": 2, "unique_id": "test/1.json"},
        SOLVED | {"id": "test/1.json", "topic": "Algebra", "level": 2},
    ),
    "hmmt25-feb": (
        ASKED | {"problem_idx": 1, "problem_type": ["Algebra", "Geometry"]},
        SOLVED | {"topic": "Algebra, Geometry"},
    ),
    "brumo25": (ASKED | {"problem_idx": 1, "problem_type": ["Algebra"]}, SOLVED),
    "gsm8k": ({"question": "What is 3 + 4?", "answer": "Add.\n#### 7"}, SOLVED),
    "minervamath": ({"question": "What is 3 + 4?", "answer": "7"}, SOLVED),
    "olympiadbench": (
        {
            "id": 1606, "question": "What is 3 + 4?", "solution": ["Add."], "final_answer": ["7"],
            "context": None, "modality": "Text-only", "difficulty": "Competition", "unit": None,
            "is_multiple_answer": False, "answer_type": "Numerical", "error": None,
            "question_type": "Open-ended", "subfield": "Algebra", "subject": "Math",
            "language": "English",
        },
        SOLVED | {"id": "1606", "topic": "Algebra"},
    ),
    "livecodebench-v5": (contest("2024-08-01"), PRINTED | {"contest_date": "2024-08-01"}),
    "livecodebench-v6": (contest("2025-04-30", "twice"), CALLED | {"id": "abc-2025-04-30"}),
    "humaneval": (HUMANEVAL, CALLED | {"id": "HumanEval/900", "tests_left_out": 0}),
    "humaneval-plus": (HUMANEVAL | {"test": CHECK}, CALLED | {"tests_left_out": 1}),
    "mbpp": (MBPP, CALLED | {"id": "MBPP/900", "prompt": "Double it."}),
    "mbpp-plus": (
        {
            "task_id": 900, "code": TWICE, "prompt": "Double it.", "source_file": "x.py",
            "test_imports": [], "test_list": ["assert twice(1) == 2"],
            "test": PLUS.replace("NAME", "twice"),
        },
        CALLED | {"id": "MBPP/900", "prompt": "Double it.", "tests_left_out": 1},
    ),
}  # fmt: skip


def load(name: str, folder: Path, *rows: dict, suffix: str = "jsonl") -> problems.ProblemList:
    return problems.load(f"{name}={write_rows(folder / f'copy.{suffix}', rows)}")


def reasons(name: str, folder: Path, *rows: dict) -> list[str]:
    """Load rows behind a good one, and return why they were left out."""
    good = LAYOUTS[name][0]
    with pytest.warns(problems.ProblemWarning, match=f"{len(rows)} of {len(rows) + 1} rows"):
        loaded = load(name, folder, good, *rows)
    assert [row["row"] for row in loaded.skipped] == list(range(2, len(rows) + 2))
    return [row["reason"] for row in loaded.skipped]


def test_every_source_has_a_row_of_ours() -> None:
    assert set(LAYOUTS) == set(sources.SOURCES)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "parquet"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_each_layout_is_translated(tmp_path: Path, name: str, suffix: str) -> None:
    raw, expected = LAYOUTS[name]
    (row,) = load(name, tmp_path, raw, suffix=suffix)
    assert {field: row[field] for field in expected} == expected
    assert row["id"] and row["source"]


def test_an_answer_is_verified_only_where_its_source_says_yes(tmp_path: Path) -> None:
    (row,) = load("numinamath", tmp_path, LAYOUTS["numinamath"][0] | {"solution_is_valid": "No"})
    assert "verified" not in row


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_missing_statement_is_reported_by_row(tmp_path: Path, name: str) -> None:
    raw = LAYOUTS[name][0]
    column = next(
        c for c in ("problem", "question", "input", "instruction", "question_content", "messages",
                    "text", "prompt") if c in raw
    )  # fmt: skip
    absent = {key: value for key, value in raw.items() if key != column}
    (told,) = reasons(name, tmp_path, absent)
    assert "missing" in told


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("deepscaler", {"answer": ""}, "the answer is empty"),
        ("numinamath", {"answer": "proof"}, "the answer is empty"),
        ("deepscaler", {"answer": None}, "the answer is empty"),
        ("deepscaler", {"problem": "x \udc80"}, "broken encoding"),
        ("deepscaler", {"problem": "x \ufffd"}, "broken encoding"),
        ("deepscaler", {"problem": "x" * 10_000_000}, "prompt of 10000000 characters"),
        ("acereason-sft", {"category": "chemistry"}, "category is 'chemistry'"),
        ("acemath", {"messages": "What is 3 + 4?"}, "a column holds something unexpected"),
        ("apps", {"input_output": ""}, "no usable test"),
        ("apps", {"input_output": "{"}, "no JSON"),
        ("apps", {"input_output": '{"inputs": ["1"], "outputs": []}'}, "unknown layout"),
        ("deepcoder", {"tests": '{"functional": "assert f(1)"}'}, "unknown layout"),
        ("livecodebench-v5", contest("2024-07-31"), "contest of 2024-07-31"),
        ("livecodebench-v5", contest("2025-02-01"), "contest of 2025-02-01"),
        ("livecodebench-v5", {"private_test_cases": "AAAA"}, "cannot be unpacked"),
        ("livecodebench-v5", {"private_test_cases": "%"}, "cannot be unpacked"),
        ("mbpp", {"test_list": ["assert twice({1}) == {2}"]}, "no usable test"),
        ("opencodereasoning", {"input": "-"}, "the statement is '-'"),
    ],
)
def test_a_bad_row_is_reported_and_the_others_stay(tmp_path, name, change, reason) -> None:
    bad = {**LAYOUTS[name][0], "id": "bad", "task_id": 901, "question_id": "bad"} | change
    path = tmp_path / "copy.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in (LAYOUTS[name][0], bad)))
    with pytest.warns(problems.ProblemWarning, match="1 of 2 rows left out"):
        loaded = problems.load(f"{name}={path}")
    assert len(loaded) == 1
    assert (loaded.skipped[0]["row"], reason in loaded.skipped[0]["reason"]) == (2, True)


def test_a_function_is_named_whatever_the_assert_wraps_around_it(tmp_path: Path) -> None:
    listed = {"test_list": ["assert set(twice(1)) == {2}", "assert twice(1) == 2"]}
    assert load("mbpp", tmp_path, MBPP | listed)[0]["entry_point"] == "twice"
    (row,) = load("mbpp-plus", tmp_path, LAYOUTS["mbpp-plus"][0] | listed)
    assert row["tests"] == CALLED["tests"]


def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path) -> None:
    trap = tmp_path / "trap"

    class Evil:
        def __reduce__(self) -> tuple:
            return (open, (str(trap), "w"))

    packed = [
        base64.b64encode(zlib.compress(pickle.dumps(value))).decode() for value in (Evil(), [1])
    ]
    bad = [contest("2024-09-01") | {"private_test_cases": text} for text in packed]
    told = reasons("livecodebench-v5", tmp_path, *bad)
    assert "it asks for" in told[0] and "a pickled list, not text" in told[1]
    assert not trap.exists()


def test_a_malformed_line_is_counted_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(ASKED).encode() + b'\n{"problem": "\xff"}\n{"answer"\n')
    with pytest.warns(problems.ProblemWarning, match="2 of 3 rows left out; first: row 2"):
        loaded = problems.load(path)
    assert ["not UTF-8" in loaded.skipped[0]["reason"], "not JSON" in loaded.skipped[1]["reason"]]


def test_a_benchmark_protects_statements_without_an_answer(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [ASKED, {"problem": "Prove it.", "answer": None}])
    assert len(problems.load(path, prompts_only=True)) == 2
    broken = APPS | {"input_output": "{"}
    assert len(problems.load(write_rows(tmp_path / "a.jsonl", [broken]), prompts_only=True)) == 1


def test_an_empty_copy_and_one_of_another_set_are_refused(tmp_path: Path) -> None:
    with pytest.raises(problems.ProblemFileError, match="the source is empty"):
        load("aime24", tmp_path)
    with pytest.raises(problems.ProblemFileError, match="row 1: column 'question' is missing"):
        load("gsm8k", tmp_path, ASKED)


# --- the hub -------------------------------------------------------------------------------------


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list:
    """What is asked of the hub, which answers with one row of GSM8K."""
    calls: list = []

    def load_dataset(name, config, revision, split):
        calls.append((name, config, revision, split))
        return datasets.Dataset.from_list([{"question": "1 + 1?", "answer": "#### 2"}])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = huggingface_hub.hf_api.DatasetInfo(id="x", sha="0123abc", tags=[])
    monkeypatch.setattr(huggingface_hub, "dataset_info", lambda name: found)
    return calls


def test_a_hub_name_is_taken_apart(asked: list) -> None:
    (row,) = problems.load("hub:openai/gsm8k#main@abc123:test[:1]")
    assert asked == [("openai/gsm8k", "main", "abc123", "test[:1]")]
    assert (row["id"], row["gold"]) == ("gsm8k-0", "2")
    with pytest.raises(problems.ProblemFileError, match="not a hub source"):
        problems.load("hub:gsm8k")


def test_a_pinned_source_is_read_at_its_commit(asked: list) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loaded = problems.load("gsm8k")
    commit = sources.SOURCES["gsm8k"].revision
    assert asked == [("openai/gsm8k", "main", commit, "test")]
    assert loaded.origin == f"openai/gsm8k@{commit}"


def test_a_source_without_a_pin_says_which_commit_was_read(asked: list) -> None:
    with pytest.warns(problems.ProblemWarning, match="no pinned commit, reading 0123abc"):
        loaded = problems.load("minervamath")
    assert asked == [("math-ai/minervamath", None, "0123abc", "test")]
    assert loaded.origin == "math-ai/minervamath@0123abc"


def test_files_of_a_set_with_a_script_are_read_themselves(tmp_path, monkeypatch) -> None:
    path = write_rows(tmp_path / "train.jsonl", [APPS, APPS])

    def download(hub, file, repo_type, revision):
        assert (hub, file, repo_type) == ("codeparrot/apps", "train.jsonl", "dataset")
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert [row["id"] for row in problems.load("apps")] == ["apps-0", "apps-1"]


def test_an_unreachable_hub_set_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args, **kwargs):
        raise ConnectionError("no route\nlong traceback")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(problems.ProblemFileError, match="no route.*give a local copy") as caught:
        problems.load("hub:owner/name@abc")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("revision", [source.revision for source in sources.SOURCES.values()])
def test_a_pin_is_a_whole_commit(revision: str | None) -> None:
    assert revision is None or len(revision) == 40 and int(revision, 16)
