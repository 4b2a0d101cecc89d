"""What makes two answers the same: sets, tuples, intervals, equations, units, words.

`compare` follows the policy of notebook 02: exact values, solution lists as sets, ordered tuples,
brackets that matter, a unit or `x =` that may be missing on one side but not contradict.
"""

import operator

from ace_lib.math_operands import Node
from ace_lib.math_regions import intervals, merge
from ace_lib.math_shapes import name_of, shape, signs_apart
from ace_lib.math_tokens import Unparsed
from ace_lib.math_units import scale_between
from ace_lib.math_value import (
    Evaluator,
    Number,
    TooLarge,
    evaluate_both,
    is_real,
    letters_of,
    same_number,
    same_value,
    to_mp,
)

MAX_PAIRS = 20_000  # of members of two sets that are compared with each other


def compare(gold: Node, answer: Node) -> bool:
    """Whether `answer` is right for `gold`.

    Raises Unparsed: the two cannot be compared by these rules.
    """
    try:
        expected = shape(gold, is_gold=True)
        right = _same(expected, shape(answer, is_gold=gold[0] == "about"))
        return right or (expected[0] == "set" and _same_signs_apart(expected, answer))
    except TooLarge:
        return gold == answer
    except (ZeroDivisionError, OverflowError):
        return False


def _same_signs_apart(expected: Node, answer: Node) -> bool:
    try:
        return _same(expected, shape(signs_apart(answer)))
    except Unparsed:
        return False


def _same(gold: Node, answer: Node) -> bool:
    kinds = {gold[0], answer[0]}
    for kind, rule in _RULES.items():  # from the outermost shape to the innermost
        if kind in kinds:
            return rule(gold, answer)
    return gold == answer or same_value(gold, answer)


def _safely_same(a: Node, b: Node) -> bool:
    try:
        return _same(a, b)
    except (Unparsed, ArithmeticError):
        return a == b


def _same_all(golds: list[Node], answers: list[Node]) -> bool:
    return len(golds) == len(answers) and all(map(_same, golds, answers))


def _parts(node: Node, kind: str) -> list[Node]:
    return node[1] if node[0] == kind else [node]


def _same_chains(gold: Node, answer: Node) -> bool:
    return all(
        _same(one, other) for one in _parts(gold, "chain") for other in _parts(answer, "chain")
    )


def _same_named(gold: Node, answer: Node) -> bool:
    """`x = 5` against `5` is right, against `y = 5` wrong; `y = 1 - x` is `x = 1 - y`."""
    if gold[0] == answer[0] and gold[2] == answer[2]:
        return _same(gold[1], answer[1])
    if gold[0] in ("named", "equation") and answer[0] in ("named", "equation"):
        return _same_equations(_as_equation(gold), _as_equation(answer))
    values = [node[1] if node[0] == "named" else node for node in (gold, answer)]
    return _same(*values)


def _as_equation(node: Node) -> Node:
    return node if node[0] == "equation" else ("equation", node[3], _parts(node[1], "chain")[0])


def _same_assigned(gold: Node, answer: Node) -> bool:
    if gold[0] == answer[0]:
        return gold[1].keys() == answer[1].keys() and all(
            _same(value, answer[1][name]) for name, value in gold[1].items()
        )
    values = [
        list(node[1].values()) if node[0] == "assigned" else node[3]
        for node in (gold, answer)
        if node[0] == "assigned" or node[:2] == ("bracket", "(")
    ]
    return len(values) == 2 and _same_all(*values)


def _same_regions(gold: Node, answer: Node) -> bool:
    try:
        first, second = merge(intervals(gold)), merge(intervals(answer))
    except Unparsed:
        return False
    return len(first) == len(second) and all(
        a[1] == b[1] and a[3] == b[3] and same_number(a[0], b[0]) and same_number(a[2], b[2])
        for a, b in zip(first, second, strict=True)
    )


def _same_sets(gold: Node, answer: Node) -> bool:
    golds, answers = _parts(gold, "set"), _parts(answer, "set")
    if len(golds) * len(answers) > MAX_PAIRS:
        raise Unparsed("too many members")
    if len(golds) == len(answers) == 1:
        return _same(golds[0], answers[0])
    return all(any(_safely_same(one, other) for other in answers) for one in golds) and all(
        any(_safely_same(one, other) for one in golds) for other in answers
    )


def _same_mod(gold: Node, answer: Node) -> bool:
    values = [node[1] if node[0] == "mod" else node for node in (gold, answer)]
    if gold[0] != answer[0]:
        return _same(*values)
    difference = Evaluator({}).value(("add", values[0], ("neg", values[1])))
    return gold[2] == answer[2] and to_mp(difference) % gold[2] == 0


