import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from micro import save_micro

from ace_lib import evaluate, launch, problems
from ace_lib.children import ChildFailed, format_event
from ace_lib.launch import EvaluationJob, SFTJob


class Folder:
    """What `launch` needs of a run: a place for its files, and its profile."""

    settings = SimpleNamespace(profile="tiny")

    def __init__(self, path: Path) -> None:
        self.folder = path

    def path(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture
def jobs(tmp_path):
    rows = [{"prompt": f"{n}+1=", "completion": str(n + 1)} for n in range(8)]
    problems.write_jsonl(tmp_path / "rows.jsonl", rows)
    held_out = [problems.make_problem_row(id=f"p{n}", prompt="?", gold="1") for n in range(3)]
    problems.write_jsonl(tmp_path / "problems.jsonl", held_out)
    sft = SFTJob(
        "fit", save_micro(tmp_path / "start"), str(tmp_path / "sft"), str(tmp_path / "rows.jsonl"),
        num_train_epochs=10, learning_rate=1e-3, batch_size=4, max_length=20,
    )  # fmt: skip
    measure = EvaluationJob(
        "measure", str(tmp_path / "sft/model"), str(tmp_path / "measured"),
        str(tmp_path / "problems.jsonl"), num_samples=2, max_new_tokens=5,
    )  # fmt: skip
    return [sft, measure]


@pytest.mark.slow
def test_jobs_run_in_one_child_and_are_skipped_when_done(jobs, tmp_path, capfd):
    run = Folder(tmp_path)
    launch.train(jobs, run)
    shown = capfd.readouterr().out
    assert "fit: 20/20 · loss" in shown and "measure: 6/6" in shown
    assert len(evaluate.read_table(tmp_path / "measured/samples.jsonl.gz")) == 6
    child = launch._child_of_notebook[0].process.pid

    launch.train(jobs, run)
    assert "2 of 2 jobs were done before" in capfd.readouterr().out
    # Another seed is another job; the same child takes it, and measures the new model.
    launch.train([replace(jobs[0], seed=1), jobs[1]], run)
    assert launch._child_of_notebook[0].process.pid == child

    with pytest.raises(ChildFailed, match="no row of at most 3 tokens"):
        launch.train([replace(jobs[0], max_length=3)], run)
    assert not psutil.pid_exists(child)
    assert launch._child_of_notebook == []


@pytest.mark.slow
def test_child_dies_with_its_parent(jobs, tmp_path):
    endless = replace(jobs[0], num_train_epochs=100_000)
    (tmp_path / "job.json").write_text(json.dumps(asdict(endless)))
    program = (
        "import json, sys; sys.path.insert(0, 'tests'); from test_launch import *\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "launch.prepare(Folder(folder)); print(launch._child_of_notebook[0].process.pid)\n"
        "sys.stdout.flush()\n"
        "launch.train([SFTJob(**json.loads((folder / 'job.json').read_text()))], Folder(folder))"
    )
    root = Path(__file__).parent.parent
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=root
    ) as parent:
        child = int(parent.stdout.readline())
        deadline = time.monotonic() + 120
        while not (tmp_path / "sft/metrics.jsonl").exists():
            assert time.monotonic() < deadline, (tmp_path / "child.log").read_text()
            time.sleep(0.2)
        os.kill(parent.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(child) and psutil.Process(child).status() != "zombie":
        assert time.monotonic() < deadline, "the child outlived its parent"
        time.sleep(0.1)


def test_done_of_another_job_does_not_count(jobs, tmp_path):
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft/DONE").write_text(json.dumps(asdict(jobs[0])))
    assert launch.is_done(jobs[0])
    assert not launch.is_done(replace(jobs[0], learning_rate=2e-3))


def test_progress_line_has_place_metrics_and_time_to_go():
    event = {"name": "rl", "done": 3, "total": 9, "elapsed": 6.0, "seconds_to_go": 12.4,
             "reward": 0.25, "seconds": 1.0}  # fmt: skip
    assert format_event(event) == "rl: 3/9 · reward 0.25 · 6 s · about 12 s to go"
    assert format_event(event | {"done": 9}) == "rl: 9/9 · reward 0.25 · 6 s"
