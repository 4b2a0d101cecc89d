"""One untrusted program in its own process: load it, run its tests, hand back bytes.

Runs behind the locks (`ace_lib.sandbox_zygote`) or, by name only, without them
(`ace_lib.unsafe_subprocess`). What is sent from here can only *claim* an answer: the program shares
this process and may change everything in it.
"""

import atexit
import builtins
import json
import os
import random
import struct
import sys
import threading
import types

from ace_lib.program_driver import IMPORTED_NAME, find_entry, plain

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
open_file = open  # before `warm_up` replaces it
RECURSION_LIMIT = 50_000
MARK = struct.Struct("<cI")  # child to supervisor: kind, size of the text that follows
PIPE_BYTES = 4096  # a pipe takes so much at once or nothing
MARK_BYTES = PIPE_BYTES - MARK.size  # the most text of a mark
GO_BYTES = 479  # the most to release a test with; a child makes room for more in pages of its own
LIMITS = struct.Struct("<3q")  # supervisor to zygote: address space, file size, CPU seconds
DESCRIPTORS = struct.Struct("@4i")  # which come with them, as `Child` takes them
REPORT = struct.Struct("<?idq")  # zygote to supervisor: ended, exit code, CPU seconds, memory in KB
_REHEARSALS = (
    (b"f\0def f(x):\n    return x", b"[[1, 2]]"),
    (b"\0a, b = map(int, input().split())\nprint(a + b)", b"1 2\n"),
)
_decoder = json.JSONDecoder()
_STANDARD_FILES = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}


def warm_up() -> None:
    """Make this interpreter ready for programs; done once, before any child is forked.

    The prelude goes below the globals, into `builtins`: copying it into each program's globals
    would touch the reference count, and so copy the page, of every object in it.
    """
    prelude: dict = {}
    exec(PRELUDE_SOURCE, prelude)
    builtins.__dict__.update(prelude | vars(builtins))
    builtins.open = _open
    sys.argv = ["program.py"]
    sys.setrecursionlimit(RECURSION_LIMIT)
    random.seed(0)
    for job, given in _REHEARSALS:
        _rehearse(job, given)
    null = os.open(os.devnull, os.O_RDWR)
    set_standard_files(null, null)  # what a function's program reads and prints
    os.close(null)
    # Ones that stay: to free the rehearsals' modules would cost each child the pages they lie on.
    sys.modules["__main__"] = sys.modules[IMPORTED_NAME] = sys.modules[__name__]


def _rehearse(job: bytes, given: bytes) -> None:
    """Run a program in this process: what Python caches now, no child writes into its own pages."""
    files = [os.memfd_create("input"), os.memfd_create("output"), *os.pipe()]
    stdin, stdout, read_end, marks = files
    child = Child(stdin, stdout, read_end, marks)
    os.write(stdin, job)
    child.load()
    os.pwrite(stdin, given, 0)
    os.ftruncate(stdin, len(given))
    for _ in range(20):  # more than it takes until the interpreter has specialised the code
        child.run_test(given)
    for fd in files:
        os.close(fd)


def _open(file: object, *arguments: object, **options: object) -> object:
    """`open` that knows the standard files by name, although there may be no /proc behind them."""
    if isinstance(file, str) and file in _STANDARD_FILES:
        file = os.dup(_STANDARD_FILES[file])
    return open_file(file, *arguments, **options)


def set_standard_files(stdin: int, stdout: int) -> None:
    """Make new standard files of two open ones, from their start."""
    for source, target in ((stdin, 0), (stdout, 1)):
        os.lseek(source, 0, os.SEEK_SET)
        os.dup2(source, target)
    sys.stdin = sys.__stdin__ = open_file(0, encoding="utf-8", errors="replace", closefd=False)
    sys.stdout = sys.__stdout__ = open_file(1, "w", encoding="utf-8", newline="\n", closefd=False)
    builtins.stdin, builtins.stdout = sys.stdin, sys.stdout  # the prelude's `from sys import *`


