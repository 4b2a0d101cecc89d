"""Translate the layouts of public data sets into the problem schema of `ace_lib.problems`.

A layout is a function from a raw row and an id to a problem row. A source known by name states its
layout in `ace_lib.sources`; any other is recognised by its columns, never by a file name. A row
that does not fit is reported with its number, its id and the reason, and the others go on.
"""

import re
from collections.abc import Callable, Iterable

from ace_lib import asserts
from ace_lib.code_tests import RowDefect, read_json, read_tests, unpack_tests
from ace_lib.problems import ProblemList, find_defect, make_problem_row
from ace_lib.prompts import final_answer

Layout = Callable[[dict, str], dict]

PROMPT_COLUMNS = ("problem", "question", "prompt")
ANSWER_COLUMNS = ("answer", "gold", "expected_answer", "final_answer")
ID_COLUMNS = ("id", "unique_id", "task_id")
MATH_COLUMNS = {
    "prompt": PROMPT_COLUMNS,
    "gold": ANSWER_COLUMNS,
    "topic": ("topic", "subject", "type"),
    "id": ID_COLUMNS,
    "level": ("level",),
    "source": ("source",),
    "verified": ("verified",),
}
KNOWN_GOOD = 3  # solutions kept of each problem, of up to hundreds; ours. They try its tests
NO_ANSWER = ("proof", "notfound")  # what NuminaMath writes where there is none


class _Row(dict):
    def __missing__(self, name: str) -> object:
        raise RowDefect(f"column {name!r} is missing; there are {', '.join(map(str, self))}")


def adapt_rows(
    numbered_rows: Iterable[tuple[int, dict]],
    source_name: str,
    layout: Layout | None = None,
    prompts_only: bool = False,
) -> ProblemList:
    """Translate (row number, raw row) pairs; unusable rows go to `.skipped` with their reason.

    Without a `layout`, each row's is recognised by its columns. With `prompts_only`, a row needs
    neither an answer nor tests.
    """
    problems, skipped = [], []
    for number, raw in numbered_rows:
        raw = _Row((str(key).lower(), value) for key, value in raw.items())
        name = f"{source_name}-{number - 1}"
        try:
            problem = (layout or recognise(raw))(raw, name)
            problem["source"] = problem["source"] or source_name
            name, reason = problem["id"], find_defect(problem, prompts_only)
        except RowDefect as error:
            reason = str(error)
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            reason = f"a column holds something unexpected ({error!r})"  # of another type
        if reason:
            skipped.append({"row": number, "id": name, "reason": reason})
        else:
            problems.append(problem)
    return ProblemList(problems, skipped)


def recognise(raw: dict) -> Layout:
    """Choose the layout by the row's (lower-case) columns. Raises RowDefect for unknown ones."""
    columns = set(raw)
    if "domain" in columns and "prompt" in columns:
        return adapt_own
    if {"entry_point", "test"} <= columns:
        return adapt_humaneval
    if "test_list" in columns:
        return adapt_mbpp
    if {"question_content", "private_test_cases"} <= columns:
        return livecodebench_layout()
    if {"question", "input_output"} <= columns:
        return adapt_apps
    if {"problem", "tests"} <= columns:
        return adapt_deepcoder
    if columns & set(PROMPT_COLUMNS) and columns & set(ANSWER_COLUMNS):
        return adapt_math
    raise RowDefect(
        f"unknown layout with columns {sorted(columns)}; math rows need one of {PROMPT_COLUMNS} "
        f"and one of {ANSWER_COLUMNS}, others the columns of the problem schema"
    )


def adapt_own(raw: dict, default_id: str) -> dict:
    """Fill the schema's defaults into a row that already follows it."""
    return make_problem_row(**{"id": default_id} | raw)


# --- math ----------------------------------------------------------------------------------------


def math_layout(**columns: str) -> Layout:
    """Layout of math rows: the column of each field (`prompt`, `gold`, `topic`, `response`, …)."""

    def adapt(raw: dict, default_id: str) -> dict:
        found = {field: raw[column] for field, column in columns.items()}
        return _math_row(**{"id": default_id} | found)

    return adapt


