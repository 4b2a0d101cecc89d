"""Judge a program by its tests, outside the process that runs it.

A program passes only when every test passes. Expected outputs stay in this process; the sandbox
returns bytes, and a comparer here decides (P1 section 3.3: reward 1 iff all tests pass in time).

A problem with many right answers has its own judge: source that defines `check(input, output,
expected) -> bool`. It is data, so it runs in a sandbox; it reads expected outputs, so it runs in a
process and under a zygote of its own. One that fails says nothing about the program, and makes the
problem invalid.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from ace_lib import prompts
from ace_lib.code_compare import COMPARERS, decoded, text_equal, value_matches
from ace_lib.sandbox import Sandbox
from ace_lib.sandbox_session import Limits, Outcome, Session, Usage

TIME_LIMIT = 6.0  # seconds of CPU per test, as LiveCodeBench
SHOWN_CHARS = 200
CHECKER_LIMITS = Limits(cpu_seconds=10.0, memory_bytes=2**30)
_Judge = Callable[[bytes], bool]


class InvalidProblem(Exception):
    """The problem, not the program, is at fault: no reward can be given."""


class Checker:
    """The checker of one problem, started in the sandbox's `checkers` when first asked."""

    def __init__(self, source: str, sandbox: Sandbox, num_tests: int) -> None:
        self._source, self._sandbox, self._num_tests = source, sandbox, num_tests
        self._session: Session | None = None

    def accepts(self, given: str, output: str, expected: str) -> bool:
        """What `check` returns.

        Raises InvalidProblem: the checker did not return a bool; SandboxError: the sandbox failed.
        """
        if self._session is None:
            self._session = self._sandbox.checkers.open(
                self._source, "check", self._num_tests, CHECKER_LIMITS
            )
        outcome = self._session.run(json.dumps([given, output, expected]).encode())
        if outcome.status != "done":
            raise InvalidProblem(f"the checker failed: {outcome.status}, {outcome.detail}"[:300])
        if outcome.output not in (b"true", b"false"):
            raise InvalidProblem("the checker returned no bool")
        return outcome.output == b"true"

    def close(self) -> None:
        """End the checker's process."""
        if self._session is not None:
            self._session.close()


@dataclass
class Test:
    """One test, ready to run: bytes that go in, and a judgement of the bytes that come out."""

    given: bytes
    judge: _Judge

    def accepts(self, output: bytes) -> bool:
        """Whether the output is right; what cannot even be compared is wrong, never our error."""
        try:
            return self.judge(output)
        except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
            return False


def verify_code(row: dict, sandbox: Sandbox, isolated: bool = False) -> tuple[str, dict]:
    """Run a row's program on its tests.

    Args:
        row: `response` or `program`, `mode`, `entry_point`, `tests`, and optionally `time_limit`
            (CPU seconds per test), `memory_mb`, `comparer` (`livecodebench`, `exact`, `float`,
            `checker` with the source in `checker`, or `record`, which judges nothing: a program
            that ends well on every input is `recorded`, with its `outputs` in the detail).
        sandbox: where the program runs.
        isolated: a fresh process per test instead of one per program.

    Returns:
        Status and detail: `isolation`, `comparer`, `reason`, index of the failing `test`, and in
        `usage` CPU and wall seconds and memory of the program's processes, as far as known.

    Raises:
        SandboxError: the sandbox failed; nothing is known about the program.
    """
    comparer = row.get("comparer") or "livecodebench"
    detail = {"isolation": sandbox.isolation, "comparer": comparer}
    checker = None
    try:
        if comparer == "checker":
            if not isinstance(row.get("checker"), str):
                raise InvalidProblem("comparer 'checker' needs the checker's source in `checker`")
            checker = Checker(row["checker"], sandbox, len(row.get("tests") or []))
        tests = _prepare(row, comparer, checker)
        program = row.get("program")
        if program is None:
            program = prompts.program(row.get("response") or "")
        if program is None:
            return "no_answer", {**detail, "reason": "no ```python block after </think>"}
        program = program.removeprefix("\ufeff")  # a byte order mark, as Python allows in a file
        limits = Limits(
            cpu_seconds=float(row.get("time_limit") or TIME_LIMIT),
            memory_bytes=int(row.get("memory_mb") or Limits.memory_bytes >> 20) << 20,
        )
        outputs = _record(tests, row["mode"]) if comparer == "record" else None
        entry_point = row["entry_point"] if row["mode"] == "call" else ""
        status, more = _run_tests(
            lambda: sandbox.open(program, entry_point, len(tests), limits), tests, isolated
        )
        if outputs is not None and status == "passed":
            return "recorded", {**detail, **more, "outputs": outputs}
        return status, {**detail, **more}
    except InvalidProblem as error:
        return "invalid_problem", {**detail, "reason": str(error)}
    finally:
        if checker is not None:
            checker.close()