class Child:
    """One program: `go` releases tests, `marks` says what became of them.

    Args:
        stdin: file with entry point, zero byte and program at first, then one input after another.
        stdout: file for the output.
        go: pipe to read; one byte releases one test.
        marks: pipe to write `MARK`s to.
    """

    def __init__(self, stdin: int, stdout: int, go: int, marks: int) -> None:
        self.stdin, self.stdout, self.go, self.marks = stdin, stdout, go, marks

    def serve(self) -> None:
        """Read the job, run its tests one by one as they are released; never returns."""
        try:
            self.load()
            while released := os.read(self.go, GO_BYTES):
                self.run_test(released[1:])
        except BaseException as error:
            self._fail(error)
            os._exit(1)
        os._exit(0)

    def load(self) -> None:
        """Compile the program of the input file; a call-mode program also runs here."""
        entry_point, _, program = self._read_input().partition(b"\0")
        self.entry_point = entry_point.decode()
        try:
            self.code = compile(program.decode(), "<program>", "exec", dont_inherit=True)
            if self.entry_point:
                self._exec()
                find_entry(self.module.__dict__, self.entry_point)
        except SystemExit as error:
            self._fail(RuntimeError(f"exit during import ({error.code})"))
        except BaseException as error:
            self._fail(error)
        else:
            self._report(b"R")

    def _read_input(self) -> bytes:
        return os.pread(self.stdin, os.lseek(self.stdin, 0, os.SEEK_END), 0)

    def run_test(self, arguments: bytes) -> None:
        """Run a test on the input file, or a function on `arguments` unless they are empty.

        The answer goes to the output file; a small value goes with the mark.
        """
        value = b""
        try:
            if self.entry_point:
                value = self._call(arguments or self._read_input())
            else:
                os.ftruncate(self.stdout, 0)
                set_standard_files(self.stdin, self.stdout)
                self._exec()
                self._finish_program()
        except SystemExit as error:
            self._exit(error)
        except BaseException as error:
            self._fail(error)
        else:
            self._report(b"D", value)

    def _exec(self) -> None:
        name = IMPORTED_NAME if self.entry_point else "__main__"
        self.module = sys.modules["__main__"] = sys.modules[name] = types.ModuleType(name)
        exec(self.code, self.module.__dict__)

    def _finish_program(self) -> None:
        """What the interpreter does at its end: join threads, run exit functions, flush."""
        for thread in threading.enumerate():
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.__stdout__):
            # The program's own may be None, or an object that only writes and flushes.
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()

    def _exit(self, error: SystemExit) -> None:
        try:
            self._finish_program()
        except BaseException as late:
            self._fail(late)
            return
        if not self.entry_point and error.code in (None, 0):
            self._report(b"D")
        else:
            self._fail(RuntimeError(f"exit code {error.code!r}"[:200]))

    def _call(self, arguments: bytes) -> bytes:
        function = find_entry(self.module.__dict__, self.entry_point)
        data = json.dumps(plain(function(*_decoder.raw_decode(arguments.decode())[0]))).encode()
        if len(data) <= MARK_BYTES:
            return data
        os.pwrite(self.stdout, data, 0)
        os.ftruncate(self.stdout, len(data))
        return b""

    def _fail(self, error: BaseException) -> None:
        """Send the mark of an error, with its type and message."""
        name = type(error).__name__
        try:
            message = str(error)[:300]
        except BaseException:
            message = ""
        self._report(b"E", json.dumps([name, message]).encode()[:MARK_BYTES])

    def _report(self, kind: bytes, text: bytes = b"") -> None:
        """Send one mark: R loaded, D test done, E error."""
        try:
            os.write(self.marks, MARK.pack(kind, len(text)) + text)
        except OSError:  # the program closed the pipe: its end and its output speak instead
            os._exit(0 if kind == b"D" else 1)
