"""The tiny world: problems are solvable, the teacher errs in measure, defects are planted."""

import importlib
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ace_lib import AceError, tinyworld
from ace_lib.tinyworld import code_problems, math_problems, pool, teacher

ANY_KIND = st.sampled_from(
    [("math", topic) for topic in math_problems.TOPICS]
    + [("code", mode) for mode in code_problems.FORMATS]
)


@settings(max_examples=150, deadline=None)
@given(ANY_KIND, st.integers(1, 5), st.integers(0, 10**6))
def test_equal_seeds_give_equal_problems(kind, level, seed):
    first = tinyworld.make_problem(*kind, level, random.Random(seed))
    assert first == tinyworld.make_problem(*kind, level, random.Random(seed))
    assert first["level"] == level and first["prompt"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(math_problems.TOPICS), st.integers(1, 10), st.integers(0, 10**6))
def test_math_level_is_the_number_of_steps(topic, level, seed):
    problem = tinyworld.make_problem("math", topic, level, random.Random(seed))
    steps = problem["blueprint"]["steps"]
    assert len(steps) == level
    values = math_problems.step_values(steps)
    assert all(0 <= value <= math_problems.LARGEST_VALUE for value in values)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(code_problems.FORMATS), st.integers(1, 5), st.integers(0, 10**6))
def test_true_programs_agree_with_the_tests(mode, level, seed):
    """Our own reference programs are trusted: running them here is safe."""
    problem = tinyworld.make_problem("code", mode, level, random.Random(seed))
    task = problem["blueprint"]
    assert len(problem["tests"]) == code_problems.NUM_TESTS
    assert len({str(test["output"]) for test in problem["tests"]}) > 1
    if mode == "call":
        names = {}
        exec(code_problems.program(task, mode, problem["entry_point"]), names)
        for test in problem["tests"]:
            assert names[problem["entry_point"]](*test["input"]) == test["output"]


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(code_problems.FORMATS), st.integers(2, 5), st.integers(0, 10**6))
def test_bugs_change_the_task(mode, level, seed):
    rng = random.Random(seed)
    task = tinyworld.make_problem("code", mode, level, rng)["blueprint"]
    assert teacher.with_bug(task, rng) != task


@pytest.mark.parametrize("style", tinyworld.STYLES)
def test_teacher_slips_more_on_harder_problems(style):
    """Count right answers of 600 attempts at level 1 and level 5."""
    rng = random.Random(1)

    def share_right(level: int) -> float:
        rows = [tinyworld.make_problem("math", "algebra", level, rng) for _ in range(600)]
        ends = [tinyworld.teacher_responses(row, 1, 0, style)[0] for row in rows]
        return sum(f"{{{row['gold']}}}" in end for row, end in zip(rows, ends, strict=True)) / 600

    easy, hard = share_right(1), share_right(5)
    assert easy > 0.85
    assert hard < easy if style != "careful" else hard == easy == 1.0


def test_worked_responses_grow_with_the_level():
    rng = random.Random(2)
    lengths = [
        sum(
            len(tinyworld.teacher_responses(row, 1, 0, "steps")[0])
            for row in (tinyworld.make_problem("math", "geometry", level, rng) for _ in range(50))
        )
        for level in (1, 3, 5)
    ]
    assert lengths == sorted(lengths) and lengths[0] < lengths[-1]


def test_pool_plants_every_defect_and_nothing_else():
    rows = tinyworld.raw_pool(1500, 800, seed=3)
    planted = {row["planted"] for row in rows}
    assert planted == {"", *pool.DEFECTS["math"], *pool.DEFECTS["code"]}
    clean = [row["prompt"] for row in rows if not row["planted"]]
    held_out = {row["prompt"] for name in tinyworld.benchmarks_of("tiny")
                for row in tinyworld.benchmark(name)}  # fmt: skip
    assert len(set(clean)) == len(clean)
    assert not set(clean) & held_out
    assert len({row["id"] for row in rows}) == len(rows)


def test_pool_depends_on_its_seed_only():
    assert tinyworld.raw_pool(50, 50, seed=1) == tinyworld.raw_pool(50, 50, seed=1)
    assert tinyworld.raw_pool(50, 50, seed=1) != tinyworld.raw_pool(50, 50, seed=2)


@pytest.mark.parametrize("name", tinyworld.BENCHMARKS)
def test_benchmarks_hold_distinct_problems(name):
    rows = tinyworld.benchmark(name)
    assert len({row["prompt"] for row in rows}) == len(rows) == tinyworld.BENCHMARKS[name][2]
    rows[0]["prompt"] = "changed by the caller"
    assert tinyworld.benchmark(name)[0]["prompt"] != "changed by the caller"


def test_the_worlds_are_apart_and_mid_has_the_longer_chains() -> None:
    pool = tinyworld.raw_pool(400, 100, seed=0, world="mid")
    assert {row["source"] for row in pool} == {"midworld"}
    assert max(row["level"] for row in pool if row["domain"] == "math") == 10
    leaked = [row for row in pool if row["planted"] == "leak_verbatim"]
    held_out = {row["prompt"] for name in tinyworld.benchmarks_of("mid")
                for row in tinyworld.benchmark(name)}  # fmt: skip
    assert leaked and all(row["prompt"] in held_out for row in leaked)
    assert not {row["prompt"] for row in pool if row["planted"] == ""} & held_out


@pytest.mark.parametrize("size", range(1, 8))
def test_a_pool_may_be_small(size: int) -> None:
    assert len(tinyworld.raw_pool(size, size, seed=0)) == 2 * size


def test_an_unknown_benchmark_is_told_from_the_known_ones() -> None:
    with pytest.raises(AceError, match="no benchmark 'aime': one of tiny-aime24"):
        tinyworld.benchmark("aime")


@pytest.fixture
def builder(monkeypatch: pytest.MonkeyPatch):
    """The script that pretrains base models, at a size that takes a second."""
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "pretraining")
    script = importlib.import_module("build_base_model")
    from transformers import AutoTokenizer

    ready = AutoTokenizer.from_pretrained(tinyworld.base_model_path())
    monkeypatch.setattr(script, "build_tokenizer", lambda seed: ready)
    monkeypatch.setitem(script.SIZES, "mid", script.Size(32, 64, 1, 2, 1, 64, 32, 4, 6))
    return script


def test_a_base_model_that_was_interrupted_is_the_one_built_in_one_go(builder, tmp_path) -> None:
    from safetensors.torch import load_file

    builder.pretrain(tmp_path / "whole", "mid", 6, 0, checkpoint_every=2)

    class Killed(Exception):
        pass

    steps, train_step = iter(range(4)), builder.train_step

    def dies_at_the_fifth_step(*arguments):
        if next(steps, None) is None:
            raise Killed
        return train_step(*arguments)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(builder, "train_step", dies_at_the_fifth_step)
        builder.pretrain(tmp_path / "cut", "mid", 6, 0, checkpoint_every=2)
    builder.pretrain(tmp_path / "cut", "mid", 6, 0, checkpoint_every=2)
    whole, cut = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    assert "`mid`" in (tmp_path / "cut/README.md").read_text()