def _record(tests: list[Test], mode: str) -> list:
    """Let every test accept what can be an expected output, and collect it."""
    outputs: list = []

    def record(output: bytes) -> bool:
        outputs.append(output.decode() if mode == "stdin" else decoded(json.loads(output)))
        return True

    for test in tests:
        test.judge = record
    return outputs


def _run_tests(
    open_session: Callable[[], Session], tests: list[Test], isolated: bool
) -> tuple[str, dict]:
    """All tests in as few processes as possible; stops at the first that fails for good."""
    session, usage, started = None, Usage(), time.monotonic()
    verdict = None
    try:
        for index, test in enumerate(tests):
            while True:
                fresh = session is None
                session = session or open_session()
                outcome = session.run(test.given)
                right = outcome.status == "done" and test.accepts(outcome.output)
                if isolated or not right or not session.alive:
                    session = _close(session, usage)
                if right or fresh or outcome.status == "timeout":
                    break
                # State left by earlier tests must not fail a right program: once more, fresh. From
                # here on every test is, or one that guesses would have two guesses at each.
                isolated = True
            if not right:
                verdict = _failure(outcome, index)
                break
    finally:
        if session is not None:
            _close(session, usage)
    status, detail = verdict or ("passed", {"num_tests": len(tests)})
    used = {**vars(usage), "wall_seconds": time.monotonic() - started}
    return status, {**detail, "usage": {name: round(used[name], 4) for name in used if used[name]}}


def _close(session: Session, usage: Usage) -> None:
    session.close()
    usage.add(session.usage.cpu_seconds, session.usage.max_rss_mb)


def _failure(outcome: Outcome, index: int) -> tuple[str, dict]:
    if outcome.status != "done":
        return outcome.status, {"test": index, "reason": outcome.detail[:SHOWN_CHARS]}
    shown = outcome.output[:SHOWN_CHARS].decode(errors="replace")
    return "wrong_answer", {"test": index, "output": shown}


def _prepare(row: dict, comparer: str, checker: Checker | None) -> list[Test]:
    """Check the tests and build the judges, or raise InvalidProblem."""
    tests, mode = row.get("tests"), row.get("mode")
    if mode not in ("stdin", "call"):
        raise InvalidProblem(f"mode is {mode!r}: must be 'stdin' or 'call'")
    if checker is None and comparer not in (*COMPARERS, "record"):
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
            prepared.append(prepare(test["input"], test["output"], comparer, checker))
        except (ValueError, RecursionError) as error:
            raise InvalidProblem(f"test {index}: {error}") from error
    return prepared


def _prepare_stdin(given: object, expected: object, comparer: str, checker: Checker | None) -> Test:
    if not isinstance(given, str) or not isinstance(expected, str):
        raise ValueError("input and output must be text")

    def judge(output: bytes) -> bool:
        text = output.decode(errors="replace")
        if checker is not None:
            return checker.accepts(given, text, expected)
        return text_equal(text, expected, comparer)

    return Test(given.encode(), judge)


def _prepare_call(given: object, expected: object, comparer: str, checker: Checker | None) -> Test:
    """A test of a function; its checker sees arguments, value and expected value as JSON."""
    if isinstance(given, str):  # LiveCodeBench: one JSON value a line, and a JSON output
        given = [json.loads(line) for line in given.splitlines() if line.strip()]
        expected = json.loads(expected) if isinstance(expected, str) else expected
    if not isinstance(given, list):
        raise ValueError("input must be the list of arguments")
    arguments = json.dumps(given)

    def judge(output: bytes) -> bool:
        if checker is not None:
            value = json.dumps(decoded(json.loads(output)))
            return checker.accepts(arguments, value, json.dumps(expected))
        return value_matches(output, expected, comparer)

    return Test(arguments.encode(), judge)
