"""Constraints read from statements, inputs on their edges, and the answers of good programs."""

import random
import re

import pytest

from ace_lib import edge_tests, problems, tinyworld, vote
from ace_lib.input_constraints import read_constraints, read_number
from ace_lib.input_layout import NotUnderstood
from ace_lib.tinyworld import code_problems
from ace_lib.verify import shared_verifier

JUDGE = shared_verifier().verify
STDIN = """Find the largest sum.

Input Format:
{}

Output Format:
One integer.
"""
SEVERAL = (
    r"The first line contains a single integer $t$ ($1 \le t \le 10^4$) — the number of test cases."
    "\n\n"
)
TWO_LINES = (
    r"The first line of each test case contains two integers $n$ and $k$ ($1 \leq n \leq 2 \cdot "
    r"10^5$; $1 \le k \le n$) — the length and a number. The second line contains $n$ integers "
    r"$a_1, a_2, \ldots, a_n$ ($-10^9 \le a_i < 2^{30}$)." + "\n"
    r"It is guaranteed that the sum of $n$ over all test cases does not exceed $3 \cdot 10^5$."
)
TABLE = (
    "The first line contains an integer m (1 ≤ m ≤ 50). Each of the next m lines contains two "
    "integers l_i and r_i (1 ≤ l_i ≤ 1,000, 0 ≤ r_i ≤ 9)."
)
WORD = "The only line contains a string s (1 <= |s| <= 20) consisting of lowercase English letters."
CALL = """Return the k-th number.

Constraints:
- 1 <= nums.length <= 30
- -10^4 <= nums[i] <= 10^4
- 1 <= k <= nums.length
"""


def stdin_problem(statement: str, *inputs: str) -> dict:
    tests = [{"input": text, "output": "0\n"} for text in inputs]
    return problems.make_problem_row(
        id="p", domain="code", mode="stdin", prompt=STDIN.format(statement), tests=tests
    )


def call_problem(prompt: str, *tests: tuple[list, object], header: str = "nums, k") -> dict:
    rows = [{"input": given, "output": output} for given, output in tests]
    return problems.make_problem_row(
        id="c", domain="code", mode="call", prompt=prompt, entry_point="f", time_limit=2,
        starter_code=f"def f({header}):", tests=rows,
    )  # fmt: skip


# --- reading -------------------------------------------------------------------------------------


def test_layout_and_bounds_of_several_test_cases_are_read() -> None:
    problem = stdin_problem(SEVERAL + TWO_LINES, "2\n3 1\n4 5 -6\n1 1\n0\n")
    found = read_constraints(problem)
    assert [(f.name, f.kind, f.size) for f in found.fields] == [
        ("n", "integer", ""),
        ("k", "integer", ""),
        ("a", "list", "n"),
    ]
    assert found.num_cases == "t"
    assert {(-(10**9), "a[]", False), ("a[]", 2**30, True), ("k", "n", False)} <= {*found.bounds}
    assert ("n", 3 * 10**5, False) in found.bounds, "one case is the total over all"
    cases = found.parse("2\n3 1\n4 5 -6\n1 1\n0\n")
    assert cases[0] == {"t": 2, "n": 3, "k": 1, "a": [4, 5, -6]}
    assert found.write(cases[1] | {"t": 1}) == "1\n1 1\n0\n"


@pytest.mark.parametrize(
    ("problem", "fields"),
    [
        (stdin_problem(TABLE, "2\n1 2\n3 0\n"), [("m", "integer"), ("l", "list"), ("r", "list")]),
        (stdin_problem(WORD, "abc\n"), [("s", "text")]),
        (call_problem(CALL, ([[5, 4], 1], 5)), [("nums", "list"), ("k", "integer")]),
        (
            {**call_problem("Bare.", ([["x"]], 1), header="xs: list[int]"),
             "constraints": "0 <= len(xs) <= 9, 0 <= xs[i] <= 3", "tests": [{"input": [[1]]}]},
            [("xs", "list")],
        ),
    ],
)  # fmt: skip
def test_other_layouts(problem: dict, fields: list) -> None:
    found = read_constraints(problem)
    assert [(field.name, field.kind) for field in found.fields] == fields
    for test in problem["tests"]:
        [values] = found.parse(test["input"])
        assert found.write(values) == test["input"]


@pytest.mark.parametrize(
    ("text", "value"),
    [("2 * 10^5", 200_000), ("-10^9", -(10**9)), ("2^31 - 1", 2**31 - 1), ("10^9 + 7", 10**9 + 7),
     ("-2^31", -(2**31)), ("5", 5)],
)  # fmt: skip
def test_numbers(text: str, value: int) -> None:
    assert read_number(text) == value


