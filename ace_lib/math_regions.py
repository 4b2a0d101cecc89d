"""Sets of numbers on the line: inequalities, intervals, unions.

A region is ("region", [(low, low is in, high, high is in), …]).
"""

from ace_lib.math_parse import Node
from ace_lib.math_tokens import Unparsed
from ace_lib.math_value import Evaluator, letters_of, mp, to_mp

ORDER = ("<", "<=", ">", ">=")
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def inequality(operators: list[str], sides: list[Node]) -> Node:
    """x < 3, 1 <= x < 4 as a region of the line; others stay as they are."""
    if len(sides) == 2 and not letters_of(sides[0]) and letters_of(sides[1]):
        operators, sides = [_FLIPPED[operators[0]]], sides[::-1]
    absolute = sides[0][:2] == ("fn", "abs") and sides[0][2][0] == "sym"
    if len(sides) == 2 and absolute and operators[0][0] == "<":  # |x| < 3
        operators, sides = operators * 2, [("neg", sides[1]), sides[0][2], sides[1]]
    if len(sides) == 2 and sides[0][0] == "sym" and not letters_of(sides[1]):
        bound, closed = constant(sides[1]), "=" in operators[0]
        if operators[0][0] == "<":
            return ("region", [(-mp().inf, False, bound, closed)])
        return ("region", [(bound, closed, mp().inf, False)])
    if len(sides) == 3 and sides[1][0] == "sym" and operators[0][0] == operators[1][0]:
        if operators[0][0] == ">":
            operators, sides = [_FLIPPED[o] for o in operators[::-1]], sides[::-1]
        low, high = constant(sides[0]), constant(sides[2])
        return ("region", [(low, "=" in operators[0], high, "=" in operators[1])])
    return ("statement", tuple(operators), sides)


def constant(node: Node) -> object:
    """The number a tree stands for, in a form that can be ordered."""
    return to_mp(Evaluator({}).value(node))


def set_operation(kind: str, left: Node, right: Node) -> Node:
    """The union of two sets of numbers, or one without some points of the other.

    Raises:
        Unparsed: another operation, or no sets of numbers.
    """
    parts = [intervals(left), intervals(right)]
    if kind == "union":
        return ("region", merge(parts[0] + parts[1]))
    if kind == "minus_set" and all(a == b for a, _, b, _ in parts[1]):
        region = parts[0]
        for point, *_ in parts[1]:
            region = [piece for part in region for piece in _without(part, point)]
        return ("region", region)
    raise Unparsed("this set operation")


def intervals(node: Node) -> list[tuple]:
    """Intervals (low, closed, high, closed) of a region, an interval or a set of points."""
    if node[0] == "region":
        return node[1]
    if node[0] == "bracket" and len(node[3]) == 2 and node[1] in "([":
        low, high = map(constant, node[3])
        return [(low, node[1] == "[", high, node[2] == "]")]
    if node[0] == "set":
        return [(value, True, value, True) for value in map(constant, node[1])]
    raise Unparsed("not a set of numbers")


def _without(part: tuple, point: object) -> list[tuple]:
    low, low_closed, high, high_closed = part
    if not low <= point <= high:
        return [part]
    pieces = [(low, low_closed and point != low, point, False)] if low < point else []
    return pieces + ([(point, False, high, high_closed and point != high)] if point < high else [])


def merge(parts: list[tuple]) -> list[tuple]:
    """Intervals in order, those that touch or overlap made one."""
    merged: list[tuple] = []
    for part in sorted(parts, key=lambda p: (p[0], not p[1])):
        if merged:
            low, low_closed, high, high_closed = merged[-1]
            if part[0] < high or (part[0] == high and (part[1] or high_closed)):
                end = max((high, high_closed), (part[2], part[3]))
                merged[-1] = (low, low_closed, *end)
                continue
        merged.append(part)
    return merged
