"""Translate the layouts of public data sets into the problem schema of `ace_lib.problems`.

An adapter is recognised by its columns, never by a file name. HumanEval and MBPP state their tests
as Python asserts; those are read with `ast`, never executed. What has no exact JSON form (tuples as
arguments, sets, loops, calls to helpers) is left out and counted in `tests_left_out`.
"""

import ast
import operator
import re
import warnings
from collections.abc import Iterable
from itertools import chain

from ace_lib.problems import SCHEMA, ProblemFileError, ProblemList, find_defect, make_problem_row

PROMPT_COLUMNS = ("problem", "question", "prompt")
ANSWER_COLUMNS = ("answer", "gold", "expected_answer", "final_answer")
TOPIC_COLUMNS = ("topic", "subject", "type")
ID_COLUMNS = ("id", "unique_id", "task_id")
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LARGEST_CONSTANT = 100_000


class NotConvertible(ValueError):
    """A test has no exact form as JSON arguments and an expected value."""


def adapt_rows(numbered_rows: Iterable[tuple[int, dict]], source_name: str) -> ProblemList:
    """Translate (row number, raw row) pairs; unusable rows go to `.skipped` with their reason.

    Raises ProblemFileError when no adapter knows the columns of a row.
    """
    problems, skipped = [], []
    for number, raw in numbered_rows:
        raw = {str(key).lower(): value for key, value in raw.items()}
        adapter = find_adapter(raw, source_name, number)
        problem = adapter(raw, f"{source_name}-{number - 1}")
        problem["source"] = problem["source"] or source_name
        reason = find_defect(problem)
        if reason:
            skipped.append({"row": number, "id": problem["id"], "reason": reason})
        else:
            problems.append(problem)
    return ProblemList(problems, skipped)


def find_adapter(raw: dict, source_name: str, number: int):
    """Choose the adapter by the row's (lower-case) columns."""
    columns = set(raw)
    if "domain" in columns and "prompt" in columns:
        return adapt_own
    if {"entry_point", "test"} <= columns:
        return adapt_humaneval
    if "test_list" in columns:
        return adapt_mbpp
    if columns & set(PROMPT_COLUMNS) and columns & set(ANSWER_COLUMNS):
        return adapt_math
    raise ProblemFileError(
        f"{source_name}, row {number}: unknown layout with columns {sorted(columns)}. "
        f"Math rows need one of {PROMPT_COLUMNS} and one of {ANSWER_COLUMNS}; other layouts "
        f"must be brought to the problem schema: {list(SCHEMA)}."
    )


def adapt_own(raw: dict, default_id: str) -> dict:
    """Fill the schema's defaults into a row that already follows it."""
    return make_problem_row(**{"id": default_id} | raw)


# --- math ----------------------------------------------------------------------------------------


def adapt_math(raw: dict, default_id: str) -> dict:
    """Translate GSM8K, MATH-500, AIME and look-alikes: a statement and an answer column."""
    return make_problem_row(
        id=str(_first(raw, ID_COLUMNS) or default_id),
        domain="math",
        prompt=str(_first(raw, PROMPT_COLUMNS) or ""),
        gold=normalise_answer(_first(raw, ANSWER_COLUMNS)),
        topic=str(_first(raw, TOPIC_COLUMNS) or ""),
        level=_level_number(raw.get("level")),
        source=str(raw.get("source") or ""),
    )


def normalise_answer(answer: object) -> str:
    """Return an answer column as text: GSM8K's part after ####, 142.0 as 142, ["2"] as 2."""
    if isinstance(answer, list):
        return ", ".join(normalise_answer(part) for part in answer)
    if isinstance(answer, float) and answer.is_integer():
        return str(int(answer))
    text = "" if answer is None else str(answer)
    if "####" in text:
        return text.rsplit("####", 1)[1].strip().replace(",", "")
    return text.strip()


def _first(raw: dict, names: tuple[str, ...]) -> object:
    """Return the first of the columns `names` that holds something."""
    return next((raw[name] for name in names if raw.get(name) not in (None, "")), None)


def _level_number(level: object) -> int:
    """Read 'Level 5', 5.0 or None as 5, 5 or 0."""
    digits = re.search(r"\d+", str(level or ""))
    return int(digits.group()) if digits else 0


# --- code: HumanEval and MBPP --------------------------------------------------------------------


def adapt_humaneval(raw: dict, default_id: str) -> dict:
    """Translate a HumanEval row; the statement is the function's header and docstring."""
    return _call_problem(
        id=str(raw.get("task_id") or default_id),
        prompt=f"Complete this Python function.\n\n{raw['prompt'].strip()}",
        entry_point=raw["entry_point"],
        asserts=raw["test"],
        solution=raw["prompt"] + raw.get("canonical_solution", ""),
    )


