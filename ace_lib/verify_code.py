"""Judge a program by its tests, outside the process that runs it.

A program passes only when every test passes. Expected outputs stay in this process; the sandbox
returns bytes, and a comparer here decides (P1 section 3.3: reward 1 iff all tests pass in time).
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from math import isclose

from ace_lib import prompts
from ace_lib.sandbox import Limits, Outcome, Sandbox, Session

TIME_LIMIT = 6.0  # seconds of CPU per test, as LiveCodeBench
MAX_NUMBER_CHARS = 2_000
SHOWN_CHARS = 200


class InvalidProblem(ValueError):
    """The tests, not the program, are at fault: no reward can be given."""


@dataclass
class Test:
    """One test, ready to run: bytes that go in, and a judgement of the bytes that come out."""

    given: bytes
    equals: Callable[[bytes], bool]

    def accepts(self, output: bytes) -> bool:
        """Whether the output is right; what cannot even be compared is wrong, never our error."""
        try:
            return self.equals(output)
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
            return False


def verify_code(row: dict, sandbox: Sandbox, isolated: bool = False) -> tuple[str, dict]:
    """Run a row's program on its tests.

    Args:
        row: `response` or `program`, `mode`, `entry_point`, `tests`, and optionally `time_limit`
            (CPU seconds per test), `memory_mb`, `comparer` (`livecodebench`, `exact`, `float`).
        sandbox: where the program runs.
        isolated: a fresh process per test instead of one per program.

    Returns:
        Status and detail (`reason`, failing `test` index, `isolation`).

    Raises:
        SandboxError: the sandbox failed; nothing is known about the program.
    """
    detail = {"isolation": sandbox.isolation}
    try:
        tests = _prepare(row)
    except InvalidProblem as error:
        return "invalid_problem", {**detail, "reason": str(error)}
    program = row.get("program")
    if program is None:
        program = prompts.program(row.get("response") or "")
    if program is None:
        return "no_answer", {**detail, "reason": "no ```python block after </think>"}
    limits = Limits(
        cpu_seconds=float(row.get("time_limit") or TIME_LIMIT),
        memory_bytes=int(row.get("memory_mb") or Limits.memory_bytes >> 20) << 20,
    )
    entry_point = row["entry_point"] if row["mode"] == "call" else ""
    status, more = _run_tests(
        lambda: sandbox.open(program, entry_point, len(tests), limits), tests, isolated
    )
    return status, {**detail, **more}


def _run_tests(
    open_session: Callable[[], Session], tests: list[Test], isolated: bool
) -> tuple[str, dict]:
    """All tests in as few processes as possible; stops at the first that fails for good."""
    session = None
    try:
        for index, test in enumerate(tests):
            while True:
                fresh = session is None
                session = session or open_session()
                outcome = session.run(test.given)
                right = outcome.status == "done" and test.accepts(outcome.output)
                if isolated or not right or not session.alive:
                    session.close()
                    session = None
                if right:
                    break
                # State left by earlier tests must not fail a right program: once more, fresh.
                if fresh or outcome.status == "timeout":
                    return _failure(outcome, index)
        return "passed", {"num_tests": len(tests)}
    finally:
        if session is not None:
            session.close()


def _failure(outcome: Outcome, index: int) -> tuple[str, dict]:
    if outcome.status != "done":
        return outcome.status, {"test": index, "reason": outcome.detail[:SHOWN_CHARS]}
    shown = outcome.output[:SHOWN_CHARS].decode(errors="replace")
    return "wrong_answer", {"test": index, "output": shown}


def _prepare(row: dict) -> list[Test]:
    """Check the tests and build the comparers.

    Raises:
        InvalidProblem: no tests, or tests that cannot be run as the mode says.
    """
    tests, mode = row.get("tests"), row.get("mode")
    comparer = row.get("comparer") or "livecodebench"
    if mode not in ("stdin", "call"):
        raise InvalidProblem(f"mode is {mode!r}: must be 'stdin' or 'call'")
    if comparer not in ("livecodebench", "exact", "float"):
        raise InvalidProblem(f"unknown comparer {comparer!r}")
    if not isinstance(tests, list) or not tests:
        raise InvalidProblem("there are no tests")
    if mode == "call" and not row.get("entry_point"):
        raise InvalidProblem("call mode needs an entry_point")
    prepare = _prepare_call if mode == "call" else _prepare_stdin
    prepared = []
    for index, test in enumerate(tests):
        if not isinstance(test, dict) or not {"input", "output"} <= set(test):
            raise InvalidProblem(f"test {index} has no input and output")
        try:
            prepared.append(prepare(test["input"], test["output"], comparer))
        except (ValueError, RecursionError) as error:
            raise InvalidProblem(f"test {index}: {error}") from error
    return prepared


def _prepare_stdin(given: object, expected: object, comparer: str) -> Test:
    if not isinstance(given, str) or not isinstance(expected, str):
        raise InvalidProblem("input and output must be text")
    return Test(
        given.encode(),
        lambda output: text_equal(output.decode(errors="replace"), expected, comparer),
    )


def _prepare_call(given: object, expected: object, comparer: str) -> Test:
    if isinstance(given, str):  # LiveCodeBench: one JSON value a line, and a JSON output
        given = [json.loads(line) for line in given.splitlines() if line.strip()]
        expected = json.loads(expected) if isinstance(expected, str) else expected
    if not isinstance(given, list):
        raise InvalidProblem("input must be the list of arguments")

    return Test(
        json.dumps(given).encode(),
        lambda output: value_equal(_decoded(json.loads(output)), expected, comparer),
    )


def _decoded(value: object) -> object:
    """The plain data a program returned, from the sandbox's tagged JSON."""
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if isinstance(value, dict):
        if "d" not in value:
            raise ValueError("a set never equals JSON data")
        return {_hashable(_decoded(key)): _decoded(item) for key, item in value["d"]}
    return value


