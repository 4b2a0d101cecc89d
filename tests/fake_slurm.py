"""A stand-in for Slurm on one machine: `sbatch` and `scontrol`, and a scheduler that runs the jobs.

Honours what `ace submit` relies on: job ids, `--dependency=afterok`, `#SBATCH --output`, and
`scontrol requeue`. A job whose dependency failed never starts.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path


def install(folder: Path) -> None:
    """Put the commands into `folder`; jobs go to `folder/jobs`."""
    (folder / "jobs").mkdir(parents=True)
    for name in ("sbatch", "scontrol"):
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {name} {folder} "$@"\n')
        command.chmod(0o755)


def run_all(folder: Path, max_requeues: int = 5) -> dict[str, str]:
    """Run the queued jobs in order; returns job id -> COMPLETED, FAILED or CANCELLED."""
    states: dict[str, str] = {}
    for path in sorted((folder / "jobs").glob("*.json"), key=lambda p: int(p.stem)):
        job = json.loads(path.read_text())
        if any(states[name] != "COMPLETED" for name in job["after"]):
            states[path.stem] = "CANCELLED"
            continue
        for _ in range(max_requeues):
            code = _run(folder, path.stem, job)
            if not (folder / f"requeued-{path.stem}").exists():
                break
            (folder / f"requeued-{path.stem}").unlink()
        states[path.stem] = "COMPLETED" if code == 0 else "FAILED"
    return states


def _run(folder: Path, job_id: str, job: dict) -> int:
    output = re.search(r"#SBATCH --output=(\S+)", job["script"])[1]
    environment = os.environ | {"SLURM_JOB_ID": job_id, "PATH": f"{folder}:{os.environ['PATH']}"}
    with open(output, "a") as log:
        return subprocess.run(
            ["bash", "-c", job["script"]], stdout=log, stderr=log, env=environment
        ).returncode


def sbatch(folder: Path, arguments: list[str]) -> None:
    after = [a.partition("afterok:")[2] for a in arguments if a.startswith("--dependency=")]
    if "--partition=closed" in arguments:
        sys.exit("sbatch: error: invalid partition specified: closed")
    job_id = str(41 + len(list((folder / "jobs").glob("*.json"))))
    script = Path(arguments[-1]).read_text()
    job = {"after": after, "script": script, "arguments": arguments}
    (folder / "jobs" / f"{job_id}.json").write_text(json.dumps(job))
    print(f"{job_id};cluster")


def main() -> None:
    command, folder, *arguments = sys.argv[1:]
    if command == "sbatch":
        sbatch(Path(folder), arguments)
    elif arguments[0] == "requeue":
        (Path(folder) / f"requeued-{arguments[1]}").touch()


if __name__ == "__main__":
    main()