def adapt_mbpp(raw: dict, default_id: str) -> dict:
    """Translate an MBPP row (`text` in the full set, `prompt` in the sanitized one)."""
    asserts = list(raw["test_list"] or [])
    return _call_problem(
        id=f"MBPP/{raw['task_id']}" if raw.get("task_id") is not None else default_id,
        prompt=str(raw.get("text") or raw.get("prompt") or "").strip(),
        entry_point=_called_name(asserts[0]) if asserts else "",
        asserts="\n".join(asserts),
        solution=str(raw.get("code") or "").replace("\r\n", "\n").replace("\t", "    "),
    )


def _call_problem(id: str, prompt: str, entry_point: str, asserts: str, solution: str) -> dict:
    tests, left_out = convert_asserts(asserts, {"candidate", entry_point})
    return make_problem_row(
        id=id, domain="code", prompt=prompt, mode="call", entry_point=entry_point,
        starter_code=function_header(solution, entry_point), tests=tests, tests_left_out=left_out,
        solution=solution,
    )  # fmt: skip


def function_header(code: str, name: str) -> str:
    """Return the `def` line of function `name` in `code` (with the imports), "" when absent."""
    body = parse_statements(code)
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            node.body = [ast.Pass()]
            return "\n".join([*imports, ast.unparse(node).removesuffix("pass").rstrip()])
    return ""


def parse_statements(source: str) -> list[ast.stmt]:
    """Parse Python of unknown origin without running it; [] when it cannot be parsed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # invalid escapes in the data are not our warnings
        try:
            return ast.parse(source).body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return []


def _called_name(source: str) -> str:
    """Name the function that an assert calls, "" when it calls none directly."""
    statements = parse_statements(source)
    if not statements or not isinstance(statements[0], ast.Assert):
        return ""
    test = statements[0].test
    call = test.left if isinstance(test, ast.Compare) else test
    return call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""


def convert_asserts(source: str, names: set[str]) -> tuple[list[dict], int]:
    """Convert `assert name(arguments) == value` statements in `source` to call tests.

    Returns the tests and the number of asserts (or loops of asserts) that have no exact JSON form.
    Asserts of a bare constant test nothing and are not counted.
    """
    tests, left_out = [], 0
    bodies = [  # of HumanEval's `def check(candidate):`
        node.body if isinstance(node, ast.FunctionDef) else [node]
        for node in parse_statements(source)
    ]
    for statement in chain.from_iterable(bodies):
        if isinstance(statement, ast.Assert) and not isinstance(statement.test, ast.Constant):
            try:
                tests.append(_convert_test(statement.test, names))
            except NotConvertible:
                left_out += 1
        elif isinstance(statement, ast.For | ast.While):
            left_out += 1
    return tests, left_out


def _convert_test(test: ast.expr, names: set[str]) -> dict:
    """Turn `f(x) == value`, `f(x) is True`, `f(x)` or `not f(x)` into {"input", "output"}."""
    expected: object = True
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, expected = test.operand, False
    elif isinstance(test, ast.Compare):
        if len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq | ast.Is):
            raise NotConvertible(ast.unparse(test))
        test, expected = test.left, to_json_value(evaluate_constant(test.comparators[0]))
    is_call = isinstance(test, ast.Call) and isinstance(test.func, ast.Name)
    if not is_call or test.func.id not in names or test.keywords:
        raise NotConvertible(ast.unparse(test))
    arguments = [evaluate_constant(argument) for argument in test.args]
    if to_json_value(arguments) != arguments:
        raise NotConvertible("a tuple argument would arrive as a list")
    return {"input": arguments, "output": expected}


def evaluate_constant(node: ast.expr) -> object:
    """Evaluate literals and bounded + - * / of literals, such as 3 * 19, without running code."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        pass
    if not isinstance(node, ast.BinOp) or type(node.op) not in OPERATORS:
        raise NotConvertible(ast.unparse(node))
    left, right = evaluate_constant(node.left), evaluate_constant(node.right)
    for value in (left, right):
        if isinstance(value, int | float) and abs(value) > LARGEST_CONSTANT:
            raise NotConvertible(ast.unparse(node))
    try:
        return OPERATORS[type(node.op)](left, right)
    except (TypeError, ArithmeticError) as error:
        raise NotConvertible(ast.unparse(node)) from error


def to_json_value(value: object) -> object:
    """Return `value` as JSON data (tuples as lists); raises NotConvertible for sets and the like.

    A tuple and a list are equal as returned values (verifier policy), so outputs may change shape.
    """
    if isinstance(value, list | tuple):
        return [to_json_value(part) for part in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        return {key: to_json_value(part) for key, part in value.items()}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise NotConvertible(f"{type(value).__name__} has no JSON form")