NUMBERS = "The first line contains an integer n (1 <= n <= 9). The second line contains n integers "


@pytest.mark.parametrize(
    ("statement", "text", "reason"),
    [
        (
            NUMBERS + "a_1, …, a_n (1 <= a_i <= n). It is guaranteed that a is fair.",
            "1\n1\n",
            "pro",
        ),
        (NUMBERS + "a_1, …, a_n (1 <= a_i <= n). All a_i are distinct.", "1\n1\n", "distinct"),
        (NUMBERS + "a_1, …, a_n (1 <= a_i <= n, n is even).", "2\n1 2\n", "even"),
        (NUMBERS + "a_1, …, a_n (1 <= a_1 <= … <= a_n <= 9).", "1\n1\n", "line"),
        (NUMBERS + "a_1, …, a_n (1 <= n * a_i <= 9).", "1\n1\n", "bound"),
        (NUMBERS + "a_1, …, a_n (1 <= a_i <= 2n).", "1\n1\n", "bound"),
        (NUMBERS + "a_1, …, a_n (-m <= a_i <= 9).", "1\n1\n", "bound"),
        (NUMBERS + "a_1, …, a_n, of sum at most 9 (1 <= a_i <= 9).", "1\n1\n", "at most"),
        (NUMBERS + "a_1, …, a_n (1 <= a_i <= 9).", "2\n1\n", "layout"),
        (NUMBERS + "a_1, …, a_n (1 <= a_i <= 9).", "1\n12\n", "breaks a bound"),
        (NUMBERS + "a_1, …, a_n (1 <= a_i <= 9). The last line says what to do.", "1\n1\n", "line"),
        (NUMBERS + "a_1, …, a_n (1 <= a_i).", "1\n1\n", "no bounds"),
        ("The first line contains n - 1 integers (1 <= n <= 9).", "1\n", "line"),
        ("Some numbers.", "1\n", "no line"),
        ("The only line contains an integer n (1 <= n <= 10^999).", "1\n", "number"),
    ],
)
def test_what_is_not_understood_refuses_the_problem(statement: str, text: str, reason: str) -> None:
    with pytest.raises(NotUnderstood, match=reason):
        edge_tests.boundary_inputs(stdin_problem(statement, text), 12)


# --- inputs --------------------------------------------------------------------------------------


def test_edges_are_there() -> None:
    inputs = edge_tests.boundary_inputs(call_problem(CALL, ([[5, 4, 5, 9], 1], 5)), 12)
    lists = [numbers for numbers, _ in inputs]
    assert [-(10**4)] in lists and [10**4] in lists
    assert {len(numbers) for numbers in lists} == {1, 5, 30}
    assert any(numbers == sorted(numbers) and len({*numbers}) == 5 for numbers in lists)
    assert any(numbers == sorted(numbers)[::-1] and len({*numbers}) == 5 for numbers in lists)
    assert any(len(numbers) > 1 and len({*numbers}) == 1 for numbers in lists)
    assert {k for numbers, k in inputs if len(numbers) == 30} >= {1, 30}
    assert len(inputs) == len({str(given) for given in inputs})


def test_no_input_leaves_the_constraints() -> None:
    """Bounds are drawn, written as statements, and checked here by hand."""
    rng = random.Random(0)
    for _ in range(150):
        least, low = rng.randint(0, 3), rng.randint(-20, 5)
        most, high = least + rng.randint(0, 1500), low + rng.randint(0, 10**9)
        statement = (
            f"The first line contains three integers n, l and r ({least} <= n <= {most}, "
            f"{low} <= l <= r <= {high}). The second line contains n integers x_1, …, x_n "
            "(l <= x_i < 2*10^9)."
        )
        sample = f"{least} {low} {high}\n{' '.join([str(high)] * least)}\n"
        for text in edge_tests.boundary_inputs(stdin_problem(statement, sample), 20):
            first, second = (list(map(int, line.split())) for line in text.splitlines())
            n, left, right = first
            assert least <= n == len(second) <= min(most, edge_tests.LARGEST)
            assert low <= left <= right <= high
            assert all(left <= x < 2 * 10**9 for x in second)


def test_what_all_tests_keep_may_be_a_promise() -> None:
    rising = call_problem(CALL, ([[1, 4, 6], 1], 5), ([[2, 3], 1], 5))
    for numbers, _ in edge_tests.boundary_inputs(rising, 20):
        assert numbers == sorted({*numbers})


# --- outputs -------------------------------------------------------------------------------------

GOOD = "def f(nums, k):\n    return sorted(nums)[-k]\n"
OTHER = "import heapq\ndef f(nums, k):\n    return heapq.nlargest(k, nums)[-1]\n"
WRONG = "def f(nums, k):\n    return sorted(set(nums))[-k]\n"
WEAK = call_problem(CALL, ([[5, 4, 5], 1], 5), ([[7, 9, 1, 7], 2], 7))


