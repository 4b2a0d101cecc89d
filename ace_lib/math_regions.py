"""Sets of numbers on the line: inequalities, intervals, unions.

A region is ("region", [(low, low is in, high, high is in), …]).
"""

from ace_lib.math_operands import Node
from ace_lib.math_tokens import Unparsed
from ace_lib.math_value import Evaluator, letters_of, mp, to_mp

ORDER = ("<", "<=", ">", ">=", "!=")
_FLIPPED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "!=": "!="}


def inequality(operators: list[str], sides: list[Node]) -> Node:
    """x < 3, 1 <= x < 4, |x| > 2, x != 0 as a named region of the line; others as statements."""
    if len(sides) == 2 and not letters_of(sides[0]):
        operators, sides = [_FLIPPED[operators[0]]], sides[::-1]
    if len(sides) == 2 and not letters_of(sides[1]):
        operator, left, bound = operators[0], sides[0], constant(sides[1])
        if name := _bounded_name(left):
            return ("named", ("region", _ray(operator, bound)), name, left)
        if left[:2] == ("fn", "abs") and left[2][0] == "sym" and operator != "!=":
            far = merge(_ray(_FLIPPED[operator], -bound) + _ray(operator, bound))
            near = intersect(_ray(_FLIPPED[operator], -bound), _ray(operator, bound))
            region = near if operator[0] == "<" else far
            return ("named", ("region", region), left[2][1], left[2])
    if len(sides) == 3 and operators[0][0] == operators[1][0] != "!":
        first, second = (inequality(operators[i:][:1], sides[i:][:2]) for i in (0, 1))
        if first[0] == second[0] == "named":
            return ("named", ("region", intersect(first[1][1], second[1][1])), *first[2:])
    if operators[0][0] == ">":
        operators, sides = [_FLIPPED[operator] for operator in operators[::-1]], sides[::-1]
    return ("statement", tuple(operators), sides)


def _bounded_name(node: Node) -> str | None:
    """A letter, or the f of f(x), which the parser takes for a product."""
    if node[0] == "mul" and node[1][0] == node[2][0] == "sym" and node[1][1] in ("f", "g", "h"):
        return node[1][1]
    return node[1] if node[0] == "sym" else None


def _ray(operator: str, bound: object) -> list[tuple]:
    """The numbers x with x `operator` bound."""
    closed = operator in ("<=", ">=")
    below, above = (-mp().inf, False, bound, closed), (bound, closed, mp().inf, False)
    return {"<": [below], ">": [above], "!": [below, above]}[operator[0]]


def constant(node: Node) -> object:
    """The number a tree stands for, in a form that can be ordered."""
    return to_mp(Evaluator({}).value(node))


def set_operation(kind: str, left: Node, right: Node) -> Node:
    """The union, intersection or difference of two sets of numbers.

    Raises Unparsed: no sets of numbers.
    """
    first, second = intervals(left), intervals(right)
    if kind == "union":
        return ("region", merge(first + second))
    return ("region", intersect(first, _complement(second) if kind == "minus_set" else second))


def intervals(node: Node) -> list[tuple]:
    """Intervals (low, closed, high, closed) of a region, an interval or a set of points."""
    if node[0] == "region":
        return node[1]
    if node[0] == "bracket" and len(node[3]) == 2 and node[1] in "([":
        low, high = map(constant, node[3])
        return [(low, node[1] == "[", high, node[2] == "]")]
    if node[0] == "set":
        return [part for item in node[1] for part in _member(item)]
    raise Unparsed("not a set of numbers")


def _member(item: Node) -> list[tuple]:
    """A point of the line, or one of several intervals in a list."""
    if item[0] == "bracket":
        return intervals(item)
    return [(constant(item), True, constant(item), True)]


def intersect(first: list[tuple], second: list[tuple]) -> list[tuple]:
    """What two lists of intervals have in common: the complement of what either lacks."""
    return _complement(_complement(first) + _complement(second))


def _complement(parts: list[tuple]) -> list[tuple]:
    rest, low, closed = [], -mp().inf, False
    for part in merge(parts):
        if low < part[0] or (closed and not part[1] and low == part[0]):
            rest.append((low, closed, part[0], not part[1]))
        low, closed = part[2], not part[3]
    return rest + ([(low, closed, mp().inf, False)] if low < mp().inf else [])


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
