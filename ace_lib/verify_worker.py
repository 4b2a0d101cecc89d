"""The verifier's worker process: reads chunks of rows, writes one verdict after another.

Exec'ed (never forked) by `ace_lib.verify`, so that a trainer's or a notebook's memory, threads and
accelerator are not in it. It holds gold answers and expected outputs; untrusted text is only parsed
here by bounded code, and programs run one process further (`ace_lib.sandbox`).
"""

import json
import os
import struct
import sys
import time

from ace_lib import AceError
from ace_lib.math_judge import MathJudge
from ace_lib.sandbox import Sandbox, SandboxError, SandboxUnavailable
from ace_lib.verify_code import verify_code
from ace_lib.verify_math import verify_math

LENGTH = struct.Struct("<I")


class Worker:
    """Judges rows one at a time; starts the sandbox and math-verify when first needed."""

    def __init__(self, isolated: bool) -> None:
        self._isolated = isolated
        self._sandbox: Sandbox | None = None
        self._math_judge = MathJudge()

    def judge(self, row: dict) -> dict:
        """The verdict of a row, as a dict of `ace_lib.verify.Verdict`'s fields but the id."""
        started = self._clock()
        try:
            if row["domain"] == "math":
                self._math_judge.start()  # loads while the first tiers judge
                status, detail = verify_math(row, self._math_judge)
            else:
                status, detail = self._judge_code(row)
        except SandboxUnavailable as error:
            return {"refused": str(error)}
        except Exception as error:  # whatever fails here is ours, and must never become a reward
            if not isinstance(error, AceError):
                detail = {"reason": f"{type(error).__name__}: {error}"[:300]}
            else:
                detail = {"reason": str(error)}
            status = "verifier_error"
        return {"status": status, "seconds": self._clock() - started, "detail": detail}

    def _clock(self) -> float:
        """Seconds, without the waits for math-verify to load: no answer is to blame for them."""
        return time.monotonic() - self._math_judge.loading_seconds

    def _judge_code(self, row: dict) -> tuple[str, dict]:
        for attempt in (1, 2):
            self._sandbox = self._sandbox or Sandbox()
            try:
                return verify_code(row, self._sandbox, self._isolated)
            except SandboxError:
                self._sandbox.close()
                self._sandbox = None
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")


def main() -> None:
    """Serve frames (length + JSON) from standard input until it closes."""
    requests, replies = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)  # a stray print must not become a frame
    sys.set_int_max_str_digits(50_000)
    worker = Worker(isolated=sys.argv[1:] == ["isolated"])
    while header := requests.read(LENGTH.size):
        for row in json.loads(requests.read(*LENGTH.unpack(header))):
            data = json.dumps(worker.judge(row)).encode()
            frame = LENGTH.pack(len(data)) + data
            while frame:
                frame = frame[os.write(replies, frame) :]
