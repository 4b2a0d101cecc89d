"""Programs without isolation, for platforms that have none: the backend `unsafe`, only by name.

A fresh process per test, with the kernel's limits and nothing else: a program can read and write
whatever the user can. It is run as a remote server would run it (`ace_lib.verify_http`), so
expected outputs stay out of it. Verdicts are stamped isolation "none", and RL refuses this backend.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from ace_lib.sandbox_session import OUTPUT_BYTES, Limits
from ace_lib.verify_http import RemoteSession

_LIMIT_FILES = (
    f"import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, ({OUTPUT_BYTES},) * 2)\n"
)
_LIMIT_MEMORY = "resource.setrlimit(resource.RLIMIT_AS, ({size} << 20,) * 2)\n"


class UnsafeSandbox:
    """Has the methods of `ace_lib.sandbox.Sandbox`, and none of its walls."""

    isolation = "none"

    @property
    def checkers(self) -> "UnsafeSandbox":
        """Where checkers run: nothing is kept apart here."""
        return self

    def open(self, program: str, entry_point: str, num_tests: int, limits: Limits) -> RemoteSession:
        """A program, to be started anew for each test."""
        return RemoteSession(self, program, entry_point, limits)

    def close(self) -> None:
        """Nothing runs between tests."""

    def run(self, request: dict) -> dict:
        """What a server would answer to a request: how its code ended and what it printed."""
        with (
            tempfile.TemporaryDirectory() as folder,
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
        ):
            script = Path(folder, "program.py")
            script.write_text(_limits(request["memory_limit_MB"]) + request["code"], "utf-8")
            given.write(request["stdin"].encode())
            given.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-B", "-X", "utf8", script],
                env={"PYTHONHASHSEED": "0"}, cwd=folder, start_new_session=True,
                stdin=given, stdout=output, stderr=errors)  # fmt: skip
            late, cpu_seconds = _wait(process, request["run_timeout"])
            output.seek(0)
            errors.seek(0)
            return {
                "status": "TimeLimitExceeded" if late else "Finished",
                "return_code": process.returncode,
                "stdout": output.read().decode(errors="replace"),
                "stderr": errors.read(OUTPUT_BYTES).decode(errors="replace"),
                "cpu_seconds": cpu_seconds,
            }


def _limits(memory_mb: int) -> str:
    """Lines in front of a script; macOS knows no limit on memory that it would keep."""
    memory = _LIMIT_MEMORY.format(size=memory_mb) if sys.platform == "linux" else ""
    return _LIMIT_FILES + memory


def _wait(process: subprocess.Popen, seconds: float) -> tuple[bool, float]:
    """Whether the process had to be killed after so many seconds, and the CPU seconds it used."""
    killer = threading.Timer(seconds, os.killpg, (process.pid, signal.SIGKILL))
    killer.start()
    _, status, usage = os.wait4(process.pid, 0)
    late = killer.finished.is_set()
    killer.cancel()
    process.returncode = os.waitstatus_to_exitcode(status)
    return late, usage.ru_utime + usage.ru_stime
