"""The teacher of the tiny world: a rule-based solver that plays DeepSeek-R1's part.

It answers in three styles.  *Quick* names the answer at once, *steps* works it out, *careful* works
it out and checks.  Quick answers are right more often than a tiny student could manage in its head,
yet less often than worked ones; every style slips more on harder problems, so attempts and majority
votes mean something, and RL has better styles to find.
"""

from __future__ import annotations

import random

from ace_lib.tinyworld.code_problems import FILTERS, MAPS, program
from ace_lib.tinyworld.math_problems import apply_operator, operand_value

STYLES = {"quick": 0.4, "steps": 0.4, "careful": 0.2}
QUICK_THOUGHT = "At once."
INVERSE = {"+": "-", "-": "+", "*": "/", "/": "*"}  # of a remainder there is none
# Slip rates are ours: high enough that votes matter, low enough that most majorities are right.
MATH_SLIP_PER_LEVEL = {"quick": 0.08, "steps": 0.02, "careful": 0.02}
CODE_SLIP_PER_LEVEL = {"quick": 0.4, "steps": 0.15, "careful": 0.05}


def _slip(value: int, rng: random.Random) -> int:
    return abs(value + rng.choice((-10, -2, -1, 1, 2, 10)))


def math_lines(blueprint: dict, slip_rate: float, checked: bool, rng: random.Random) -> tuple:
    """Work through the steps, with slips; return the step texts and the final answer.

    A slip is carried on into the later steps, unless ``checked``: then it is noticed and mended.
    """
    values: list[int] = []
    lines: list[str] = []
    for operator, left, right in blueprint["steps"]:
        a, b = operand_value(left, values), operand_value(right, values)
        value = apply_operator(operator, a, b)
        written = _slip(value, rng) if rng.random() < slip_rate else value
        lines.append(f"{a}{operator}{b}={written}")
        if checked and written != value:
            lines += ["no", f"{a}{operator}{b}={value}"]
        if checked:
            inverse = INVERSE.get(operator)
            lines.append(f"({value}{inverse}{b}={a})" if inverse else f"({value}<{b})")
        values.append(value if checked else written)
    return lines, operand_value(blueprint["answer"], values)


def _math_response(problem: dict, style: str, rng: random.Random) -> str:
    blueprint, level = problem["blueprint"], problem["level"]
    slip_rate = MATH_SLIP_PER_LEVEL[style]
    if style == "quick":
        _, answer = math_lines(blueprint, 0.0, False, rng)
        answer = _slip(answer, rng) if rng.random() < slip_rate * level else answer
        thought = QUICK_THOUGHT
    else:
        lines, answer = math_lines(blueprint, slip_rate, style == "careful", rng)
        thought = "\n".join(lines)
    return f"<think>\n{thought}\n</think>\n\\boxed{{{answer}}}"


MIXED_UP = {
    "largest": "smallest",
    "smallest": "largest",
    "first": "last",
    "last": "first",
    "sum": "number",
    "number": "sum",
    "list": "sum",
}


def with_bug(task: dict, rng: random.Random) -> dict:
    """Return the task as a careless reader would take it: one part left out or misread.

    Two slips in three are the likeliest one (the forgotten edge case, else a part left out), so
    careless programs are wrong in the same way, and a student can learn the habit.
    """
    filters, bugs = task["filters"], []
    if task["default"] is not None:
        bugs.append({"default": None})
    if filters:
        bugs.append({"filters": filters[:-1]})
    if task["map"]:
        bugs.append({"map": None})
    bugs.append({"reduce": MIXED_UP[task["reduce"]]})
    if rng.random() < 2 / 3:
        return {**task, **bugs[0]}
    for index, (name, k) in enumerate(filters):
        misread = [[rng.choice([other for other in FILTERS if other != name]), k]]
        misread += [[name, k + 1]] if "{k}" in name else []
        bugs += [{"filters": [*filters[:index], m, *filters[index + 1 :]]} for m in misread]
    if task["map"]:
        other = rng.choice([other for other in MAPS if other != task["map"][0]])
        bugs.append({"map": [other, task["map"][1]]})
    return {**task, **rng.choice(bugs)}


def plan(task: dict) -> str:
    """Name the parts of a task, one a line, in the order in which they run."""
    parts = [f"keep {name.format(k=k)}" for name, k in task["filters"]]
    if task["map"]:
        parts.append(task["map"][0].format(k=task["map"][1]))
    return "\n".join([*parts, task["reduce"]])


def _code_response(problem: dict, style: str, rng: random.Random) -> str:
    task = problem["blueprint"]
    slipped = rng.random() < CODE_SLIP_PER_LEVEL[style] * problem["level"]
    written = with_bug(task, rng) if slipped else task
    thought = QUICK_THOUGHT if style == "quick" else plan(written)
    if style == "careful":
        default = written["default"]
        thought += "\n(none left: " + ("no case)" if default is None else f"{default})")
    code = program(written, problem["mode"], problem["entry_point"])
    return f"<think>\n{thought}\n</think>\n```python\n{code}```"


def teacher_responses(problem: dict, num: int, seed: int, style: str | None = None) -> list[str]:
    """Sample ``num`` responses (the papers take up to 8, P1 section 3.1) to a tiny-world problem.

    Those with equal seed, problem and index are equal. Each is a full response: ``<think>\\n…\\n
    </think>\\n`` followed by the boxed answer or the program. By default each draws its own style.
    """
    write = _math_response if problem["domain"] == "math" else _code_response
    responses = []
    for index in range(num):
        rng = random.Random(f"{seed}/{problem['prompt']}/{index}")
        drawn = style or rng.choices(tuple(STYLES), tuple(STYLES.values()))[0]
        responses.append(write(problem, drawn, rng))
    return responses
