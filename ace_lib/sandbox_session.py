"""One untrusted program in a child of the zygote, seen from outside.

A `Session` takes an input and gives back bytes: what the program printed or returned, never a
verdict. Limits are on the CPU clock, so a loaded machine does not fail a right program; a wall
clock many times longer catches the idle ones.
"""

import json
import os
import select
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from ace_lib import AceError
from ace_lib.sandbox_child import GO_BYTES, LIMITS, MARK, PIPE_BYTES

if TYPE_CHECKING:
    from ace_lib.sandbox import Sandbox

OUTPUT_BYTES = 16 * 2**20
IDLE_FACTOR, STARVED_FACTOR = 3, 20  # wall-clock limits, as multiples of the CPU limit
_IDLE_SHARE = (
    0.01  # of a core: a program that gets no more may be starved, one that uses less idles
)
_POLL_MS = 25
_SILENT_SECONDS = 0.002  # between questions after a child that only seems to end


class SandboxError(AceError):
    """The sandbox itself failed; says nothing about the program."""


@dataclass
class Limits:
    """Limits of one program."""

    cpu_seconds: float = 6.0  # per test, and for loading
    memory_bytes: int = 2 * 2**30
    output_bytes: int = OUTPUT_BYTES


@dataclass
class Outcome:
    """What came back from one test: untrusted, to be compared by the caller."""

    status: str  # done | runtime_error | timeout | memory | output_limit
    output: bytes = b""
    detail: str = ""


@dataclass
class Usage:
    """What the processes of a program used, as the kernel counted it at their end."""

    cpu_seconds: float = 0.0
    max_rss_mb: float = 0.0

    def add(self, cpu_seconds: float, max_rss_mb: float) -> None:
        """Count one more process."""
        self.cpu_seconds += cpu_seconds
        self.max_rss_mb = max(self.max_rss_mb, max_rss_mb)


class Report(NamedTuple):
    """What the zygote says of a child: `sandbox_child.REPORT`; `cpu` is -1 if it is just gone."""

    ended: bool
    code: int
    cpu: float
    rss_kb: int