def passes(program: str, tests: list[dict]) -> bool:
    row = {"id": "x", "domain": "code", "mode": "call", "entry_point": "f", "tests": tests}
    return JUDGE([row | {"program": program}])[0].status == "passed"


def test_edge_tests_catch_a_program_that_the_tests_let_pass() -> None:
    assert passes(WRONG, WEAK["tests"])
    found = edge_tests.find_edge_tests([WEAK], [[GOOD, OTHER]], JUDGE, 12)
    [added], [num_good], [dropped] = found.values()
    assert (len(added) + dropped["no new input"], num_good) == (12, 2)
    assert passes(GOOD, added) and passes(OTHER, added) and not passes(WRONG, added)


def test_a_test_on_which_good_programs_differ_is_dropped() -> None:
    found = edge_tests.find_edge_tests([WEAK], [[GOOD, WRONG]], JUDGE, 12)
    [added], [num_good], [dropped] = found.values()
    assert num_good == 2 and dropped["wrong_answer"] + dropped["runtime_error"] > 0
    assert passes(GOOD, added) and passes(WRONG, added)


@pytest.mark.parametrize(
    ("ending", "status"),
    [("raise ValueError", "runtime_error"), ("while True: pass", "timeout"),
     ("return {1}", "wrong_answer"), ("import os; return os.urandom(4).hex()", "wrong_answer")],
)  # fmt: skip
def test_what_a_good_program_cannot_answer_is_dropped(ending: str, status: str) -> None:
    program = (
        f"def f(nums, k):\n    if len(nums) > 29:\n        {ending}\n    return sorted(nums)[-k]"
    )
    problem = WEAK | {"time_limit": 0.6}
    [added], [num_good], [dropped] = edge_tests.find_edge_tests(
        [problem], [[program]], JUDGE, 12
    ).values()
    assert num_good == 1 and dropped[status] >= 2
    assert added and all(len(test["input"][0]) < 30 for test in added)


def test_without_a_good_program_or_constraints_nothing_is_added() -> None:
    bare = WEAK | {"prompt": "Return the k-th number."}
    found = edge_tests.find_edge_tests([WEAK, bare, bare], [[WRONG[:-3]], [GOOD], []], JUDGE, 5)
    assert found["edge_tests"] == [[], [], []]
    assert found["dropped"] == [
        {"no new input": 1, "no known-good program": 4},
        {"no section on the input": 5},
        {"no section on the input": 5},
    ]


def test_recorded_is_no_verdict_on_a_program() -> None:
    row = {
        "id": "x",
        "domain": "code",
        "mode": "stdin",
        "comparer": "record",
        "program": "print(3)",
    }
    [verdict] = JUDGE([row | {"tests": [{"input": "", "output": ""}]}])
    assert (verdict.status, verdict.reward, verdict.detail["outputs"]) == (
        "recorded",
        None,
        ["3\n"],
    )


def test_tiny_world_gains_tests_that_catch_mutants_and_reject_no_right_program() -> None:
    pool = tinyworld.raw_pool(0, 100, seed=4)
    pool = [row for row in pool if row["planted"] in ("", "weak_tests")]
    found = edge_tests.find_edge_tests(pool, [row["solutions"] for row in pool], JUDGE, 8)
    assert found["num_good"] == [2] * len(pool)
    for row, added in zip(pool, found["edge_tests"], strict=True):
        for test in added:
            given = test["input"]
            numbers = given[0] if row["mode"] == "call" else [*map(int, given.split())]
            truth = code_problems.run_task(row["blueprint"], numbers)
            output = (
                test["output"] if row["mode"] == "call" else re.findall(r"-?\d+", test["output"])
            )
            if row["mode"] == "stdin":
                truth = [*map(str, truth if isinstance(truth, list) else [truth])]
            assert output == truth
    stronger = [
        row | {"tests": row["tests"] + added}
        for row, added in zip(pool, found["edge_tests"], strict=True)
    ]
    nobody = [[] for _ in pool]
    before, after = (
        vote.check_code_problems(rows, nobody, JUDGE, 4, 0) for rows in (pool, stronger)
    )
    weak = [i for i, row in enumerate(pool) if row["planted"]]

    def survive(checks: dict, chosen: list[int]) -> float:
        return sum(checks["surviving_mutants"][i] for i in chosen) / len(chosen)

    assert set(after["known_good"]) == {"passed"}
    assert survive(after, weak) < survive(before, weak) / 2
    assert survive(after, range(len(pool))) < survive(before, range(len(pool)))
