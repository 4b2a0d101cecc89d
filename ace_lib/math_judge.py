"""math-verify behind a wall: a warmed process that forks a judge which can be killed at any time.

math-verify's own time limits are signals and work in a main thread only; in a thread
`\\boxed{9^{9^{9}}}` hangs for minutes. Here each question has a CPU limit and a wall limit kept by
another process, and a kill costs one fork, because sympy is already loaded where the fork starts.
"""

import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from ace_lib import AceError, sandbox_locks

# The CPU limit decides, so that a busy machine gives the same verdict as an idle one, where none
# takes 1.5 seconds; the wall limit ends what neither computes nor answers.
CPU_SECONDS, WALL_SECONDS = 0.35, 10.0
MEMORY_BYTES = 3 * 2**30
_PACKAGE_ROOT = str(Path(__file__).parent.parent)
_START = "import sys; sys.path.insert(0, {root!r}); from ace_lib.math_judge import main; main()"


class MathJudgeError(AceError):
    """math-verify could not be asked; says nothing about the answer."""


class MathJudge:
    """The client side of the process, which needs about a second to load at its start."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None
        self.loading_seconds = 0.0  # that questions waited for a process to load

    def start(self) -> None:
        """Start the process, unless it runs, without waiting for it."""
        if self._process is None:
            command = [sys.executable, "-I", "-c", _START.format(root=_PACKAGE_ROOT)]
            pipe, null = subprocess.PIPE, subprocess.DEVNULL
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null)
            self._is_loaded = False

    def ask(self, gold: str, answer: str) -> str:
        """Whether math-verify takes `answer` for `gold`: "equal", "different", "unparsed" (the
        gold), or "timeout". Raises MathJudgeError when the judge fails for another reason.
        """
        self.start()
        try:
            self._process.stdin.write(json.dumps([gold, answer]).encode() + b"\n")
            self._process.stdin.flush()
            self._wait_until_loaded()
            reply = self._process.stdout.readline().decode(errors="replace").strip()
        except OSError as error:
            reply = str(error)
        if reply not in ("equal", "different", "unparsed", "timeout"):
            self.close()
            raise MathJudgeError(f"math-verify failed: {reply[:200]}")
        return reply

    def _wait_until_loaded(self) -> None:
        if not self._is_loaded:
            started = time.monotonic()
            self._process.stdout.readline()
            self._is_loaded = True
            self.loading_seconds += time.monotonic() - started

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process.stdin.close()
            self._process.stdout.close()
            self._process = None


class _Judge:
    """A forked child that answers questions until it is killed."""

    def __init__(self, judge: object) -> None:
        questions, self.questions = os.pipe()
        self.answers, answers = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.questions)
            os.close(self.answers)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            _seal()
            _answer_questions(questions, answers, judge)
        os.close(questions)
        os.close(answers)

    def ask(self, line: bytes) -> bytes:
        """The answer, or b"timeout" or an error text, after which the child must be replaced."""
        clock = (~self.pid << 3) | 2  # the kernel's clock id of a process
        started, cpu_before = time.monotonic(), time.clock_gettime(clock)
        os.write(self.questions, line)
        while not select.select([self.answers], [], [], 0.02)[0]:
            if time.clock_gettime(clock) - cpu_before > CPU_SECONDS:
                return b"timeout"
            if time.monotonic() - started > WALL_SECONDS:
                return b"no answer in time"
        return os.read(self.answers, 4096) or b"died"

    def kill(self) -> None:
        """End the child."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.questions)
        os.close(self.answers)


def _seal() -> None:
    """No exec, fork or network for the parser either, where the kernel can say so."""
    try:
        sandbox_locks.forbid_privileges()
        sandbox_locks.prepare_child_filter()()
    except (OSError, KeyError, AttributeError):
        pass  # an extra wall: math-verify does not run text as code


def _answer_questions(questions: int, answers: int, judge: object) -> None:
    """The child's loop; never returns."""
    try:
        with os.fdopen(questions, "rb") as lines:
            for line in lines:
                try:
                    answer = judge(*json.loads(line))
                except MemoryError:
                    answer = "timeout"
                except Exception as error:
                    answer = f"error {type(error).__name__}: {error}"[:300].replace("\n", " ")
                os.write(answers, answer.encode(errors="replace") + b"\n")
    finally:
        os._exit(0)


def _load_math_verify() -> object:
    """A function (gold, answer) -> "equal" | "different" | "unparsed"."""
    import logging

    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)

    def judge(gold: str, answer: str) -> str:
        expected = parse(f"\\boxed{{{gold}}}", parsing_timeout=None)
        if all(isinstance(item, str) for item in expected):  # nothing but the text itself
            return "unparsed"
        given = parse(f"\\boxed{{{answer}}}", parsing_timeout=None)
        right = verify(expected, given, timeout_seconds=None)
        return "equal" if right else "different"

    for question in ("\\int_0^1 x^2+\\sin x\\,dx", "\\sum_{n=1}^{\\infty}\\frac{1}{2^n}"):
        judge("\\frac{1}{2}", question)  # loads the parser's and sympy's tables for all forks
    return judge


def main() -> None:
    """Say "ready", then answer questions, a JSON line [gold, answer] each, until input closes."""
    judge_answer = _load_math_verify()
    replies = os.dup(1)
    os.dup2(2, 1)
    os.write(replies, b"ready\n")
    child = None
    for line in sys.stdin.buffer:
        child = child or _Judge(judge_answer)
        reply = child.ask(line)
        if not reply.endswith(b"\n"):
            child.kill()
            child = None
        os.write(replies, reply.strip() + b"\n")
    if child:
        child.kill()
