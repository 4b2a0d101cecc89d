"""Run an untrusted Python program on inputs, outside any process that matters.

A `Sandbox` owns one zygote (`ace_lib.sandbox_zygote`), exec'ed with an empty environment, and asks
it for one child per program. The expected outputs stay with the caller: a `Session` takes an input
and gives back bytes. Nothing the program prints, returns or exits with is a verdict.

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
from collections.abc import Sequence
from pathlib import Path

from ace_lib import AceError
from ace_lib.sandbox_child import DESCRIPTORS, REPORT
from ace_lib.sandbox_session import Limits, Report, SandboxError, Session

RUNS_PER_ZYGOTE = 10_000  # children share their zygote's address layout: renew it now and then
_START_SECONDS, _ANSWER_SECONDS = 60.0, 30.0
_PACKAGE_ROOT = str(Path(__file__).parent.parent)
# The standard library first: what every child uses, and so copies, then lies on fewer pages.
_START = (
    "import site, sys, ctypes, datetime, glob, socket, statistics, typing, json; "
    "site.setquit(); site.sethelper(); sys.path.insert(0, {root!r}); "
    "from ace_lib.sandbox_zygote import main; sys.path[:1] = []; sys.path += {numpy!r}; main()"
)
_WAYS_OUT = (
    "; or else verify elsewhere (--backend http or ray, ACE_VERIFY_BACKEND), or run programs "
    "unprotected by choosing so by name: --backend unsafe"
)


class SandboxUnavailable(AceError):
    """This machine cannot give the isolation; the text names the missing piece and the fix."""


class Sandbox:
    """A zygote and the connection to it. Use as a context manager; not for several threads."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self._checkers: Sandbox | None = None
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
        return Session(self, program, entry_point, num_tests, limits or Limits())

    @property
    def checkers(self) -> "Sandbox":
        """For checkers, which read expected outputs: no program ever runs under its zygote."""
        self._checkers = self._checkers or Sandbox()
        return self._checkers

    def close(self) -> None:
        """End the zygote and whatever it runs."""
        if self._checkers is not None:
            self._checkers.close()
            self._checkers = None
        if self._process is not None:
            self._control.close()
            self._process.kill()
            self._process.wait()
            self._process = None

    def _start(self) -> None:
        self._runs = 0
        if not sys.platform.startswith("linux"):
            raise SandboxUnavailable(
                f"no isolation on {sys.platform}: it needs Linux's Landlock and seccomp{_WAYS_OUT}"
            )
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # -S -P with an environment of ours is more than -I gives, for it runs nothing that other
        # packages have installed, but keeps the hash seed: sets print in the same order every time,
        # so the same program gets the same verdict.
        numpy = [folder for folder in sys.path if Path(folder, "numpy").is_dir()]
        command = [sys.executable, *"-S -P -B -X utf8 -c".split()]
        command += [_START.format(root=_PACKAGE_ROOT, numpy=numpy), str(theirs.fileno())]
        environment = {"PYTHONHASHSEED": "0", "LD_BIND_NOW": "1"}  # no child looks symbols up
        with theirs:
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(
                command, env=environment, stdin=null, stdout=null, stderr=null,
                pass_fds=[theirs.fileno()], cwd="/")  # fmt: skip
        self._poll = select.poll()
        self._poll.register(self._control, select.POLLIN)
        message = self._receive(_START_SECONDS)
        if message is None:
            raise SandboxError("the sandbox's zygote did not start within a minute")
        answer = json.loads(message)
        if "refused" in answer:
            raise SandboxUnavailable(answer["refused"] + _WAYS_OUT)
        self.isolation = answer["isolation"]

    def send(self, message: bytes, fds: Sequence[int] = ()) -> None:
        """Send the zygote a message, with the four descriptors of a child or none.

        Raises:
            SandboxError: it is gone.
        """
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, DESCRIPTORS.pack(*fds))] if fds else []
        try:
            self._control.sendmsg([message], rights)
        except OSError as error:
            raise SandboxError(f"the sandbox's zygote is gone: {error}") from error

    def ask(self, request: bytes) -> Report:
        """The zygote's answer to `q` (CPU clock) or `k` (kill), or else the child's end.

        Raises:
            SandboxError: it is gone or silent.
        """
        self.send(request)
        message = self._receive(_ANSWER_SECONDS)
        if message is None:
            raise SandboxError("the sandbox's zygote does not answer")
        return Report(*REPORT.unpack(message))

    def _receive(self, timeout: float) -> bytes | None:
        if not self._poll.poll(1000 * timeout):
            return None
        try:
            message = self._control.recv(65536)
        except OSError as error:
            raise SandboxError(f"the sandbox's zygote is gone: {error}") from error
        if not message:
            raise SandboxError("the sandbox's zygote died")
        return message

    def _self_test(self) -> None:
        """Try what must be impossible inside; any success refuses the sandbox (fails closed)."""
        with tempfile.TemporaryDirectory(prefix="ace-canary-") as folder:
            planted = Path(folder, "planted")
            planted.write_text("secret")
            for path, mode in ((folder, 0o777), (planted, 0o666)):
                os.chmod(path, mode)  # only the locks are in the way
            program = _CANARIES.replace("@FOLDER@", folder)
            program = program.replace("@SUPERVISOR@", str(os.getpid()))
            session = self.open(program, "", 1)
            try:
                outcome = session.run(b"")
            finally:
                session.close()
        if outcome.status != "done" or outcome.output != b"sealed\n":
            leak = outcome.output.decode(errors="replace").strip() or outcome.detail
            raise SandboxUnavailable(
                f"the isolation self-test failed ({leak}): use a kernel that keeps what it "
                f"promises{_WAYS_OUT}"
            )


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
    ("read a file", lambda: open("@FOLDER@/planted").read()),
    ("write a file", lambda: open("@FOLDER@/planted", "a").write("x")),
    ("create a file", lambda: open("@FOLDER@/new", "w")),
    ("read /proc", lambda: open("/proc/@SUPERVISOR@/environ", "rb").read()),
    ("read own memory", lambda: open("/proc/self/mem", "rb")),
    ("fork", os.fork),
    ("exec", lambda: os.execv("/bin/true", ["true"])),
    ("signal others", lambda: os.kill(-1, 0)),
    ("signal the zygote", lambda: os.kill(os.getppid(), 0)),
    ("ptrace", ptrace),
    ("become root", lambda: os.setuid(0)),
    ("environment", environment),
)]
print(", ".join(filter(None, breaches)) or "sealed")
"""
