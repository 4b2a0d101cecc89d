"""Run an untrusted Python program on inputs, outside any process that matters.

A `Sandbox` owns one zygote (`ace_lib.sandbox_zygote`), exec'ed with an empty environment, and asks
it for one child per program. The expected outputs stay with the caller: a `Session` takes an input
and gives back bytes. Nothing the program prints, returns or exits with is a verdict. Limits are on
the CPU clock, so a loaded machine does not fail a right program; a wall clock many times longer
catches the idle ones.

Residual risks: the kernel is shared (use a virtual machine against adversaries beyond RL samples),
and the memory limit is on address space.
"""

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ace_lib import AceError
from ace_lib.sandbox_zygote import MARK

OUTPUT_BYTES = 16 * 2**20
IDLE_FACTOR, STARVED_FACTOR = 3, 10  # wall-clock limits, as multiples of the CPU limit
RUNS_PER_ZYGOTE = 10_000  # children share their zygote's address layout: renew it now and then
_POLL_MS = 25
_START_SECONDS = 60.0
_PACKAGE_ROOT = str(Path(__file__).parent.parent)
_START = (
    "import sys; sys.path.insert(0, {root!r}); "
    "from ace_lib.sandbox_zygote import main; sys.path.pop(0); main()"
)


class SandboxUnavailable(AceError):
    """This machine cannot give the isolation; the text names the missing piece and the fix."""


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


class Session:
    """One program in its own child process; made by `Sandbox.open`."""

    def __init__(self, sandbox: "Sandbox", job: dict, num_tests: int, limits: Limits) -> None:
        self.alive = True
        self._sandbox, self._limits = sandbox, limits
        self._known_cpu = 0.0
        self._report: dict | None = None  # of the child's end, when it came in place of a clock
        self._call_mode = bool(job["entry_point"])
        self._input, self._output = os.memfd_create("input"), os.memfd_create("output")
        self._write_input(json.dumps(job).encode())
        go, self._go = os.pipe()
        self._marks, marks = os.pipe()
        read_only = os.open(f"/proc/self/fd/{self._input}", os.O_RDONLY)
        request = {
            "cpu_seconds": limits.cpu_seconds * (num_tests + 1),
            "memory_bytes": limits.memory_bytes,
            "output_bytes": limits.output_bytes,
        }
        sandbox._send(json.dumps(request).encode(), [read_only, self._output, go, marks])
        for fd in (read_only, go, marks):
            os.close(fd)
        self._poll = select.poll()
        self._poll.register(self._marks, select.POLLIN)
        self.load_outcome = self._wait()

    def run(self, test_input: bytes) -> Outcome:
        """Release one test and wait for its outcome; after anything but `done` the child is gone.

        Args:
            test_input: the bytes on standard input, or the JSON list of arguments.

        Raises:
            SandboxError: the zygote failed.
        """
        if self.load_outcome.status != "done" or not self.alive:
            return self.load_outcome
        self._write_input(test_input)
        os.ftruncate(self._output, 0)
        try:
            os.write(self._go, b"g")
        except BrokenPipeError:
            return self._ended()
        return self._wait()

    def close(self) -> None:
        """Kill the child if it still runs and free the descriptors."""
        if self.alive:
            self._end()
        for fd in (self._input, self._output, self._go, self._marks):
            os.close(fd)

    def _write_input(self, data: bytes) -> None:
        os.ftruncate(self._input, 0)
        written = 0
        while written < len(data):
            written += os.pwrite(self._input, data[written:], written)

    def _wait(self) -> Outcome:
        """Wait for the child's next mark, its end, or a limit."""
        limit, started, base = self._limits.cpu_seconds, time.monotonic(), self._known_cpu
        while not self._poll.poll(_POLL_MS):
            answer = self._sandbox._ask(b"q") if self._report is None else self._report
            if "end" in answer:
                self._report = answer
            cpu = answer["cpu"]
            if cpu < 0 or self._report:
                continue  # just ended: the marks pipe is about to say so
            elapsed = time.monotonic() - started
            base = max(base, cpu - elapsed)  # what was used before this test began
            self._known_cpu = cpu
            if cpu - base > limit:
                return self._stop("timeout", f"more than {limit:g} s of CPU time")
            idle = elapsed > IDLE_FACTOR * limit and cpu - base < 0.05 * elapsed
            if idle or elapsed > STARVED_FACTOR * limit:
                return self._stop("timeout", f"more than {elapsed:.1f} s of wall time")
        return self._read_mark()

    def _read_mark(self) -> Outcome:
        header = os.read(self._marks, MARK.size)
        if not header:
            return self._ended()
        kind, size = MARK.unpack(header) if len(header) == MARK.size else (b"?", 0)
        text = os.read(self._marks, size) if 0 < size <= 4000 else b""
        if kind == b"E":
            return self._failed(text)
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
        return self._stop(status, f"{name}: {message}" if message else str(name))

    def _stop(self, status: str, detail: str) -> Outcome:
        self._end()
        return Outcome(status, detail=detail)

    def _end(self) -> dict:
        self.alive = False
        report = self._report or self._sandbox._ask(b"k")
        while "end" not in report:
            report = self._sandbox._receive()
        return report

    def _ended(self) -> Outcome:
        """The child closed its pipe: judge by how it ended (`os._exit(0)` may be right)."""
        self.alive = False
        report = self._wait_for_end()
        code = report["end"]
        if code == 0 and not self._call_mode:
            return self._finished()
        if code == -24:  # SIGXCPU
            return Outcome("timeout", detail="the kernel's CPU limit")
        if code == -9:
            return Outcome("memory", detail="killed")
        how = "signal" if code < 0 else "exit code"
        return Outcome("runtime_error", detail=f"ended with {how} {abs(code)}")

    def _wait_for_end(self) -> dict:
        deadline = time.monotonic() + 1.0
        while self._report is None and time.monotonic() < deadline:
            report = self._sandbox._receive(timeout=deadline - time.monotonic())
            if report is not None and "end" in report:
                return report
        return self._end()  # it closed the pipe and goes on: kill


