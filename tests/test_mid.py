"""Profile `mid` at a reduced size: its world, its model from the cache, and its own settings."""

import os
import shutil

import pytest
import yaml

from ace_lib import models, pipeline, profiles, runs, tinyworld
from ace_lib.problems import read_jsonl

KEPT = ("01_curate_data", "05_train_sft", "08_train_rl_stage")
STAGES = {"math_8k": {}, "code_24k": {"previous": "08_train_rl_stage-math_8k"}}
WORLD = {"sources", "benchmarks"}  # not from `smoke`, whose world is `tiny`


@pytest.fixture
def reduced(tmp_path):
    """The name of a profile that is `mid` with the sizes of `smoke`, for a CPU."""
    shipped = profiles.default_notebooks_folder()
    notebooks = tmp_path / "notebooks"
    shutil.copytree(shipped, notebooks)
    smoke = yaml.safe_load((shipped / "profiles/smoke.yaml").read_text())
    sizes = {
        name: {key: value for key, value in smoke["notebooks"][name].items() if key not in WORLD}
        if name in KEPT else None
        for name in smoke["notebooks"]
    }  # fmt: skip
    sizes["01_curate_data"]["num_math"] = 400  # of ten levels, not five
    text = {
        "extends": "mid",
        "name": "mid_reduced",
        "about": "profile mid with the sizes of smoke",
        "needs": smoke["needs"],
        "compute": {"gpu": "none", "gpus_per_node": 0, "vllm_mode": "none"},
        "shared": {"engine": "transformers", "context": 512},
        "notebooks": sizes,
        "stages": {
            stage: STAGES[stage] | {"steps": 2, "max_completion_length": 48, "num_generations": 4}
            if stage in STAGES else None
            for stage in smoke["stages"]
        },
    }  # fmt: skip
    (notebooks / "profiles/mid_reduced.yaml").write_text(yaml.safe_dump(text))
    before = dict(os.environ)
    os.environ["ACE_NOTEBOOKS"] = str(notebooks)
    os.environ["ACE_RUNS"] = str(tmp_path / "runs")
    os.environ["ACE_CACHE"] = str(tmp_path / "cache")
    yield "mid_reduced"
    os.environ.clear()
    os.environ.update(before)


@pytest.mark.slow
def test_the_world_mid_goes_through_curation_sft_and_rl(reduced, tmp_path) -> None:
    with pytest.raises(models.ModelMissing, match="make env PROFILE=mid"):
        models.resolve_model("mid")
    # A stand-in of the right vocabulary for the model that a GPU pretrains.
    shutil.copytree(tinyworld.base_model_path(), tmp_path / "cache/mid")
    executed = pipeline.run_profile(reduced)
    assert executed == [
        "01_curate_data", "05_train_sft", *(f"08_train_rl_stage-{s}" for s in STAGES)
    ]  # fmt: skip
    pool = list(read_jsonl(runs.completed(reduced, "01_curate_data") / "rl_math.jsonl.gz"))
    assert {row["source"] for row in pool} == {"midworld"}
    assert max(row["level"] for row in pool) > 5
    for stage in STAGES:
        folder = runs.completed(reduced, f"08_train_rl_stage-{stage}")
        assert (folder / "model/config.json").is_file()
