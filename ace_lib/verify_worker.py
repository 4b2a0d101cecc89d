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
from collections.abc import Callable

from ace_lib import AceError
from ace_lib.math_judge import MathJudge, MathJudgeError
from ace_lib.sandbox import Sandbox, SandboxUnavailable
from ace_lib.sandbox_session import SandboxError
from ace_lib.verify_code import verify_code
from ace_lib.verify_math import verify_math

LENGTH = struct.Struct("<I")
ATTEMPTS = 3  # for a row whose sandbox or math judge was killed or failed


class Worker:
    """Judges rows one at a time; starts the sandbox and math-verify when first needed."""

    def __init__(self, isolated: bool, unsafe: bool) -> None:
        self._isolated, self._unsafe = isolated, unsafe
        self._sandbox: Sandbox | None = None  # or what stands in its place
        self._math_judge = MathJudge()

    def judge(self, row: dict) -> dict:
        """The verdict of a row, as a dict of `ace_lib.verify.Verdict`'s fields but the id."""
        loading = self._math_judge.loading_seconds
        judge = self._judge_math if row["domain"] == "math" else self._judge_code
        try:
            verdict = guarded(row, judge)
        except SandboxUnavailable as error:
            return {"refused": str(error)}
        # Waits for math-verify to load are no answer's fault.
        verdict["seconds"] -= self._math_judge.loading_seconds - loading
        return verdict

    def _judge_math(self, row: dict) -> tuple[str, dict]:
        self._math_judge.start()  # loads while the first tiers judge
        return _persistent(lambda: verify_math(row, self._math_judge), MathJudgeError)

    def _judge_code(self, row: dict) -> tuple[str, dict]:
        return _persistent(lambda: self._run_program(row), SandboxError)

    def _run_program(self, row: dict) -> tuple[str, dict]:
        if self._sandbox is None:
            self._sandbox = self._start_sandbox()
        try:
            return verify_code(row, self._sandbox, self._isolated)
        except SandboxError:
            self._sandbox.close()
            self._sandbox = None
            raise

    def _start_sandbox(self) -> Sandbox:
        if not self._unsafe:
            return Sandbox()
        from ace_lib.unsafe_subprocess import UnsafeSandbox

        return UnsafeSandbox()


def _persistent(judge: Callable[[], tuple[str, dict]], failure: type[AceError]) -> tuple[str, dict]:
    """Call again after a failure of a helper process: it may have been killed, and starts anew."""
    for _ in range(ATTEMPTS - 1):
        try:
            return judge()
        except failure:
            continue
    return judge()


def guarded(row: dict, judge: Callable[[dict], tuple[str, dict]]) -> dict:
    """The verdict that `judge` gives; whatever fails in it is ours and must not become a reward.

    Raises SandboxUnavailable: programs cannot be judged at all.
    """
    started = time.monotonic()
    try:
        status, detail = judge(row)
    except SandboxUnavailable:
        raise
    except AceError as error:
        status, detail = "verifier_error", {"reason": str(error)}
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"[:300]
        status, detail = "verifier_error", {"reason": reason}
    return {"status": status, "seconds": time.monotonic() - started, "detail": detail}


def main() -> None:
    """Serve frames (length + JSON) from standard input until it closes."""
    requests, replies = sys.stdin.buffer, os.dup(1)
    os.dup2(2, 1)  # a stray print must not become a frame
    worker = Worker("isolated" in sys.argv, "unsafe" in sys.argv)
    while header := requests.read(LENGTH.size):
        for row in json.loads(requests.read(*LENGTH.unpack(header))):
            data = json.dumps(worker.judge(row)).encode()
            frame = LENGTH.pack(len(data)) + data
            while frame:
                frame = frame[os.write(replies, frame) :]
