"""The inside of the sandbox: a warmed process that forks one locked-down child per program.

Started by `ace_lib.sandbox` with an empty environment; it never sees an expected output, and the
child never sees more than one test's input at a time. What a child reports can only *claim* an
answer: judging happens in the process that started the zygote.
"""

import atexit
import ctypes  # noqa: F401 (warmed: the locks and the self-test need it)
import gc
import json
import os
import random
import resource
import select
import signal
import socket
import struct
import sys
import threading
import time
import types

from ace_lib import sandbox_locks
from ace_lib.program_driver import find_entry, plain

# The imports LiveCodeBench puts before every program.
PRELUDE_SOURCE = """
from string import *
from re import *
from datetime import *
from collections import *
from heapq import *
from bisect import *
from copy import *
from math import *
from random import *
from statistics import *
from itertools import *
from functools import *
from operator import *
from io import *
from sys import *
from json import *
from builtins import *
from typing import *
import string, re, datetime, collections, heapq, bisect, copy, math, random, statistics
import itertools, functools, operator, io, sys, json
"""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # all a program sees
RECURSION_LIMIT = 50_000
MAX_INT_DIGITS = 50_000
MAIN_STACK_BYTES = 120 * 2**20
MARK = struct.Struct("<cI")


def serve(control: socket.socket) -> None:
    """Fork a child for each request on `control` until the other end closes."""
    sandbox_locks.lock_process()
    lock_child = sandbox_locks.prepare_child_filter()
    prelude: dict = {}
    exec(PRELUDE_SOURCE, prelude)
    sys.set_int_max_str_digits(MAX_INT_DIGITS)
    gc.collect()
    gc.freeze()
    control.send(json.dumps({"isolation": sandbox_locks.LEVEL}).encode())
    while True:
        message, fds, _, _ = socket.recv_fds(control, 4096, 8)
        if not message:
            return
        if message in (b"q", b"k"):
            continue  # asked just before the child ended; its report has answered already
        limits = json.loads(message)
        pid = os.fork()
        if pid == 0:
            control.close()
            _child(fds, limits, prelude, lock_child)
        for fd in fds:
            os.close(fd)
        if not _supervise(control, pid):
            return


def _supervise(control: socket.socket, pid: int) -> bool:
    """Answer `q` (CPU clock) and `k` (kill) until the child is gone, then report how it ended."""
    child = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(control, select.POLLIN)
    poll.register(child, select.POLLIN)
    alive_parent = True
    while True:
        ready = {fd for fd, _ in poll.poll()}
        if child in ready:
            break
        request = control.recv(16)
        if request == b"q":
            control.send(json.dumps(_clocks(pid)).encode())
            continue
        os.kill(pid, signal.SIGKILL)
        if not request:
            alive_parent = False
        break
    os.close(child)
    _, status, usage = os.wait4(pid, 0)
    if alive_parent:
        report = {
            "end": os.waitstatus_to_exitcode(status),
            "cpu": usage.ru_utime + usage.ru_stime,
            "rss_kb": usage.ru_maxrss,
        }
        control.send(json.dumps(report).encode())
    return alive_parent


def _clocks(pid: int) -> dict[str, float]:
    """CPU seconds the child has used so far; -1 when it is just gone."""
    try:
        return {"cpu": time.clock_gettime((~pid << 3) | 2)}  # the kernel's clock id of a process
    except OSError:
        return {"cpu": -1.0}


def _child(fds: list[int], limits: dict, prelude: dict, lock_child: object) -> None:
    """Read the job, run its tests one by one as they are released; never returns."""
    try:
        child = _Child(*fds)
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 2)
        _set_limits(limits)
        lock_child()
        random.seed(0)
        child.load(dict(prelude))
        while os.read(child.go, 1):
            child.run_test()
    except BaseException as error:
        child.report(b"E", error)
        os._exit(1)
    os._exit(0)


def _set_limits(limits: dict) -> None:
    """Kernel limits of one program; the supervisor's clocks are finer and come first."""
    cpu = int(limits["cpu_seconds"]) + 2
    for name, value in (
        ("RLIMIT_AS", limits["memory_bytes"]),
        ("RLIMIT_FSIZE", limits["output_bytes"]),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_CPU", cpu),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_NPROC", 256),
    ):
        resource.setrlimit(getattr(resource, name), (value, value))
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    soft = MAIN_STACK_BYTES if hard < 0 else min(hard, MAIN_STACK_BYTES)
    resource.setrlimit(resource.RLIMIT_STACK, (soft, hard))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sys.setrecursionlimit(RECURSION_LIMIT)


