"""Code problems of the tiny world: list pipelines, asked as a function or through stdin.

A task is ``reduce(map(filter(filter(xs))))`` with an optional value for "none left".  Its level is
the number of parts.  Tests hold edge cases: empty lists, boundary values, negatives.
"""

from __future__ import annotations

import random

# Each part has its Python source, with {k} for its number, and its meaning.
FILTERS = {
    "even": ("x%2==0", lambda x, k: x % 2 == 0),
    "odd": ("x%2==1", lambda x, k: x % 2 == 1),
    "positive": ("x>0", lambda x, k: x > 0),
    "negative": ("x<0", lambda x, k: x < 0),
    "greater than {k}": ("x>{k}", lambda x, k: x > k),
    "less than {k}": ("x<{k}", lambda x, k: x < k),
    "divisible by {k}": ("x%{k}==0", lambda x, k: x % k == 0),
}
MAPS = {
    "squares": ("x*x", lambda x, k: x * x),
    "doubles": ("2*x", lambda x, k: 2 * x),
    "triples": ("3*x", lambda x, k: 3 * x),
    "absolute values": ("abs(x)", lambda x, k: abs(x)),
    "negatives": ("-x", lambda x, k: -x),
    "remainders by {k}": ("x%{k}", lambda x, k: x % k),
    "sums with {k}": ("x+{k}", lambda x, k: x + k),
}
REDUCES = {
    "sum": ("sum(ys)", sum),
    "number": ("len(ys)", len),
    "list": ("ys", list),
    "largest": ("max(ys)", max),
    "smallest": ("min(ys)", min),
    "first": ("ys[0]", lambda ys: ys[0]),
    "last": ("ys[-1]", lambda ys: ys[-1]),
}
NEEDS_VALUE = ("largest", "smallest", "first", "last")
FUNCTION_NAMES = ("solve", "f", "answer", "compute")
FORMATS = ("call", "stdin")
# Beside the statement, not in it: the bundled base model has learned the bare statements.
CONSTRAINTS = {
    "call": "0 <= xs.length <= 20, -100 <= xs[i] <= 100",
    "stdin": "The only line contains n integers x_1, x_2, …, x_n (0 ≤ n ≤ 20, -100 ≤ x_i ≤ 100).",
}
NUM_TESTS = 6
HIGHEST_LEVEL = 5


def draw_task(level: int, rng: random.Random) -> dict:
    """Draw the parts of a task of ``level`` 1 to 5: reduce + up to two filters, map, default."""
    parts = {1: (0, 0), 2: (1, 0), 3: (1, 1), 4: (2, 1), 5: (2, 1)}[level]
    if level in (2, 3) and rng.random() < 0.3:
        parts = {2: (0, 1), 3: (2, 0)}[level]
    reduce = rng.choice(tuple(REDUCES))
    # Level 5 always asks for "none left"; lower levels swap their map for it half of the time.
    with_default = reduce in NEEDS_VALUE and level >= 2
    if level == 5 and not with_default:
        reduce, with_default = rng.choice(NEEDS_VALUE), True
    num_filters, num_maps = parts
    if with_default and level in (2, 3, 4):
        num_filters, num_maps = {2: (1, 0), 3: (1, 0), 4: (1, 1)}[level]
    filters = rng.sample(tuple(FILTERS), num_filters)
    if {"even", "odd"} <= set(filters) or {"positive", "negative"} <= set(filters):
        return draw_task(level, rng)  # nothing would be left
    return {
        "filters": [[name, rng.randint(2, 9)] for name in filters],
        "map": [rng.choice(tuple(MAPS)), rng.randint(2, 9)] if num_maps else None,
        "reduce": reduce,
        "default": rng.randint(-9, 99) if with_default else None,
    }


def describe(task: dict) -> str:
    """Say in words what the task asks for: "the sum of the squares of the even numbers"."""
    names = [name.format(k=k) for name, k in task["filters"]]
    before = [name for name in names if " " not in name]
    after = [name for name in names if " " in name]
    numbers = " ".join([*before, "numbers"])
    if after:
        numbers += " " + " and ".join(after)
    mapped = task["map"]
    if mapped:
        numbers = f"{mapped[0].format(k=mapped[1])} of the {numbers}"
    noun = {"number": "number of", "list": "list of"}.get(task["reduce"], f"{task['reduce']} of")
    text = f"the {noun} the {numbers}"
    return text if task["default"] is None else f"{text}, or {task['default']} if there are none"


