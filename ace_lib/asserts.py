"""Tests written as Python asserts (HumanEval, MBPP, EvalPlus), read without running them.

They are parsed with `ast`. What has no exact JSON form (tuples as arguments, sets, loops, calls to
helpers) is left out and counted.
"""

import ast
import operator
import warnings
from collections.abc import Callable
from itertools import chain

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LARGEST_CONSTANT = 100_000
LARGEST_TOLERANCE = 1e-6  # of `ace_lib.code_compare`; EvalPlus asks a few outputs for less


class NotConvertible(ValueError):
    """A test has no exact form as JSON arguments and an expected value."""


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


def called_name(source: str, code: str) -> str:
    """Name the function that an assert calls: one of `code`, else the first; "" for none."""
    nodes = [node for statement in parse_statements(source) for node in ast.walk(statement)]
    calls = [node.func for node in nodes if isinstance(node, ast.Call)]
    names = [call.id for call in calls if isinstance(call, ast.Name)]
    defined = {node.name for node in parse_statements(code) if isinstance(node, ast.FunctionDef)}
    return next(chain((name for name in names if name in defined), names), "")


def convert_asserts(source: str, names: set[str]) -> tuple[list[dict], int]:
    """Convert `assert name(arguments) == value` statements in `source` to call tests.

    EvalPlus lists `inputs` and `results` and compares them in a loop: one test for each pair.
    Returns the tests and the number of asserts (or loops of asserts) that have no exact JSON form.
    Asserts of a bare constant test nothing and are not counted.
    """
    tests, left_out, lists = [], 0, {}
    bodies = [  # HumanEval keeps its asserts in `def check(candidate):`
        node.body if isinstance(node, ast.FunctionDef) and node.name == "check" else [node]
        for node in parse_statements(source)
    ]
    for statement in chain.from_iterable(bodies):
        match statement:
            case ast.Assign([ast.Name("inputs" | "results" as name)], ast.List(elements)):
                lists[name] = elements
            case ast.Assert(test) if not isinstance(test, ast.Constant):
                found = _convert_all([lambda test=test: _convert_test(test, names)])
                tests, left_out = tests + found, left_out + 1 - len(found)
            case ast.For(_, _, body) if set(lists) == {"inputs", "results"}:
                pairs = list(zip(lists["inputs"], lists["results"], strict=True))
                found = _convert_all([lambda pair=pair: _convert_pair(*pair) for pair in pairs])
                found = found if _compares_pairs(body, names) else []
                tests, left_out = tests + found, left_out + len(pairs) - len(found)
            case ast.For() | ast.While():
                left_out += 1
    return tests, left_out


def _convert_all(conversions: list[Callable[[], dict]]) -> list[dict]:
    """Return what those conversions give that are possible."""
    tests = []
    for convert in conversions:
        try:
            tests.append(convert())
        except NotConvertible:
            continue
    return tests


def _compares_pairs(body: list[ast.stmt], names: set[str]) -> bool:
    """Say whether a loop only does `assertion(name(*inp), exp, tolerance)`, as EvalPlus does."""
    match body:
        case [ast.Expr(ast.Call(ast.Name("assertion"), [call, ast.Name(), ast.Constant(atol)]))]:
            match call:
                case ast.Call(ast.Name(name), [ast.Starred(ast.Name())]):
                    return name in names and atol <= LARGEST_TOLERANCE
    return False


def _convert_pair(inputs: ast.expr, result: ast.expr) -> dict:
    """Turn one of EvalPlus's inputs, a list of arguments, and its result into a test."""
    return _make_test(list(evaluate_constant(inputs)), evaluate_constant(result))


def _convert_test(test: ast.expr, names: set[str]) -> dict:
    """Turn `f(x) == value`, `f(x) is True`, `f(x)` or `not f(x)` into {"input", "output"}."""
    expected: object = True
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, expected = test.operand, False
    elif isinstance(test, ast.Compare):
        if len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq | ast.Is):
            raise NotConvertible(ast.unparse(test))
        test, expected = test.left, evaluate_constant(test.comparators[0])
    is_call = isinstance(test, ast.Call) and isinstance(test.func, ast.Name)
    if not is_call or test.func.id not in names or test.keywords:
        raise NotConvertible(ast.unparse(test))
    return _make_test([evaluate_constant(argument) for argument in test.args], expected)


def _make_test(arguments: list, expected: object) -> dict:
    if to_json_value(arguments) != arguments:
        raise NotConvertible("a tuple argument would arrive as a list")
    return {"input": arguments, "output": to_json_value(expected)}


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