def adapt_math(raw: dict, default_id: str) -> dict:
    """Translate GSM8K, MATH-500, AIME and look-alikes: a statement and an answer column."""
    found = {
        field: next((raw[name] for name in names if raw.get(name) not in (None, "")), "")
        for field, names in MATH_COLUMNS.items()
    }
    return _math_row(**found | {"id": found["id"] or default_id})


def _math_row(prompt: object, gold: object = "", **others: object) -> dict:
    row = {"domain": "math", "prompt": str(prompt or ""), "gold": normalise_answer(gold)} | others
    row |= {name: normalise_answer(row[name]) for name in ("id", "topic", "source") if name in row}
    if row.pop("verified", None) in (True, "Yes"):  # "Yes" in NuminaMath
        row["verified"] = True
    return make_problem_row(**row | {"level": _level_number(others.get("level"))})


def normalise_answer(answer: object) -> str:
    """Return an answer column as text: GSM8K's part after ####, 142.0 as 142, ["2"] as 2."""
    if isinstance(answer, list):
        return ", ".join(normalise_answer(part) for part in answer)
    if isinstance(answer, float) and answer.is_integer():
        return str(int(answer))
    text = "" if answer is None else str(answer).strip()
    if "####" in text:
        return text.rsplit("####", 1)[1].strip().replace(",", "")
    return "" if text.lower() in NO_ANSWER else text


def _level_number(level: object) -> int:
    """Read 'Level 5', 5.0 or None as 5, 5 or 0."""
    digits = re.search(r"\d+", str(level or ""))
    return int(digits.group()) if digits else 0


# --- prompts with a worked response, for SFT -----------------------------------------------------


def adapt_acereason_sft(raw: dict, default_id: str) -> dict:
    """Translate AceReason-1.1-SFT: a category, a prompt, DeepSeek-R1's response."""
    if raw["category"] not in ("math", "code"):
        raise RowDefect(f"category is {raw['category']!r}, expected 'math' or 'code'")
    row = _worked_row(raw["input"], raw["output"], id=default_id, domain=raw["category"])
    return row | {"source": str(raw["source"] or "")}


def adapt_acemath(raw: dict, default_id: str) -> dict:
    """Translate AceMath-Instruct: a conversation that ends with the question, and the answer."""
    asked = [turn["content"] for turn in raw["messages"] or [] if turn["role"] == "user"]
    return _worked_row(asked[-1] if asked else "", raw["answer"], id=default_id, domain="math")


def adapt_opencodereasoning(raw: dict, default_id: str) -> dict:
    """Translate OpenCodeReasoning; `id` names the question, so it repeats, and is not taken."""
    if raw["input"] == "-":
        raise RowDefect("the statement is '-': part split_1 leaves it in the set it comes from")
    others = {"id": default_id, "domain": "code", "solutions": [str(raw["solution"] or "")]}
    row = _worked_row(raw["input"], raw["output"], **others)
    return row | {"source": str(raw["dataset"] or ""), "license": raw["license"]}


def _worked_row(prompt: object, response: object, **others: object) -> dict:
    """A row whose response stands for an answer; of math, the answer in the response's box."""
    response = str(response or "")
    gold = (final_answer(response) or "") if others["domain"] == "math" else ""
    return make_problem_row(prompt=str(prompt or ""), gold=gold, response=response, **others)


# --- code: tests as Python asserts ---------------------------------------------------------------


def adapt_humaneval(raw: dict, default_id: str) -> dict:
    """Translate a HumanEval(+) row; the statement is the function's header and docstring."""
    return _call_problem(
        id=str(raw.get("task_id") or default_id),
        prompt=f"Complete this Python function.\n\n{str(raw['prompt'] or '').strip()}",
        entry_point=str(raw["entry_point"] or ""),
        source=str(raw["test"] or ""),
        solution=f"{raw['prompt']}{raw.get('canonical_solution') or ''}",
    )


def adapt_mbpp(raw: dict, default_id: str) -> dict:
    """Translate an MBPP(+) row (`text` in the full set, `prompt` in the sanitized one and in +)."""
    listed = list(raw["test_list"] or [])
    code = str(raw.get("code") or "").replace("\r\n", "\n").replace("\t", "    ")
    return _call_problem(
        id=f"MBPP/{raw['task_id']}" if raw.get("task_id") is not None else default_id,
        prompt=str(raw.get("text") or raw.get("prompt") or "").strip(),
        entry_point=asserts.called_name(listed[0], code) if listed else "",
        source=raw.get("test") or "\n".join(listed),
        solution=code,
    )


