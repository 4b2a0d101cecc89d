"""New tests for code problems: inputs on the edges of the constraints, answered by good programs.

An input is kept when every known-good program answers it, in half of the time limit, and the
verifier finds their answers equal. P1 section 3.2 asks for strong tests and says nothing of how:
shapes, sizes and rules are ours.
"""

import random
from collections import Counter
from collections.abc import Callable
from math import inf

from ace_lib.input_constraints import read_constraints
from ace_lib.input_layout import Bound, Constraints, NotUnderstood
from ace_lib.vote import Judge

LARGEST = 1_000  # items of an input: tests stay small files, and slow good programs end
FEW = 5


def _rising(low: int, high: int, size: int, rng: random.Random) -> list[int]:
    return [low + i * (high - low) // max(1, size - 1) for i in range(size)]


SHAPES: dict[str, Callable[[int, int, int, random.Random], list[int]]] = {
    "lowest": lambda low, high, size, rng: [low] * size,
    "highest": lambda low, high, size, rng: [high] * size,
    "rising": _rising,
    "falling": lambda low, high, size, rng: _rising(low, high, size, rng)[::-1],
    "swinging": lambda low, high, size, rng: [(high, low)[i % 2] for i in range(size)],
    "near_zero": lambda low, high, size, rng: [min(max(i % 3 - 1, low), high) for i in range(size)],
    "repeated": lambda low, high, size, rng: rng.choices(
        [rng.randint(low, high) for _ in range(2)], k=size
    ),
    "mixed": lambda low, high, size, rng: [rng.randint(low, high) for _ in range(size)],
}
"""The items of a list between their bounds, or the letters of a text."""
EDGES = (  # size of lists and texts, other numbers, shape
    (0, "low", "lowest"), (1, "low", "lowest"), (1, "high", "highest"), (1, "low", "near_zero"),
    (FEW, "high", "near_zero"), (FEW, "low", "rising"), (FEW, "high", "falling"),
    (FEW, "low", "repeated"), (FEW, "high", "swinging"), (LARGEST, "high", "highest"),
    (LARGEST, "low", "lowest"), (LARGEST, "any", "mixed"),
)  # fmt: skip


def find_edge_tests(
    problems: list[dict], programs: list[list[str]], judge: Judge, number: int
) -> dict[str, list]:
    """Find up to `number` new tests for each problem (see `EDGES`; more are random).

    `programs` are candidates for known-good ones, per problem: those that fail its tests are left
    out. Returns, per problem, `edge_tests`, `num_good` (how many programs agree on them; one alone
    cannot be contradicted) and `dropped`, why the others are none: counts by reason.
    """
    dropped: list[Counter] = [Counter() for _ in problems]
    tests: list[list[dict]] = [[] for _ in problems]
    for i, problem in enumerate(problems):
        try:
            tests[i] = [
                {"input": given, "output": ""} for given in boundary_inputs(problem, number)
            ]
            dropped[i]["no new input"] = number - len(tests[i])
        except NotUnderstood as error:
            dropped[i][str(error)] = number
    good = _find_good(
        problems, [p if t else [] for p, t in zip(programs, tests, strict=True)], judge
    )
    for i in range(len(problems)):
        if tests[i] and not good[i]:
            dropped[i]["no known-good program"], tests[i] = len(tests[i]), []
    timed = [p | {"time_limit": p["time_limit"] / 2} for p in problems]
    recorded = [p | {"comparer": "record"} for p in timed]
    _drop_failed(recorded, [texts[:1] for texts in good], tests, dropped, judge)
    _drop_failed(timed, good, tests, dropped, judge)
    return {"edge_tests": tests, "num_good": list(map(len, good)), "dropped": dropped}


def _find_good(problems: list[dict], programs: list[list[str]], judge: Judge) -> list[list[str]]:
    wanted = [(i, text) for i, texts in enumerate(programs) for text in dict.fromkeys(texts)]
    verdicts = judge([_row(problems[i], text, problems[i]["tests"]) for i, text in wanted])
    good: list[list[str]] = [[] for _ in problems]
    for (i, text), verdict in zip(wanted, verdicts, strict=True):
        if verdict.status == "passed":
            good[i].append(text)
    return good


def _row(problem: dict, program: str, tests: list[dict]) -> dict:
    names = ("id", "mode", "entry_point", "time_limit", "memory_mb", "comparer", "checker")
    known = {name: problem[name] for name in names if name in problem}
    return known | {"domain": "code", "program": program, "tests": tests}


def _drop_failed(
    problems: list[dict],
    programs: list[list[str]],
    tests: list[list[dict]],
    dropped: list[Counter],
    judge: Judge,
) -> None:
    """Drop tests, in place, until every program passes all that are left; keep what it recorded."""
    waiting = {i for i in range(len(problems)) if tests[i]}
    while waiting:
        wanted = [(i, text) for i in sorted(waiting) for text in programs[i]]
        verdicts = judge([_row(problems[i], text, tests[i]) for i, text in wanted])
        failed = {}
        for (i, _), verdict in zip(wanted, verdicts, strict=True):
            if verdict.status == "recorded":
                for test, output in zip(tests[i], verdict.detail["outputs"], strict=True):
                    test["output"] = output
            elif verdict.status != "passed":
                failed[i] = verdict
        for i, verdict in failed.items():
            at = verdict.detail.get("test")
            gone = tests[i][:] if at is None else [tests[i][at]]
            tests[i] = [test for test in tests[i] if not any(test is one for one in gone)]
            dropped[i][verdict.status] += len(gone)
        waiting = {i for i in failed if tests[i]}


# --- inputs --------------------------------------------------------------------------------------


def boundary_inputs(problem: dict, number: int) -> list[str] | list[list]:
    """Return up to `number` new inputs within a problem's constraints, one test case each.

    Raises NotUnderstood when the constraints cannot be read, or leave a name without a bound.
    """
    constraints = read_constraints(problem)
    samples = [case for test in problem["tests"] for case in constraints.parse(test["input"])]
    rng = random.Random(problem["id"])
    known = [test["input"] for test in problem["tests"]]
    found: list = []
    for index in range(number):
        edge = EDGES[index] if index < len(EDGES) else (rng.randint(1, 30), "any", "mixed")
        values = _choose(constraints, samples, edge, rng)
        given = constraints.write(values)
        if constraints.hold(values) and not _breaks_habit(values, samples):
            found += [given] if given not in known + found else []
    return found


def _choose(
    constraints: Constraints, samples: list[dict], edge: tuple[int, str, str], rng: random.Random
) -> dict:
    """Choose the values of a test case: sizes, then other numbers, then items and letters."""
    size, end, shape = edge
    fields = constraints.fields
    sizes = [field.size for field in fields if field.size]
    scalars = [field.name for field in fields if field.kind == "integer"]
    values = {constraints.num_cases: 1}
    for name in dict.fromkeys([*sizes, *scalars]):
        low, high = _limits(name, constraints.bounds, values)
        wanted = {"low": low, "high": high, "any": rng.randint(low, high)}[end]
        values[name] = min(max(size, low), high) if name in sizes else wanted
    for field in fields:
        if field.kind == "list":
            low, high = _limits(f"{field.name}[]", constraints.bounds, values)
            values[field.name] = SHAPES[shape](low, high, values[field.size], rng)
        elif field.kind == "text":
            letters = sorted({letter for sample in samples for letter in sample[field.name]})
            if not letters:
                raise NotUnderstood("no letter in any test")
            picked = SHAPES[shape](0, len(letters) - 1, values[field.size], rng)
            values[field.name] = "".join(letters[i] for i in picked)
    return values


def _limits(name: str, bounds: tuple[Bound, ...], values: dict) -> tuple[int, int]:
    """Return the least and the greatest value of a name that leave room for all others.

    Bounds have the form a <= b, where narrowing until nothing changes is exact. Raises
    NotUnderstood when there is no value, or one end is open.
    """
    least = {term: values.get(term, -inf) for bound in bounds for term in bound[:2]}
    greatest = {term: values.get(term, inf) for term in least}
    for number in (term for term in least if isinstance(term, int)):
        least[number] = greatest[number] = number
    for _ in bounds:  # the longest chain is no longer than that
        for low, high, strict in bounds:
            least[high] = max(least[high], least[low] + strict)
            greatest[low] = min(greatest[low], greatest[high] - strict)
    low, high = least.get(name, -inf), greatest.get(name, inf)
    if not -inf < low <= high < inf:
        raise NotUnderstood(f"no bounds of {name}")
    return low, high


def _breaks_habit(values: dict, samples: list[dict]) -> bool:
    """Say whether a list is unlike all in the problem's tests: those may keep a promise."""
    return any(
        all(keeps(sample[name]) for sample in seen) and not keeps(items)
        for name, items in values.items()
        if isinstance(items, list)
        if (seen := [sample for sample in samples if len(sample[name]) > 1])
        for keeps in (_is_rising, lambda part: _is_rising(part[::-1]), _is_distinct)
    )


def _is_rising(items: list[int]) -> bool:
    return items == sorted(items)


def _is_distinct(items: list[int]) -> bool:
    return len(set(items)) == len(items)