def _same_quantity(gold: Node, answer: Node) -> bool:
    """Numbers with a unit, a percent or degree sign."""
    (value, unit), (other, other_unit) = _quantity(gold), _quantity(answer)
    scale = scale_between(unit, other_unit)
    signs = {"%", "°"} & {unit, other_unit}
    if scale is None:
        return {unit, other_unit} == {"°", "rad"} and same_value(
            _in_radians(value, unit), _in_radians(other, other_unit)
        )
    if _same(value, other if scale == 1 else ("mul", ("num", scale), other)):
        return True
    # 50% may also be written 0.5, and 180° as π: the sign then is part of the value.
    if unit == other_unit or not signs:
        return False
    name = "percent" if "%" in signs else "deg"
    return same_value(*((name, v) if u else v for v, u in ((value, unit), (other, other_unit))))


def _in_radians(value: Node, unit: str) -> Node:
    return ("deg", value) if unit == "°" else value


def _quantity(node: Node) -> tuple[Node, str]:
    if node[0] == "unit":
        return node[1], node[2]
    if node[0] in ("percent", "deg"):
        return node[1], "%" if node[0] == "percent" else "°"
    return node, ""


def _same_names(gold: Node, answer: Node) -> bool:
    """Geometric names: the letters in their order, whatever stands over them."""
    letters = [name_of(node) for node in (gold, answer)]
    both = gold[0] == answer[0]
    return letters[0] == letters[1] is not None and (not both or gold[1] == answer[1])


def _same_brackets(gold: Node, answer: Node) -> bool:
    """Tuples and intervals; a tuple may be a matrix of one row or column."""
    if gold[0] == answer[0]:
        return gold[1:3] == answer[1:3] and _same_all(gold[3], answer[3])
    bracket, matrix = (gold, answer) if gold[0] == "bracket" else (answer, gold)
    if matrix[0] != "matrix" or bracket[1] != "(" or 1 not in (len(matrix[1]), len(matrix[1][0])):
        return False
    return _same_all(bracket[3], [item for row in matrix[1] for item in row])


def _same_matrices(gold: Node, answer: Node) -> bool:
    return (
        gold[0] == answer[0]
        and len(gold[1]) == len(answer[1])
        and all(map(_same_all, gold[1], answer[1]))
    )


def _same_statements(gold: Node, answer: Node) -> bool:
    """The same sides, or for an inequality the same up to a positive factor of (left - right)."""
    if gold[:2] != answer[:2]:
        return False
    if gold[1] in (("<",), ("<=",)):
        factor = _factor(gold[2], answer[2])
        return factor is not None and is_real(factor) and factor > 0
    return _same_all(*([shape(side) for side in node[-1]] for node in (gold, answer)))


def _same_equations(gold: Node, answer: Node) -> bool:
    """Same up to a constant factor of (left - right)."""
    return gold[0] == answer[0] and _factor(gold[1:], answer[1:]) is not None


def _factor(gold: list[Node], answer: list[Node]) -> Number | None:
    """By what constant (left - right) of one is that of the other, if there is one."""
    first, second = (("add", left, ("neg", right)) for left, right in (gold, answer))
    if letters_of(first) != letters_of(second):
        return None
    ratios = []
    for pair in evaluate_both(first, second):
        if pair is not None:
            if pair[1] == 0 or pair[0] == 0:
                return None
            ratios.append(pair[0] / pair[1])
    same = len(ratios) > 1 and all(same_number(ratios[0], ratio) for ratio in ratios[1:])
    return ratios[0] if same else None


def _same_clocks(gold: Node, answer: Node) -> bool:
    """3:30 p.m. against 3:30; as ratios 3:30 and 1:10 would be the same."""
    return {gold[0], answer[0]} <= {"clock", "ratio"} and gold[1] == answer[1]


def _same_ratios(gold: Node, answer: Node) -> bool:
    if gold[0] != answer[0]:
        return same_value(gold, answer)
    if len(gold[1]) != len(answer[1]) or ("num", 0) in gold[1]:  # 5:00 is a time
        return gold[1] == answer[1]
    first, *others = zip(gold[1], answer[1], strict=True)
    return all(same_value(("mul", first[0], b), ("mul", first[1], a)) for a, b in others)


_RULES = {
    "chain": _same_chains, "named": _same_named, "assigned": _same_assigned,
    "region": _same_regions, "set": _same_sets, "mod": _same_mod, "unit": _same_quantity,
    "percent": _same_quantity, "deg": _same_quantity, "name": _same_names,
    "bracket": _same_brackets, "matrix": _same_matrices, "text": operator.eq,
    "clock": _same_clocks,
    "statement": _same_statements, "equation": _same_equations, "ratio": _same_ratios,
}  # fmt: skip
