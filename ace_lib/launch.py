"""Training and evaluation in a child process that reports live and dies with the notebook.

    launch.prepare(run)            # optional, early: the child imports torch and TRL meanwhile
    launch.train([job, …], run)

`train` shows one progress line and returns when all jobs are done. A job whose output holds `DONE`
for the same job is skipped; a job that was cut off goes on from its last checkpoint. The child
(`python -m ace_lib.launch`) stays for the next call, so a notebook pays for the imports once. It
reads its standard input and kills itself when that ends, so it cannot outlive the notebook.
"""

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from ace_lib import vllm_server
from ace_lib.children import FINISHED, Child, ChildFailed, end_with_parent
from ace_lib.entropy import EntropyJob
from ace_lib.entropy import run_job as run_entropy
from ace_lib.evaluate import EvaluationJob
from ace_lib.evaluate import run_job as run_evaluation
from ace_lib.profiles import Compute, load_profile
from ace_lib.rl import GRPOJob
from ace_lib.rl import train as train_grpo
from ace_lib.runs import Run, write_json
from ace_lib.sft import SFTJob
from ace_lib.sft import train as train_sft
from ace_lib.training import OutOfTime, is_main

Job = SFTJob | GRPOJob | EvaluationJob | EntropyJob
RUNNERS: dict[type, Callable] = {
    SFTJob: train_sft,
    GRPOJob: train_grpo,
    EvaluationJob: run_evaluation,
    EntropyJob: run_entropy,
}
KINDS = {kind.__name__: kind for kind in RUNNERS}
MODULE = "ace_lib.launch"
CHILD = [sys.executable, "-m", MODULE]


def prepare(run: Run) -> None:
    """Start the child, which imports what training needs while the notebook does other things."""
    if not _child_of_notebook:
        _child_of_notebook.append(Child(run.path("child.log"), CHILD, {}))


def train(jobs: Sequence[Job], run: Run, show: bool = True) -> None:
    """Carry out jobs one after the other in child processes, with live progress.

    Args:
        jobs: what to do, in order; a later job may start from an earlier one's model.
        run: the run of this notebook; `jobs.json` and `child.log` go to its folder, and its
            profile says how many processes train.
        show: print progress.

    Raises:
        ChildFailed: a job failed; jobs before it keep their results.
        OutOfTime: `$ACE_DEADLINE` has come; a checkpoint was written.
    """
    waiting = [job for job in jobs if not is_done(job)]
    if show and len(waiting) < len(jobs):
        print(f"{len(jobs) - len(waiting)} of {len(jobs)} jobs were done before")
    compute = load_profile(run.settings.profile).compute
    jobs_file = run.path("jobs.json")
    for alone, part in groupby(waiting, lambda job: job if runs_alone(job, compute) else None):
        entries = [{"kind": type(job).__name__, **asdict(job)} for job in part]
        write_json(jobs_file, {"compute": asdict(compute), "jobs": entries})
        if alone:
            _run_alone(alone, jobs_file, run, compute, show)
        else:
            _run_in_child(jobs_file, run, show)


def runs_alone(job: Job, compute: Compute) -> bool:
    """Whether a job gets processes of its own: several to train, or a trainer that vLLM feeds.

    vLLM gives its memory back only when its process ends. Jobs that only sample stay in the child:
    they start a process per engine themselves.
    """
    if isinstance(job, GRPOJob) and compute.vllm_mode != "none":
        return True
    return compute.num_processes > 1 and isinstance(job, SFTJob | GRPOJob)


def _run_in_child(jobs_file: Path, run: Run, show: bool) -> None:
    prepare(run)
    finished = False
    try:
        finished = _child_of_notebook[0].run(jobs_file, show)
    finally:
        # After an interrupt it may be in the middle of a job: the next call starts a new one.
        if not finished:
            failed = _child_of_notebook.pop()
            failed.kill()
    if not finished:
        raise ChildFailed(failed.explain())


def _run_alone(job: Job, jobs_file: Path, run: Run, compute: Compute, show: bool) -> None:
    # The sampling child gives its memory back first.
    while _child_of_notebook:
        _child_of_notebook.pop().kill()
    with vllm_server.beside(job, compute, run.path("server.log")) as environment:
        child = Child(run.path("child.log"), training_command(compute), environment)
        finished = False
        try:
            finished = child.run(jobs_file, show)
        finally:
            child.kill()
        if not finished:
            raise ChildFailed(child.explain())