def adapt_opencoder(raw: dict, default_id: str) -> dict:
    """Translate the subset educational_instruct of opc-sft-stage2, made by a model with tests."""
    row = _call_problem(
        id=f"opc/{raw['seq_id']}" if raw["seq_id"] is not None else default_id,
        prompt=str(raw["instruction"] or "").strip(),
        entry_point=str(raw["entry_point"] or ""),
        source="\n".join(raw["testcase"] or []),
        solution=str(raw["code"] or ""),
    )
    return row | {"response": str(raw["output"] or "")}


def _call_problem(id: str, prompt: str, entry_point: str, source: str, solution: str) -> dict:
    tests, left_out = asserts.convert_asserts(source, {"candidate", entry_point})
    return make_problem_row(
        id=id, domain="code", prompt=prompt, mode="call", entry_point=entry_point,
        starter_code=asserts.function_header(solution, entry_point), tests=tests,
        tests_left_out=left_out, solutions=[solution],
    )  # fmt: skip


# --- code: tests as data -------------------------------------------------------------------------


def adapt_apps(raw: dict, default_id: str) -> dict:
    """Translate APPS and TACO: `input_output` and `solutions` are JSON text."""
    solutions = read_json(raw.get("solutions") or "[]")
    return _tested_problem(
        lambda: read_tests(raw["input_output"] or "[]"),
        id=default_id,
        prompt=str(raw["question"] or ""),
        starter_code=str(raw.get("starter_code") or ""),
        topic=str(raw.get("difficulty") or ""),
        solutions=list(map(str, (solutions or [])[:KNOWN_GOOD])),
        url=str(raw.get("url") or ""),
    )


def adapt_deepcoder(raw: dict, default_id: str) -> dict:
    """Translate DeepCoder-Preview; its subsets state tests and the function's name differently."""
    metadata = read_json(raw.get("metadata") or "{}")
    solutions = raw.get("solutions") or []
    return _tested_problem(
        lambda: read_tests(raw["tests"] or "[]", metadata.get("func_name") or ""),
        id=default_id,
        prompt=str(raw["problem"] or ""),
        starter_code=str(raw.get("starter_code") or ""),
        solutions=[solutions] if isinstance(solutions, str) else list(solutions[:KNOWN_GOOD]),
    )


def livecodebench_layout(first_day: str = "", end_day: str = "9999") -> Layout:
    """Layout of LiveCodeBench, of contests from `first_day` on and before `end_day` (ISO dates)."""

    def adapt(raw: dict, default_id: str) -> dict:
        day = str(raw["contest_date"])[:10]
        if not first_day <= day < end_day:
            raise RowDefect(f"contest of {day}, outside {first_day} to {end_day}")
        return _tested_problem(
            lambda: _livecodebench_tests(raw),
            id=str(raw["question_id"] or default_id),
            prompt=str(raw["question_content"] or ""),
            starter_code=str(raw["starter_code"] or ""),
            topic=str(raw["difficulty"] or ""),
            contest_date=day,
        )

    return adapt


def _livecodebench_tests(raw: dict) -> tuple[list[dict], str]:
    """Read public and private tests alike."""
    public = read_json(raw["public_test_cases"] or "[]")
    metadata = read_json(raw["metadata"] or "{}")
    tests = [*public, *unpack_tests(raw["private_test_cases"])]
    return read_tests(tests, metadata.get("func_name", ""))


def _tested_problem(read: Callable[[], tuple[list[dict], str]], **others: object) -> dict:
    """A row with the tests that `read` decodes; what it cannot decode leaves the statement."""
    try:
        tests, entry_point = read()
    except RowDefect as error:
        tests, entry_point = [], ""
        others["tests_defect"] = str(error)
    mode = "call" if entry_point else "stdin"
    return make_problem_row(
        domain="code", mode=mode, entry_point=entry_point, tests=tests, **others
    )
