"""Training and evaluation in a child process that reports live and dies with the notebook.

    launch.train([job, …], run)

starts `python -m ace_lib.launch JOBS.json` once for all jobs (importing torch and TRL costs
seconds), shows one progress line, and returns when all are done. A job whose output holds `DONE`
for the same job is skipped; a job that was cut off goes on from its last checkpoint.
The child reads its standard input and kills itself when that ends, so it cannot outlive us.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from ace_lib import AceError
from ace_lib.entropy import EntropyJob
from ace_lib.entropy import run_job as run_entropy
from ace_lib.evaluate import EvaluationJob
from ace_lib.evaluate import run_job as run_evaluation
from ace_lib.rl import GRPOJob
from ace_lib.rl import train as train_grpo
from ace_lib.runs import Run, write_json
from ace_lib.sft import SFTJob
from ace_lib.sft import train as train_sft

Job = SFTJob | GRPOJob | EvaluationJob | EntropyJob
RUNNERS: dict[type, Callable] = {
    SFTJob: train_sft,
    GRPOJob: train_grpo,
    EvaluationJob: run_evaluation,
    EntropyJob: run_entropy,
}
KINDS = {kind.__name__: kind for kind in RUNNERS}
CHILD_ENVIRONMENT = {
    # glibc gives large blocks back to the kernel at once and pays for fresh pages at every step;
    # keeping them made a training step of the tiny model a fifth faster.
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
    "MALLOC_TRIM_THRESHOLD_": "17179869184",
}
SHOWN = ("reward", "loss", "pass_rate", "entropy", "mean_length", "truncated")
SECONDS_BETWEEN_LINES = 3.0
LOG_LINES_IN_ERROR = 15


class ChildFailed(AceError):
    """The child process ended with an error; the message has the end of its log."""


def train(jobs: Sequence[Job], run: Run, show: bool = True) -> None:
    """Carry out jobs one after the other in one child process, with live progress.

    Args:
        jobs: what to do, in order; a later job may start from an earlier one's model.
        run: the run of this notebook; `jobs.json` and `child.log` go to its folder.
        show: print progress.

    Raises:
        ChildFailed: a job failed; jobs before it keep their results.
    """
    waiting = [job for job in jobs if not is_done(job)]
    if show and len(waiting) < len(jobs):
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} jobs were done before")
    if not waiting:
        return
    jobs_file = run.path("jobs.json")
    write_json(jobs_file, [{"kind": type(job).__name__, **asdict(job)} for job in waiting])
    log_file = run.path("child.log")
    with log_file.open("a") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "ace_lib.launch", str(jobs_file)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
            env=os.environ | CHILD_ENVIRONMENT, start_new_session=True,
        )  # fmt: skip
        try:
            _follow(child, show)
        finally:
            _end(child)
    if child.returncode != 0:
        raise ChildFailed(_explain(child.returncode, log_file))


def is_done(job: Job) -> bool:
    """Whether the job's output is complete and was made by an equal job."""
    done = Path(job.output) / "DONE"
    return done.exists() and json.loads(done.read_text()) == asdict(job)


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


def _follow(child: subprocess.Popen, show: bool) -> None:
    """Show the child's events until it closes its output."""
    line = ProgressLine()
    for text in child.stdout:
        if show:
            line.show(json.loads(text))
    line.close()


def _end(child: subprocess.Popen) -> None:
    """Wait for a child that has closed its output; kill its group when we were interrupted."""
    if sys.exc_info()[0] is not None:
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    child.stdin.close()
    child.stdout.close()


def _explain(returncode: int, log_file: Path) -> str:
    lines = log_file.read_text(errors="replace").splitlines()
    reason = "was killed: out of memory?" if returncode == -signal.SIGKILL else "failed"
    tail = "\n".join(lines[-LOG_LINES_IN_ERROR:])
    return f"the training process {reason} (exit code {returncode}); end of {log_file}:\n{tail}"


def run_jobs(jobs_file: Path, report: Callable[[dict], None]) -> None:
    """Carry out the jobs of a file in this process (the child's)."""
    for entry in json.loads(jobs_file.read_text()):
        kind = KINDS[entry.pop("kind")]
        job = kind(**entry)
        if is_done(job):
            continue
        done_file = Path(job.output) / "DONE"
        done_file.unlink(missing_ok=True)
        RUNNERS[kind](job, _reporter(job.name, report))
        write_json(done_file, asdict(job))


def _reporter(name: str, report: Callable[[dict], None]) -> Callable[..., None]:
    """The `progress` function of a job: adds its name, its time and an estimate of what is left."""
    started = time.monotonic()
    first: list[tuple[float, int]] = []

    def progress(done: int, total: int, **metrics: object) -> None:
        now = time.monotonic()
        if not first:
            first.append((now, done))
        since, done_then = first[0]
        # Pace since the first event: what comes before it is loading.
        pace = (now - since) / (done - done_then) if done > done_then else None
        report({"name": name, "done": done, "total": total, "elapsed": now - started,
                "seconds_to_go": pace and pace * (total - done), **metrics})  # fmt: skip

    return progress


def _die_with_parent() -> None:
    """Kill our process group when standard input ends: the parent holds its other end."""
    # Not sys.stdin: a thread inside its lock would break the interpreter's shutdown.
    while os.read(0, 1):
        pass
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> None:
    """Entry point of the child."""
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # Only events go to the parent: what libraries print belongs in the log.
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def report(event: dict) -> None:
        events.write(json.dumps(event) + "\n")
        events.flush()

    run_jobs(Path(sys.argv[1]), report)


if __name__ == "__main__":
    main()