def _hashable(key: object) -> object:
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def value_equal(value: object, expected: object, comparer: str = "livecodebench") -> bool:
    """Whether two values of plain data (None, numbers, text, lists, dicts) are the same.

    `float` compares numbers with relative and absolute tolerance 1e-6; `exact` tells 1 from True
    and from 1.0; `livecodebench` is Python's equality.
    """
    if isinstance(expected, list) and isinstance(value, list):
        pairs = zip(value, expected, strict=False)
        return len(value) == len(expected) and all(value_equal(a, b, comparer) for a, b in pairs)
    if isinstance(expected, dict) and isinstance(value, dict):
        return value.keys() == expected.keys() and all(
            value_equal(value[key], expected[key], comparer) for key in expected
        )
    if comparer == "exact":
        return type(value) is type(expected) and value == expected
    numbers = isinstance(value, int | float) and isinstance(expected, int | float)
    if comparer == "float" and numbers:
        return value == expected or isclose(value, expected, rel_tol=1e-6, abs_tol=1e-6)
    return value == expected


def text_equal(output: str, expected: str, comparer: str = "livecodebench") -> bool:
    """Whether a printed output is the expected one: by lines, white space at line ends ignored.

    `livecodebench` also takes a line whose tokens are the same numbers; `float` allows 1e-6;
    `exact` wants the same characters in each line.
    """
    lines, wanted = _lines(output), _lines(expected)
    if len(lines) != len(wanted):
        return False
    return all(a == b or _same_numbers(a, b, comparer) for a, b in zip(lines, wanted, strict=True))


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.strip().split("\n")]


def _same_numbers(line: str, wanted: str, comparer: str) -> bool:
    if comparer == "exact":
        return False
    tokens, targets = line.split(), wanted.split()
    if len(tokens) != len(targets):
        return False
    return all(_same_number(a, b, comparer) for a, b in zip(tokens, targets, strict=True))


def _same_number(token: str, target: str, comparer: str) -> bool:
    if max(len(token), len(target)) > MAX_NUMBER_CHARS:
        return token == target
    try:
        a, b = Decimal(token), Decimal(target)
    except InvalidOperation:
        return comparer == "float" and token == target
    if comparer == "float" and a.is_finite() and b.is_finite():
        return abs(a - b) <= Decimal("1e-6") * max(1, abs(a), abs(b))
    return a == b