class Sandbox:
    """A zygote and the connection to it. Use as a context manager; not for several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._start()
        try:
            self._self_test()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def open(
        self, program: str, entry_point: str, num_tests: int, limits: Limits | None = None
    ) -> Session:
        """Start a child for a program; `entry_point` is "" for a stdin program.

        Raises:
            SandboxError: the zygote failed.
        """
        if self._runs >= RUNS_PER_ZYGOTE:
            self.close()
            self._start()
        self._runs += 1
        job = {"program": program, "entry_point": entry_point}
        return Session(self, job, num_tests, limits or Limits())

    def close(self) -> None:
        """End the zygote and whatever it runs."""
        if self._process is not None:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        self._runs = 0
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailable(
                f"programs cannot be isolated on {sys.platform}: run the verifier on Linux"
            )
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # -s -P with an environment of ours is what -I gives, but keeps the hash seed: sets print
        # in the same order every time, so the same program gets the same verdict.
        command = [sys.executable, "-s", "-P", "-B", "-X", "utf8"]
        command += ["-c", _START.format(root=_PACKAGE_ROOT), str(theirs.fileno())]
        with theirs:
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, env={"PYTHONHASHSEED": "0"}, stdin=null, stdout=null, stderr=null,
                pass_fds=[theirs.fileno()], cwd="/")  # fmt: skip
        answer = self._receive(timeout=_START_SECONDS)
        if answer is None:
            raise SandboxError("the sandbox's zygote did not start within a minute")
        if "refused" in answer:
            raise SandboxUnavailable(answer["refused"])
        self.isolation = answer["isolation"]

    def _send(self, message: bytes, fds: list[int]) -> None:
        try:
            socket.send_fds(self._control, [message], fds)
        except OSError as error:
            raise SandboxError(f"the sandbox's zygote is gone: {error}") from error

    def _ask(self, request: bytes) -> dict:
        self._send(request, [])
        return self._receive()

    def _receive(self, timeout: float | None = 30.0) -> dict | None:
        """One message of the zygote; None after `timeout` seconds of silence."""
        self._control.settimeout(timeout)
        try:
            message = self._control.recv(65536)
        except TimeoutError:
            return None
        except OSError as error:
            raise SandboxError(f"the sandbox's zygote is gone: {error}") from error
        if not message:
            raise SandboxError("the sandbox's zygote died")
        return json.loads(message)

    def _self_test(self) -> None:
        """Try what must be impossible inside; any success refuses the sandbox (fails closed)."""
        with tempfile.NamedTemporaryFile("w", suffix="-canary") as planted:
            planted.write("secret")
            planted.flush()
            program = _CANARIES.replace("@PLANTED@", planted.name)
            program = program.replace("@SUPERVISOR@", str(os.getpid()))
            session = self.open(program, "", 1)
            try:
                outcome = session.run(b"")
            finally:
                session.close()
        if outcome.status != "done" or outcome.output != b"sealed\n":
            leak = outcome.output.decode(errors="replace").strip() or outcome.detail
            raise SandboxUnavailable(f"the isolation self-test failed ({leak}): refusing to run")


_CANARIES = """
import ctypes, os, signal, socket

def attempt(name, action):
    try:
        action()
    except (OSError, KeyError, ValueError):
        return None
    return name

def ptrace():
    if ctypes.CDLL(None).ptrace(16, @SUPERVISOR@, 0, 0) != 0:
        raise OSError

def environment():
    if set(os.environ) - {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"}:
        return
    raise OSError

breaches = [attempt(*canary) for canary in (
    ("network", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM)),
    ("unix socket", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)),
    ("read a file", lambda: open("@PLANTED@").read()),
    ("write a file", lambda: open("@PLANTED@", "a").write("x")),
    ("create a file", lambda: open("/tmp/ace-canary-@SUPERVISOR@", "w")),
    ("read /proc", lambda: open("/proc/@SUPERVISOR@/environ", "rb").read()),
    ("read own memory", lambda: open("/proc/self/mem", "rb")),
    ("fork", os.fork),
    ("exec", lambda: os.execv("/bin/true", ["true"])),
    ("signal the supervisor", lambda: os.kill(@SUPERVISOR@, 0)),
    ("signal the zygote", lambda: os.kill(os.getppid(), 0)),
    ("ptrace", ptrace),
    ("become root", lambda: os.setuid(0)),
    ("environment", environment),
)]
print(", ".join(filter(None, breaches)) or "sealed")
"""
