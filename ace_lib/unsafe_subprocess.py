"""Programs without isolation, for platforms that have none: chosen only by name (`unsafe`).

A fresh process per test, with the kernel's limits and nothing else: the program can read and write
whatever the user can. Verdicts are stamped isolation "none", and RL refuses them.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from ace_lib import sandbox_child
from ace_lib.sandbox import STARVED_FACTOR, Limits, Outcome, Usage, judge_exit_code, judge_mark

ISOLATION = "none"
WARNING = (
    "warning: isolation 'unsafe': programs written by a model run as you, with your files and "
    "your network; use it only for programs that you have read"
)
_PACKAGE_ROOT = str(Path(__file__).parent.parent)
_START = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from ace_lib.unsafe_subprocess import main; sys.path.pop(0); main()"
)


class UnsafeSandbox:
    """Has the methods of `ace_lib.sandbox.Sandbox`, and none of its walls."""

    isolation = ISOLATION

    def __init__(self) -> None:
        print(WARNING, file=sys.stderr)

    @property
    def checkers(self) -> "UnsafeSandbox":
        """Where checkers run: nothing is kept apart here."""
        return self

    def open(
        self, program: str, entry_point: str, num_tests: int, limits: Limits | None = None
    ) -> "UnsafeSession":
        """A program, to be started anew for each test."""
        return UnsafeSession(program, entry_point, limits or Limits())

    def close(self) -> None:
        """Nothing runs between tests."""


class UnsafeSession:
    """One program; every test is a process of its own."""

    alive = False

    def __init__(self, program: str, entry_point: str, limits: Limits) -> None:
        self.usage = Usage()
        self._job = f"{entry_point}\0{program}".encode(errors="surrogatepass")
        self._call_mode, self._limits = bool(entry_point), limits

    def run(self, test_input: bytes) -> Outcome:
        """Run the program on one test, in a fresh process.

        Args:
            test_input: the bytes on standard input, or the JSON list of arguments.
        """
        with tempfile.TemporaryFile() as job, tempfile.TemporaryFile() as given, \
                tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as marks:  # fmt: skip
            for file, data in ((job, self._job), (given, test_input)):
                file.write(data)
                file.seek(0)
            code = self._run_process([file.fileno() for file in (job, given, output, marks)])
            if code is None:
                return Outcome("timeout", detail="more wall time than the limit allows")
            marks.seek(0)
            output.seek(0)
            mark = marks.read()[sandbox_child.MARK.size :]  # without the one for loading
            text = output.read(self._limits.output_bytes)
        if len(text) >= self._limits.output_bytes:
            return Outcome("output_limit", detail=f"more than {self._limits.output_bytes} bytes")
        return self._judge(code, mark, text)
