"""A problem's own judge: Python source that defines `check(input, output, expected) -> bool`.

For problems with many right answers. It is data, so it runs in a sandbox; it reads expected
outputs, so it runs in a process and under a zygote of its own. It must return a bool for any
output: one that fails says nothing about the program, and makes the problem invalid.
"""

import json

from ace_lib.sandbox import Sandbox
from ace_lib.sandbox_session import Limits, Session

LIMITS = Limits(cpu_seconds=10.0, memory_bytes=2**30)


class InvalidProblem(Exception):
    """The problem, not the program, is at fault: no reward can be given."""


class Checker:
    """The checker of one problem, started when first asked.

    Args:
        source: what defines `check`.
        sandbox: that of the programs; the checker runs in its `checkers`.
        num_tests: how often it will be asked at most.
    """

    def __init__(self, source: str, sandbox: Sandbox, num_tests: int) -> None:
        self._source, self._sandbox, self._num_tests = source, sandbox, num_tests
        self._session: Session | None = None

    def accepts(self, given: str, output: str, expected: str) -> bool:
        """What `check` returns.

        Raises:
            InvalidProblem: the checker did not return a bool.
            SandboxError: the sandbox failed.
        """
        if self._session is None:
            self._session = self._sandbox.checkers.open(
                self._source, "check", self._num_tests, LIMITS
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
