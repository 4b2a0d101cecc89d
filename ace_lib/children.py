"""A child process from the notebook's side: its orders, its events, its end, the line it prints.

`python -m ace_lib.children COMMAND…` is a guard for a program that does not watch its parent.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ace_lib import AceError
from ace_lib.training import OutOfTime

CHILD_ENVIRONMENT = {
    # glibc gives large blocks back to the kernel at once and pays for fresh pages at every step;
    # keeping them made a training step of the tiny model a fifth faster.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
}
SHOWN = ("reward", "loss", "pass_rate", "entropy", "mean_length", "truncated")
SECONDS_BETWEEN_LINES = 3.0
LOG_LINES_IN_ERROR = 15
FINISHED = {"finished": True}


class ChildFailed(AceError):
    """The child process ended with an error; the message has the end of its log."""


def end_of(log_file: Path) -> str:
    """The last lines of a log, for an error."""
    lines = log_file.read_text(errors="replace").splitlines()[-LOG_LINES_IN_ERROR:]
    return "\n".join([f"end of {log_file}:", *lines])


def end_with_parent(take_order: Callable[[str], None]) -> None:
    """Pass on lines of standard input; kill our process group when it ends: the parent is gone."""
    # Not sys.stdin: a thread inside its lock would break the interpreter's shutdown.
    pending = b""
    while data := os.read(0, 4096):
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            take_order(line.decode())
    os.killpg(os.getpgid(0), signal.SIGKILL)


class Child:
    """A child process and those that it starts, from the notebook's side."""

    def __init__(self, log_file: Path, command: list[str], environment: dict[str, str]) -> None:
        self.log_file = log_file
        with log_file.open("a") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env=os.environ | CHILD_ENVIRONMENT | environment, start_new_session=True,
            )  # fmt: skip

    def run(self, jobs_file: Path, show: bool) -> bool:
        """Hand over a file of jobs and follow them; False when the child failed."""
        try:
            self.process.stdin.write(f"{jobs_file}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        line = ProgressLine()
        for text in self.process.stdout:
            event = json.loads(text)
            if event == FINISHED:
                return True
            if "out_of_time" in event:
                raise OutOfTime(event["out_of_time"])
            if show:
                line.show(event)
        line.close()
        return False

    def kill(self) -> None:
        """End the child and everything it started."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=1)  # a child that failed is about to end by itself
        with suppress(ProcessLookupError):  # none of them is left
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()

    def explain(self) -> str:
        """Why it failed, with the end of its log."""
        code = self.process.returncode
        reason = "was killed: out of memory?" if code == -signal.SIGKILL else "failed"
        return f"the training process {reason} (exit code {code}); {end_of(self.log_file)}"


class ProgressLine:
    """One line that overwrites itself in a notebook and repeats every few seconds in a log."""

    def __init__(self) -> None:
        self.last_time, self.last_name, self.open = 0.0, "", False

    def show(self, event: dict) -> None:
        """Show an event of the child, unless one of the same job was shown just now."""
        finished = event["done"] == event["total"]
        now = time.monotonic()
        if now - self.last_time < SECONDS_BETWEEN_LINES and not finished:
            return
        if self.open and event["name"] != self.last_name:
            self.close()
        # `\r` puts the next line in place of this one in Jupyter and in nbconvert's HTML.
        print("\r" + format_event(event), end="\n" if finished else "", flush=True)
        self.last_time, self.last_name, self.open = now, event["name"], not finished

    def close(self) -> None:
        """End the line, so that what is printed next stands below it."""
        if self.open:
            print(flush=True)
        self.open = False


def format_event(event: dict) -> str:
    """One line of progress: job, place, metrics, time to go."""
    parts = [f"{event['name']}: {event['done']}/{event['total']}"]
    parts += [f"{key} {event[key]:.3g}" for key in SHOWN if isinstance(event.get(key), float)]
    seconds = event["elapsed"]
    parts.append(f"{seconds:.0f} s")
    if event["seconds_to_go"] is not None and event["done"] < event["total"]:
        parts.append(f"about {event['seconds_to_go']:.0f} s to go")
    return " · ".join(parts)


def main() -> None:
    """Run a command as a guard: it and all that it started end when standard input does."""
    # To the log: standard output is for events.
    command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    threading.Thread(target=end_with_parent, args=[print], daemon=True).start()
    sys.exit(command.wait())


if __name__ == "__main__":
    main()