def training_command(compute: Compute) -> list[str]:
    """Command that starts the training processes; nothing listens beyond what the nodes need.

    On one machine the processes meet on the loopback address, at a free port. With Slurm `srun`
    starts one torchrun per node of the allocation, and they meet at its first node.
    """
    if compute.launcher == "local":
        return CHILD
    torchrun = [sys.executable, "-m", "torch.distributed.run",
                f"--nproc_per_node={compute.trainers_per_node}"]  # fmt: skip
    if compute.launcher == "torchrun":
        return [*torchrun, "--standalone", "--local_addr=127.0.0.1", "-m", MODULE]
    if "SLURM_JOB_ID" not in os.environ:
        raise ChildFailed(
            "launcher: slurm needs an allocation: `make submit PROFILE=…` makes one for every "
            "run, or start the notebook inside `salloc`"
        )
    nodes = ["scontrol", "show", "hostnames", os.environ["SLURM_JOB_NODELIST"]]
    first = subprocess.run(nodes, capture_output=True, text=True, check=True).stdout.split()[0]
    # Two jobs that share a node must not meet.
    port = 20_000 + int(os.environ["SLURM_JOB_ID"]) % 20_000
    srun = ["srun", f"--nodes={compute.nodes}", "--ntasks-per-node=1", "--kill-on-bad-exit=1"]
    meeting = [f"--nnodes={compute.nodes}", f"--rdzv_id={os.environ['SLURM_JOB_ID']}",
               "--rdzv_backend=c10d", f"--rdzv_endpoint={first}:{port}"]  # fmt: skip
    return [*srun, *torchrun, *meeting, "-m", MODULE]


# At most one: empty before the first call and after a failure.
_child_of_notebook: list[Child] = []


def is_done(job: Job) -> bool:
    """Whether the job's output is complete and was made by an equal job."""
    done = Path(job.output) / "DONE"
    return done.exists() and json.loads(done.read_text()) == asdict(job)


def run_jobs(jobs_file: Path, report: Callable[[dict], None]) -> None:
    """Carry out the jobs of a file in this process (the child's)."""
    work = json.loads(jobs_file.read_text())
    compute = Compute(**work["compute"])
    for entry in work["jobs"]:
        kind = KINDS[entry.pop("kind")]
        job = kind(**entry)
        if is_done(job):
            continue
        done_file = Path(job.output) / "DONE"
        if is_main():
            done_file.unlink(missing_ok=True)
        RUNNERS[kind](job, _reporter(job.name, report), compute)
        if is_main():
            write_json(done_file, asdict(job))
            # Only now: a job that dies between its model and its mark goes on from the last one.
            shutil.rmtree(Path(job.output) / "checkpoints", ignore_errors=True)


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


def main() -> None:
    """Entry point of a child: alone, or one of several that torchrun started."""
    orders: queue.Queue[str] = queue.Queue()
    if is_main():
        threading.Thread(target=end_with_parent, args=[orders.put], daemon=True).start()
    # Only events go to the parent: what libraries print belongs in the log.
    events = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def report(event: dict) -> None:
        if is_main():
            events.write(json.dumps(event) + "\n")
            events.flush()

    # The slow imports, made while the notebook may be doing something else.
    import trl.trainer.grpo_trainer
    import trl.trainer.sft_trainer  # noqa: F401

    several = "RANK" in os.environ
    try:
        run_jobs(Path(_broadcast(orders) if several else orders.get()), report)
        report(FINISHED)
        while not several:
            run_jobs(Path(orders.get()), report)
            report(FINISHED)
    except OutOfTime as stopped:
        report({"out_of_time": str(stopped)})


def _broadcast(orders: "queue.Queue[str]") -> str:
    """The order of the first process, in all of them: only it is connected to the notebook."""
    import torch
    from accelerate import PartialState
    from accelerate.utils import broadcast_object_list

    PartialState(cpu=not torch.cuda.is_available())
    return broadcast_object_list([orders.get() if is_main() else None])[0]


if __name__ == "__main__":
    main()
