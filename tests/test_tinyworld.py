"""The tiny world: problems are solvable, the teacher errs in measure, defects are planted."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ace_lib import tinyworld
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
@given(st.sampled_from(math_problems.TOPICS), st.integers(1, 5), st.integers(0, 10**6))
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
    held_out = {row["prompt"] for name in tinyworld.BENCHMARKS for row in tinyworld.benchmark(name)}
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