class Session:
    """One program in its own child process; made by `Sandbox.open`.

    Attributes:
        usage: what the child used; complete after `close`.
    """

    def __init__(
        self, sandbox: "Sandbox", program: str, entry_point: str, num_tests: int, limits: Limits
    ) -> None:
        self.usage = Usage()
        self._sandbox, self._limits = sandbox, limits
        self._call_mode = bool(entry_point)
        self._report: Report | None = None  # of the child's end
        self._silent = False  # the child has closed its end of the marks pipe
        self._known_cpu = 0.0
        self._input, self._output = os.memfd_create("input"), os.memfd_create("output")
        self._write_input(f"{entry_point}\0{program}".encode(errors="surrogatepass"))
        go, self._go = os.pipe()
        self._marks, marks = os.pipe()
        os.set_blocking(self._go, False)  # the program may have filled it
        cpu_seconds = int(limits.cpu_seconds * (num_tests + 1)) + 2  # the kernel's, a last resort
        request = LIMITS.pack(limits.memory_bytes, limits.output_bytes, cpu_seconds)
        try:
            sandbox.send(request, [self._input, self._output, go, marks])
        except SandboxError:
            self._free()
            raise
        finally:
            os.close(go)
            os.close(marks)
        self._poll = select.poll()
        self._poll.register(self._marks, select.POLLIN)
        self.load_outcome = self._wait()

    @property
    def alive(self) -> bool:
        """Whether the child can take another test."""
        return self._report is None

    def run(self, test_input: bytes) -> Outcome:
        """Release one test and wait for its outcome; after anything but `done` the child is gone.

        Args:
            test_input: the bytes on standard input, or the JSON list of arguments.

        Raises:
            SandboxError: the zygote failed.
        """
        if self.load_outcome.status != "done" or not self.alive:
            return self.load_outcome
        small = self._call_mode and len(test_input) < GO_BYTES
        if not small:
            self._write_input(test_input)
        try:
            os.write(self._go, b"g" + test_input * small)
        except (BrokenPipeError, BlockingIOError):  # it ended or meddled: the wait finds out
            pass
        return self._wait()

    def close(self) -> None:
        """Kill the child if it still runs and free the descriptors."""
        try:
            self._end()
            self.usage.add(self._report.cpu, self._report.rss_kb / 1024)
        finally:
            self._free()

    def _free(self) -> None:
        for fd in (self._input, self._output, self._go, self._marks):
            os.close(fd)

    def _write_input(self, data: bytes) -> None:
        written = 0
        while written < len(data):
            written += os.pwrite(self._input, data[written:], written)
        os.ftruncate(self._input, written)

    def _wait(self) -> Outcome:
        """Wait for the child's next mark, its end, or a limit."""
        started = time.monotonic()
        self._cpu_before = self._known_cpu
        while True:
            if self._silent:
                time.sleep(_SILENT_SECONDS)
            elif self._poll.poll(_POLL_MS):
                mark = os.read(self._marks, PIPE_BYTES)
                if mark:
                    return self._read_mark(mark)
                self._silent = True
            exceeded = self._check_clocks(time.monotonic() - started)
            if self._silent and not self.alive:
                return self._judge_end()
            if exceeded:
                return self._stop("timeout", exceeded)

    def _check_clocks(self, elapsed: float) -> str:
        """Which limit was exceeded `elapsed` wall seconds after the test began, or ""."""
        cpu = self._ask(b"q").cpu if self.alive else -1.0
        if cpu < 0 or not self.alive:
            return ""  # it has just ended: the pipe is about to say so
        limit = self._limits.cpu_seconds
        self._cpu_before = max(self._cpu_before, cpu - elapsed)
        self._known_cpu = cpu
        used = cpu - self._cpu_before
        if used > limit:
            return f"more than {limit:g} s of CPU time"
        idle = elapsed > IDLE_FACTOR * limit and used < _IDLE_SHARE * elapsed
        if idle or elapsed > STARVED_FACTOR * limit:
            return f"more than {elapsed:.1f} s of wall time"
        return ""

    def _read_mark(self, mark: bytes) -> Outcome:
        """What a mark says; all that the pipe held comes at once, so nothing waits for the rest."""
        kind, size = MARK.unpack_from(mark) if len(mark) >= MARK.size else (b"?", 0)
        if kind == b"E":
            return self._failed(mark[MARK.size : MARK.size + size])
        if kind == b"D" and size:
            return Outcome("done", mark[MARK.size : MARK.size + size])
        if kind in (b"D", b"R"):
            return self._finished()
        return self._stop("runtime_error", "the program wrote into the harness's pipe")

    def _finished(self) -> Outcome:
        size = os.fstat(self._output).st_size
        if size >= self._limits.output_bytes:
            return self._stop("output_limit", f"more than {self._limits.output_bytes} bytes")
        return Outcome("done", os.pread(self._output, size, 0))

    def _failed(self, text: bytes) -> Outcome:
        try:
            name, message = map(str, json.loads(text))
        except (ValueError, TypeError, RecursionError):  # the program may have patched json
            name, message = "Error", ""
        if os.fstat(self._output).st_size >= self._limits.output_bytes:
            return self._stop("output_limit", f"more than {self._limits.output_bytes} bytes")
        status = "memory" if name == "MemoryError" else "runtime_error"
        detail = f"{name}: {message}" if message else name
        return self._stop(status, detail.encode(errors="replace").decode())  # may hold surrogates

    def _stop(self, status: str, detail: str) -> Outcome:
        self._end()
        return Outcome(status, detail=detail)

    def _end(self) -> None:
        while self.alive:
            self._ask(b"k")

    def _ask(self, request: bytes) -> Report:
        answer = self._sandbox.ask(request)
        if answer.ended:  # of its own accord, just before it could be asked
            self._report = answer
        return answer

    def _judge_end(self) -> Outcome:
        """The outcome of a child that ended by itself (`os._exit(0)` may be right)."""
        code = self._report.code
        if code == 0 and not self._call_mode:
            return self._finished()
        if code == -signal.SIGKILL:  # by the kernel, for one of two reasons
            late = self._report.cpu > self._limits.cpu_seconds
            return Outcome("timeout" if late else "memory", detail="killed by the kernel")
        how = "signal" if code < 0 else "exit code"
        return Outcome("runtime_error", detail=f"ended with {how} {abs(code)}")
