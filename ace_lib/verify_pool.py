"""A verifier worker seen from outside: exec'ed, fed over pipes, replaced when it dies or hangs."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ace_lib.sandbox import SandboxUnavailable
from ace_lib.verify_worker import LENGTH

_MATH_SECONDS = 120.0  # a worker silent for longer is broken; the worker's own limits are tight
_PACKAGE_ROOT = str(Path(__file__).parent.parent)
_START = "import sys; sys.path.insert(0, {root!r}); from ace_lib.verify_worker import main; main()"


class WorkerProcess:
    """One worker and the rows it has not answered yet."""

    def __init__(self, isolated: bool) -> None:
        self._isolated = isolated
        self._start()

    def _start(self) -> None:
        # Only what a dynamically linked interpreter may need passes from our environment.
        environment = {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}
        command = [sys.executable, "-I", "-c", _START.format(root=_PACKAGE_ROOT)]
        command += ["isolated"] if self._isolated else []
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        self.replies = self._process.stdout.fileno()
        self.pending: list[int] = []
        self._buffer = bytearray()

    def send(self, chunk: list[int], rows: Sequence[dict]) -> None:
        """Hand over rows; the worker must answer each in the time its limits allow."""
        self.pending, self._seconds = list(chunk), [_longest(rows[i]) for i in chunk]
        data = json.dumps([rows[i] for i in chunk]).encode()
        try:
            self._process.stdin.write(LENGTH.pack(len(data)) + data)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died: `receive` finds out
        self.deadline = time.monotonic() + self._seconds[0]

    def receive(self, results: list) -> bool:
        """Store the replies that have come; False when the worker is gone.

        Raises:
            SandboxUnavailable: the worker refuses to run programs on this machine.
        """
        data = os.read(self.replies, 1 << 20)
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                break
            reply = json.loads(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            if "refused" in reply:
                raise SandboxUnavailable(reply["refused"])
            results[self.pending.pop(0)] = reply
            self._seconds.pop(0)
            self.deadline = time.monotonic() + (self._seconds[0] if self._seconds else 0.0)
        return bool(data)

    def restart(self) -> None:
        """Replace the process by a new one."""
        self.close()
        self._start()

    def close(self) -> None:
        """Kill the process; its sandbox dies with it."""
        self._process.kill()
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


def _longest(row: dict) -> float:
    """Wall seconds after which a worker that has not answered this row must be broken."""
    if row["domain"] == "math":
        return _MATH_SECONDS
    tests = row.get("tests")
    return 60.0 + 25.0 * float(row.get("time_limit") or 6.0) * (len(tests or []) + 1)
