"""Math problems of the tiny world: four topics, one arithmetic step per level, 1 to 10.

Levels above 5 are those of the world `mid`, which has longer chains of the same kinds.

A problem is a short statement plus a *blueprint*: the chain of steps that solves it.  The blueprint
plays the part of the truth in the teacher's head; no step of the recipe other than the teacher
reads it.  A step is ``[operator, left, right]``; an operand is an integer or ``"#i"``, the value of
step ``i``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from operator import add, floordiv, mod, mul, sub

Operand = int | str
Step = tuple[str, Operand, Operand]

LARGEST_VALUE = 199
OPERATORS = {"+": add, "-": sub, "*": mul, "/": floordiv, "%": mod}
NAMES = ("Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus", "Hana")


def apply_operator(operator: str, left: int, right: int) -> int:
    """Return the value of one step; division and remainder by zero return ``left``."""
    if operator in "/%" and right == 0:  # only a slip of the teacher's can lead here
        return left
    return OPERATORS[operator](left, right)


def operand_value(operand: Operand, values: list[int]) -> int:
    """Resolve an operand: ``"#i"`` is the value of step ``i``, an integer is itself."""
    return values[int(operand[1:])] if isinstance(operand, str) else operand


def step_values(steps: list[Step]) -> list[int]:
    """Return the exact value of every step, in order."""
    values: list[int] = []
    for operator, *operands in steps:
        values.append(apply_operator(operator, *(operand_value(o, values) for o in operands)))
    return values


class _Rejected(Exception):
    """A draw left the range of numbers that the world uses: draw again."""


def _grow(value: int, rng: random.Random) -> tuple[str, int, int]:
    """Draw one operation on ``value`` whose result stays in 1..LARGEST_VALUE."""
    operator = rng.choice("++-**")
    number = rng.randint(2, 9) if operator == "*" else rng.randint(2, 60)
    result = apply_operator(operator, value, number)
    if not 1 <= result <= LARGEST_VALUE:
        raise _Rejected
    return operator, number, result


def _definitions(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    value = rng.randint(2, 40)
    lines, steps = [f"a = {value}"], []
    for index in range(level):
        operator, number, result = _grow(value, rng)
        previous, name = "abcdefghijk"[index : index + 2]
        lines.append(f"{name} = {previous} {operator} {number}")
        steps.append((operator, value if index == 0 else f"#{index - 1}", number))
        value = result
    last = "abcdefghijk"[level]
    text = ", ".join(lines)
    return rng.choice([f"Let {text}. Find {last}.", f"Given that {text}, what is {last}?"]), steps


def _number_machine(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    words = {"+": "add {}", "-": "subtract {}", "*": "multiply by {}"}
    start = value = rng.randint(2, 40)
    actions, steps = [], []
    for index in range(level):
        operator, number, value = _grow(value, rng)
        actions.append(words[operator].format(number))
        steps.append((operator, start if index == 0 else f"#{index - 1}", number))
    name = rng.choice(NAMES)
    text = ", then ".join(actions)
    return f"{name} thinks of the number {start}. After that: {text}. What is the result?", steps


def _equation(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    inverse = {"+": "-", "-": "+", "*": "/"}
    value = rng.randint(2, 12)
    expression, undo = "x", []
    for index in range(level):
        operator, number, value = _grow(value, rng)
        if operator == "*":
            expression = f"{number} * {expression}" if index == 0 else f"{number} * ({expression})"
        else:
            expression = f"{expression} {operator} {number}"
        undo.append((inverse[operator], number))
    steps = [
        (operator, value if index == 0 else f"#{index - 1}", number)
        for index, (operator, number) in enumerate(reversed(undo))
    ]
    form = rng.choice(["Solve for x: {}.", "Find the x with {}."])
    return form.format(f"{expression} = {value}"), steps


def _greatest_common_divisor(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    left, right = sorted((rng.randint(4, LARGEST_VALUE), rng.randint(3, 120)), reverse=True)
    steps: list[Step] = []
    first, second = left, right
    operands: list[Operand] = [left, right]
    while second:
        steps.append(("%", *operands[-2:]))
        operands.append(f"#{len(steps) - 1}")
        first, second = second, first % second
    if len(steps) != level:
        raise _Rejected
    form = rng.choice(["Find gcd({}, {}).", "What is the greatest common divisor of {} and {}?"])
    return form.format(left, right), steps


def _sum_of_products(level: int, rng: random.Random) -> tuple[list[tuple[int, int]], list[Step]]:
    """Pairs of numbers, and the steps that multiply each pair and add up: 2 · pairs - 1 of them."""
    pairs = [(rng.randint(2, 7), rng.randint(2, 7)) for _ in range((level + 1) // 2)]
    steps: list[Step] = [("*", *pair) for pair in pairs]
    steps.append(("+", "#0", "#1"))
    steps += [("+", f"#{len(pairs) + i}", f"#{i + 2}") for i in range(len(pairs) - 2)]
    return pairs, steps


def _remainder(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    modulus = rng.randint(3, 12)
    if level > 5:
        pairs, steps = _sum_of_products(level - 1, rng)
        expression = " + ".join(f"{a} * {b}" for a, b in pairs)
        if level % 2:
            expression += f" - {pairs[0][0]}"
            steps.append(("-", f"#{len(steps) - 1}", pairs[0][0]))
        steps.append(("%", f"#{len(steps) - 1}", modulus))
        return f"What is {expression} modulo {modulus}?", steps
    small = [rng.randint(2, 12) for _ in range(4)]
    large = rng.randint(10, 90)
    if level == 1:
        large = rng.randint(13, LARGEST_VALUE)
        expression, steps = f"{large}", [("%", large, modulus)]
    elif level == 2:
        other = rng.randint(10, 90)
        expression = f"{large} + {other}"
        steps = [("+", large, other), ("%", "#0", modulus)]
    elif level == 3:
        expression = f"{small[0]} * {small[1]} + {large}"
        steps = [("*", small[0], small[1]), ("+", "#0", large), ("%", "#1", modulus)]
    else:
        expression = f"{small[0]} * {small[1]} + {small[2]} * {small[3]}"
        steps = [("*", small[0], small[1]), ("*", small[2], small[3]), ("+", "#0", "#1")]
        if level == 5:
            expression += f" - {small[1]}"
            steps.append(("-", "#2", small[1]))
        steps.append(("%", f"#{level - 2}", modulus))
    form = rng.choice(["Find the remainder when {} is divided by {}.", "What is {} modulo {}?"])
    return form.format(expression, modulus), steps


def _choices(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    if level > 5:
        raise _Rejected
    things = ["soups", "mains", "salads", "desserts", "drinks", "sauces"]
    rng.shuffle(things)
    counts = [rng.randint(2, 12 if level == 1 else 6) for _ in range(level + 1)]
    steps: list[Step] = [("*", counts[0], counts[1])]
    steps += [("*", f"#{index}", count) for index, count in enumerate(counts[2:])]
    parts = [f"{count} {thing}" for count, thing in zip(counts, things, strict=False)]
    text = ", ".join(parts[:-1]) + " and " + parts[-1]
    place = rng.choice(["A menu lists", "A shop offers", "The canteen has"])
    return f"{place} {text}. How many ways are there to take one of each?", steps


def _pairs_of_clubs(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    """Pairs in several clubs and more besides; a club takes three steps, the first one two."""
    num_clubs, num_extra = (level + 1) // 3, (level + 1) % 3
    clubs = [rng.randint(3, 12) for _ in range(num_clubs)]
    extra = [rng.randint(2, 30) for _ in range(num_extra)]
    steps: list[Step] = []
    for index, club in enumerate(clubs):
        total = len(steps) - 1
        steps += [("*", club, club - 1), ("/", f"#{total + 1}", 2)]
        if index:
            steps.append(("+", f"#{total}", f"#{total + 2}"))
    steps += [("+", f"#{len(steps) - 1 + i}", number) for i, number in enumerate(extra)]
    text = f"There are clubs of {', '.join(map(str, clubs[:-1]))} and {clubs[-1]} players"
    more = f", and {' and '.join(map(str, extra))} pairs besides" if extra else ""
    return f"{text}{more}. How many pairs of players of one club are there in all?", steps


def _pairs(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    if level > 5:
        return _pairs_of_clubs(level, rng)
    number, other, extra = rng.randint(4, 18), rng.randint(3, 9), rng.randint(2, 60)
    steps: list[Step] = [("*", number, number - 1), ("/", "#0", 2)]
    text = f"A club has {number} players. How many pairs of players are there"
    if level == 2:
        return f"{text}?", steps
    if level == 3:
        steps.append(("+", "#1", extra))
        return f"{text}, if {extra} more pairs come from another club?", steps
    if level == 4:
        factor = rng.randint(2, 4)
        steps += [("*", "#1", factor), ("+", "#2", extra)]
        return f"{text} in {factor} such clubs, with {extra} more pairs from another club?", steps
    if level == 5:
        steps += [("*", other, other - 1), ("/", "#2", 2), ("+", "#1", "#3")]
        return f"{text}, together with the pairs of a club of {other}?", steps
    raise _Rejected


def _perimeter(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    shapes = {1: "path", 2: "triangle", 3: "quadrilateral", 4: "pentagon", 5: "hexagon"}
    shape = shapes.get(level, "polygon")
    sides = [rng.randint(3, 60 if level <= 5 else 25) for _ in range(level + 1)]
    steps: list[Step] = [("+", sides[0], sides[1])]
    steps += [("+", f"#{index}", side) for index, side in enumerate(sides[2:])]
    text = ", ".join(map(str, sides[:-1])) + f" and {sides[-1]}"
    question = "its length" if level == 1 else "its perimeter"
    return f"A {shape} has sides of length {text}. What is {question}?", steps


def _areas(level: int, rng: random.Random) -> tuple[str, list[Step]]:
    if level > 5:
        hole = rng.randint(2, 13)
        pairs, steps = _sum_of_products(level - (level + 1) % 2, rng)
        text = ", ".join(f"{a} by {b}" for a, b in pairs)
        if level % 2:
            return f"Rectangles are {text}. Find their total area.", steps
        steps.append(("-", f"#{len(steps) - 1}", hole))
        return f"Rectangles are {text}. Find their total area without a hole of {hole}.", steps
    a, b, c, d, e, f = (rng.randint(2, 13) for _ in range(6))
    if level == 1:
        return f"Find the area of a rectangle that is {a} by {b}.", [("*", a, b)]
    if level == 2:
        steps = [("+", a + c, b), ("*", "#0", 2)]
        return f"Find the perimeter of a rectangle that is {a + c} by {b}.", steps
    steps = [("*", a, b), ("*", c, d), ("+", "#0", "#1")]
    text = f"{a} by {b} and {c} by {d}"
    if level == 3:
        return f"Two rectangles are {text}. Find their total area.", steps
    if level == 4:
        steps.append(("-", "#2", e))
        return f"Two rectangles are {text}. Find their total area without a hole of {e}.", steps
    steps += [("*", e, f), ("+", "#2", "#3")]
    text = f"{a} by {b}, {c} by {d} and {e} by {f}"
    return f"Three rectangles are {text}. Find their total area.", steps


KINDS: dict[str, tuple[Callable[[int, random.Random], tuple[str, list[Step]]], ...]] = {
    "algebra": (_definitions, _number_machine, _equation),
    "number_theory": (_greatest_common_divisor, _remainder),
    "combinatorics": (_choices, _pairs),
    "geometry": (_perimeter, _areas),
}
TOPICS = tuple(KINDS)


def make_math_problem(topic: str, level: int, rng: random.Random) -> dict:
    """Draw a problem row without ``id`` and ``source``, with its ``blueprint``.

    The topic is one of `TOPICS`, the papers' four (P1 section 3.1), else KeyError; the level, 1 to
    10, is the number of arithmetic steps.
    """
    while True:
        kind = rng.choice(KINDS[topic])
        try:
            prompt, steps = kind(level, rng)
        except _Rejected:
            continue
        values = step_values(steps)
        if not all(0 <= value <= LARGEST_VALUE for value in values):
            continue
        # Euclid ends on remainder 0: the answer is the last divisor, not the last value.
        answer = steps[-1][2] if kind is _greatest_common_divisor else f"#{len(steps) - 1}"
        return {
            "domain": "math",
            "prompt": prompt,
            "gold": str(operand_value(answer, values)),
            "topic": topic,
            "level": level,
            "blueprint": {"steps": [list(step) for step in steps], "answer": answer},
        }
