import json

import pytest

from ace_lib import AceError, params, runs

CELL = 'profile: str = "mini"\nnumber: int = None\nproblems_file: str = "data.jsonl"'


@pytest.fixture
def settings(kit, tmp_path):
    (tmp_path / "data.jsonl").write_text("{}\n")
    return params.resolve_source("01_make_number", CELL, {})


def test_a_run_is_complete_once_done_is_written(settings):
    run = runs.start("01_make_number", settings)
    assert runs.current() is run
    assert not runs.state("mini", "01_make_number")["done"]
    with pytest.raises(runs.RunMissing, match="ace run --profile mini --only 01_make_number"):
        runs.completed("mini", "01_make_number")
    run.log(step=1, reward=0.5)
    run.log(step=2, reward=0.75)
    run.finish({"reward": 0.75})
    assert runs.completed("mini", "01_make_number") == run.folder
    assert runs.summary("mini", "01_make_number") == {"reward": 0.75}
    lines = (run.folder / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]


def test_the_manifest_says_what_the_run_was_made_with(settings):
    run = runs.start("01_make_number", settings, variant="a")
    assert run.folder.name == "01_make_number-a"
    run.finish({})
    manifest = runs.read_json(run.folder / "manifest.json")
    assert manifest["parameters"]["number"] == 3
    assert manifest["origins"]["number"] == "mini"
    assert manifest["status"] == "complete"
    assert manifest["peak_memory_gib"]["kernel"] > 0
    assert list(manifest["data_sha256"]) == [settings.problems_file]
    for key in ("git_commit", "git_dirty", "lock_sha256", "library_sha256", "versions", "hardware"):
        assert key in manifest


def test_the_same_run_again_resumes_in_place(settings):
    first = runs.start("01_make_number", settings)
    first.log(step=1)
    (first.path("train/model")).write_text("half")
    second = runs.start("01_make_number", settings)
    assert second.run_id == first.run_id
    assert (second.folder / "train/model").exists()
    assert not (second.folder / "metrics.jsonl").exists()  # rows would be there twice
    second.finish({"x": 1})
    done = (second.folder / "DONE").read_bytes()
    runs.start("01_make_number", settings).finish({"x": 1})
    assert (second.folder / "DONE").read_bytes() == done  # so what reads it stays complete


def test_a_run_from_other_inputs_is_moved_aside(settings):
    first = runs.start("01_make_number", settings)
    first.finish({})
    other = params.resolve_source("01_make_number", CELL, {"number": 4})
    second = runs.start("01_make_number", other)
    assert second.run_id != first.run_id
    kept = first.folder.parent / "replaced" / f"01_make_number-{first.input_hash[:8]}"
    assert (kept / "DONE").exists()
    assert not (second.folder / "DONE").exists()


def test_the_hash_follows_code_parameters_data_and_inputs(kit, settings, tmp_path):
    def current():
        return runs.hash_inputs("01_make_number", settings, ["00_other"])

    other = runs.start("01_make_number", settings, variant="x")
    with pytest.raises(runs.RunMissing):
        current()
    other.folder.rename(kit.runs / "mini" / "00_other")
    (kit.runs / "mini" / "00_other" / "DONE").write_text('{"input_hash": "", "run_id": "1"}')
    before = current()

    path = kit.notebooks / "01_make_number.ipynb"
    text = path.read_text()
    path.write_text(text.replace("import time", "import time  # only words"))
    assert current() == before
    path.write_text(text.replace("import time", "import json"))
    assert current() != before
    path.write_text(text)

    (tmp_path / "data.jsonl").write_text('{"changed": 1}\n')
    assert current() != before
    (tmp_path / "data.jsonl").write_text("{}\n")
    assert current() == before

    (kit.runs / "mini" / "00_other" / "DONE").write_text('{"input_hash": "", "run_id": "2"}')
    assert current() != before


def test_only_declared_inputs_can_be_read(settings):
    runs.start("01_make_number", settings, variant="x").finish({})
    run = runs.start("01_make_number", settings, inputs=["01_make_number-x"])
    assert run.input("01_make_number-x").name == "01_make_number-x"
    with pytest.raises(AceError, match="'02_else' is not declared"):
        run.input("02_else")


def test_a_folder_that_cannot_be_written_is_one_line(settings, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ACE_RUNS", str(tmp_path / "file"))
    with pytest.raises(runs.RunFolderError, match="cannot write .* set ACE_RUNS to another folder"):
        runs.start("01_make_number", settings)


def test_a_json_file_is_written_whole_or_not_at_all(tmp_path):
    path = runs.write_json(tmp_path / "a.json", {"x": 1})
    with pytest.raises(TypeError):
        runs.write_json(path, {"x": object()})
    assert runs.read_json(path) == {"x": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_done_counts_as_not_done(settings):
    run = runs.start("01_make_number", settings)
    run.finish({})
    (run.folder / "DONE").write_text('{"input_')
    assert not runs.state("mini", "01_make_number")["done"]
