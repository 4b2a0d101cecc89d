"""Every notebook runs, in profile smoke, through the pipeline that `make run` uses."""

import os
from pathlib import Path

import pytest

from ace_lib import pipeline, runs, steps
from ace_lib.profiles import load_profile


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """The folder of a whole run of profile smoke."""
    before = dict(os.environ)
    os.environ["ACE_RUNS"] = str(tmp_path_factory.mktemp("runs"))
    executed = pipeline.run_profile("smoke")
    yield executed
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.slow
def test_every_step_is_executed_and_complete(smoke):
    found = steps.read_steps("smoke")
    assert smoke == [step.name for step in found]
    for step in found:
        assert runs.completed("smoke", step.name) == step.folder
        assert (step.folder / f"{step.name}.html").stat().st_size > 10_000
        manifest = runs.read_json(step.folder / "manifest.json")
        assert manifest["parameters"] == dict(step.settings.values)


@pytest.mark.slow
def test_the_index_links_every_page(smoke):
    index = (runs.profile_folder("smoke") / "index.html").read_text()
    for name in smoke:
        assert f'href="{name}/{name}.html"' in index


@pytest.mark.slow
def test_time_and_memory_stay_in_what_the_profile_states(smoke):
    needs, timings = load_profile("smoke").needs, runs.read_timings("smoke")
    # Twice the stated minutes, because the tests may share the machine.
    assert sum(t["seconds"] for t in timings.values()) < 2 * 60 * needs["minutes"]
    assert max(t["peak_memory_gib"] for t in timings.values()) < needs["memory_gib"]


@pytest.mark.slow
def test_again_there_is_nothing_to_do(smoke):
    assert pipeline.run_profile("smoke") == []


@pytest.mark.slow
def test_nothing_of_the_machine_is_written_into_the_notebooks(smoke):
    for path in Path(runs.default_notebooks_folder()).glob("*.ipynb"):
        assert str(Path.home()) not in path.read_text()