class _Child:
    """One program in its own process."""

    def __init__(self, stdin: int, stdout: int, go: int, marks: int) -> None:
        self.stdin, self.stdout, self.go, self.marks = stdin, stdout, go, marks

    def load(self, names: dict) -> None:
        """Take the job from the input file and compile it; a call-mode program also runs here."""
        job = json.loads(os.pread(self.stdin, os.fstat(self.stdin).st_size, 0))
        self.entry_point = job["entry_point"]
        self.names = names
        self.code = None
        names.pop(self.entry_point, None)  # else the prelude's own function would answer
        try:
            self.code = compile(job["program"], "<program>", "exec", dont_inherit=True)
            if self.entry_point:
                self._fresh_standard_files()
                self._exec(names)
                find_entry(self.module.__dict__, self.entry_point)
        except SystemExit as error:
            self.report(b"E", RuntimeError(f"exit during import ({error.code})"))
        except BaseException as error:
            self.report(b"E", error)
        else:
            self.report(b"R")

    def run_test(self) -> None:
        """Run the test whose input is in the input file now; the answer goes to the output file."""
        try:
            if self.entry_point:
                self._call()
            else:
                self._fresh_standard_files()
                self._exec(dict(self.names))
                self._finish_program()
        except SystemExit as error:
            self._exit(error)
        except BaseException as error:
            self.report(b"E", error)
        else:
            self.report(b"D")

    def _fresh_standard_files(self) -> None:
        for source, target in ((self.stdin, 0), (self.stdout, 1)):
            os.lseek(source, 0, os.SEEK_SET)
            os.dup2(source, target)
        sys.stdin = sys.__stdin__ = open(0, encoding="utf-8", errors="replace", closefd=False)
        sys.stdout = sys.__stdout__ = open(1, "w", encoding="utf-8", newline="\n", closefd=False)

    def _exec(self, names: dict) -> None:
        module = types.ModuleType("__main__")
        module.__dict__.update(names)
        module.__dict__["__name__"] = "__main__"
        sys.modules["__main__"] = module
        self.module = module
        exec(self.code, module.__dict__)

    def _finish_program(self) -> None:
        """What the interpreter does at its end: join threads, run exit functions, flush."""
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        for stream in {sys.stdout, sys.__stdout__}:
            if not stream.closed:
                stream.flush()

    def _exit(self, error: SystemExit) -> None:
        try:
            self._finish_program()
        except BaseException as late:
            self.report(b"E", late)
            return
        if error.code in (None, 0):
            self.report(b"D")
        else:
            self.report(b"E", RuntimeError(f"exit code {error.code!r}"[:200]))

    def _call(self) -> None:
        arguments = json.loads(os.pread(self.stdin, os.fstat(self.stdin).st_size, 0))
        value = find_entry(self.module.__dict__, self.entry_point)(*arguments)
        data = json.dumps(plain(value)).encode()
        os.ftruncate(self.stdout, 0)
        os.pwrite(self.stdout, data, 0)

    def report(self, kind: bytes, error: BaseException | None = None) -> None:
        """Send one mark: R loaded, D test done, E error with its type and message."""
        text = b""
        if error is not None:
            name = type(error).__name__
            try:
                message = str(error)[:300]
            except BaseException:
                message = ""
            text = json.dumps([name, message]).encode()[:4000]
        try:
            os.write(self.marks, MARK.pack(kind, len(text)) + text)
        except OSError:  # the program closed the pipe: its end and its output speak instead
            os._exit(0 if kind == b"D" else 1)


def main() -> None:
    """Entry point of the exec'ed helper: the control socket is the descriptor in argv[1]."""
    os.environ.clear()
    os.environ.update(ENVIRONMENT)
    with socket.socket(fileno=int(sys.argv[1])) as control:
        try:
            serve(control)
        except sandbox_locks.LockError as error:
            control.send(json.dumps({"refused": str(error)}).encode())