def program(task: dict, mode: str, entry_point: str, functional: bool = False) -> str:
    """Write the program of a task, in the one style that the world uses, or with filter and map."""
    where = " and ".join(FILTERS[name][0].format(k=k) for name, k in task["filters"])
    expression = MAPS[task["map"][0]][0].format(k=task["map"][1]) if task["map"] else "x"
    comprehension = f"[{expression} for x in xs{f' if {where}' if where else ''}]"
    if functional:
        comprehension = f"list(map(lambda x: {expression}, filter(lambda x: {where or True}, xs)))"
    result = REDUCES[task["reduce"]][0]
    if task["default"] is not None:
        result = f"{result} if ys else {task['default']}"
    if mode == "call":
        return f"def {entry_point}(xs):\n    ys = {comprehension}\n    return {result}\n"
    printed = "*ys" if result == "ys" else result
    return f"xs = list(map(int, input().split()))\nys = {comprehension}\nprint({printed})\n"


def run_task(task: dict, numbers: list[int]) -> int | list[int] | None:
    """Return the task's true result, None where it is undefined (largest of nothing)."""
    values = [x for x in numbers if all(FILTERS[name][1](x, k) for name, k in task["filters"])]
    if task["map"]:
        name, k = task["map"]
        values = [MAPS[name][1](x, k) for x in values]
    if not values and task["reduce"] in NEEDS_VALUE:
        return task["default"]
    return REDUCES[task["reduce"]][1](values)


def candidate_inputs(task: dict, rng: random.Random) -> list[list[int]]:
    """Return edge-case lists first (empty, boundaries, negatives), then random ones."""
    edges = [k + shift for _, k in task["filters"] for shift in (-1, 0, 1)] or [0, 1]
    lists = [[], [*edges, -edges[0]], [-4, -3, -2, -1, 0, 1, 2, 3, 4], [rng.randint(-20, 20)]]
    while len(lists) < 3 * NUM_TESTS:
        lists.append([rng.randint(-20, 20) for _ in range(rng.randint(2, 8))])
    return lists


def make_tests(task: dict, mode: str, rng: random.Random) -> list[dict]:
    """Return `NUM_TESTS` tests on which the task is defined, in the verifier's format."""
    tests = []
    for numbers in candidate_inputs(task, rng):
        result = run_task(task, numbers)
        if result is None:
            continue
        if mode == "call":
            tests.append({"input": [numbers], "output": result})
        else:
            shown = " ".join(map(str, result)) if isinstance(result, list) else str(result)
            tests.append({"input": " ".join(map(str, numbers)) + "\n", "output": shown + "\n"})
        if len(tests) == NUM_TESTS:
            break
    return tests


def make_code_problem(mode: str, level: int, rng: random.Random) -> dict:
    """Draw a problem row without ``id`` and ``source``, with its ``blueprint``.

    The mode is "call" (a function) or "stdin" (a whole program), the two formats of P1 section 3.2;
    the level, 1 to 5, is the number of parts of the pipeline.
    """
    tests: list[dict] = []
    # One answer for every list means that no list passes the filters: draw again.
    while len(tests) < NUM_TESTS or len({str(test["output"]) for test in tests}) == 1:
        task = draw_task(level, rng)
        tests = make_tests(task, mode, rng)
    entry_point = rng.choice(FUNCTION_NAMES) if mode == "call" else ""
    if mode == "call":
        start = f"Write a function {entry_point}(xs) that returns"
    else:
        start = rng.choice(
            ["Read integers from one line and print", "Given a line of integers, print"]
        )
    return {
        "domain": "code",
        "prompt": f"{start} {describe(task)}.",
        "gold": "",
        "mode": mode,
        "entry_point": entry_point,
        "starter_code": f"def {entry_point}(xs):" if mode == "call" else "",
        "tests": tests,
        "time_limit": 2.0,
        "topic": mode,
        "level": level,
        "blueprint": task,
    }
