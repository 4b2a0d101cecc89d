"""What makes two answers the same: sets, tuples, intervals, equations, units, words.

`compare` follows the policy of notebook 02: exact values, solution lists as sets, ordered tuples,
brackets that matter, a unit or `x =` that may be missing on one side but not contradict.
"""

import re
from fractions import Fraction

from ace_lib.math_parse import Node
from ace_lib.math_regions import ORDER, constant, inequality, intervals, merge, set_operation
from ace_lib.math_tokens import Unparsed
from ace_lib.math_units import is_unit, scale_between, unit_name
from ace_lib.math_value import (
    Evaluator,
    TooLarge,
    evaluate_both,
    letters_of,
    mp,
    same_number,
    same_value,
)

_BASE_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
               "nine": 9, "ten": 10, "twelve": 12, "sixteen": 16}  # fmt: skip
_EMPTY_WORDS = {"no solution", "no solutions", "no real solution", "no real solutions", "none",
                "empty set", "the empty set", "no real roots"}  # fmt: skip
_NUMBER_WORDS = {word: i for i, word in enumerate(
    "zero one two three four five six seven eight nine ten eleven twelve".split())}  # fmt: skip


def compare(gold: Node, answer: Node) -> bool:
    """Whether `answer` is right for `gold`.

    Raises:
        Unparsed: the two cannot be compared by these rules.
    """
    gold, answer = simplify(gold, is_gold=True), simplify(answer)
    try:
        return _same(gold, answer)
    except TooLarge:
        return gold == answer
    except (ZeroDivisionError, OverflowError):
        return False


# -- one shape for each kind of answer ---------------------------------------------------------


def simplify(node: Node, is_gold: bool = False) -> Node:
    """Expand ±, read text and `x =`, turn inequalities and unions into regions."""
    kind = node[0]
    if kind == "about":
        if not is_gold:
            raise Unparsed("an approximate answer")
        return simplify(node[1])
    if kind == "rel":
        return _relation(node, is_gold)
    if kind == "list":
        return _listed(node[1])
    if kind == "set":
        return ("set", _unique([simplify(item) for item in node[1]]))
    if kind == "bracket":
        ends = ("(", ")") if node[1] == r"\langle" else node[1:3]
        return ("bracket", *ends, [simplify(item) for item in node[3]])
    if kind == "mod":
        return ("unit", simplify(node[1]), f"mod {constant(node[2])}")
    if kind in ("union", "minus_set", "inter"):
        return set_operation(kind, *map(simplify, node[1:]))
    if kind == "text":
        return _words(node[1])
    if kind == "unit":
        return _with_unit(node)
    if kind == "matrix":
        return ("matrix", [[simplify(item) for item in row] for row in node[1]])
    if kind == "sym" and node[1] == r"\emptyset":
        return ("set", [])
    if kind == "sym" and node[1] == r"\mathbbR":
        return ("region", [(-mp().inf, False, mp().inf, False)])
    if kind == "group":
        return simplify(node[1], is_gold)
    if kind == "base" and node[2][0] == "text":
        return ("base", node[1], _base_number(node[2][1]))
    if kind == "mul" and node[1][0] == "sym" and node[2][0] == "bracket":
        return ("named", simplify(node[2]), node[1][1])  # P(1, 2)
    return _expand_signs(node)


def _expand_signs(node: Node) -> Node:
    if "'pm'" not in str(node):
        return node
    values = [_choose_sign(node, sign) for sign in (1, -1)]
    return ("set", _unique(values))


def _choose_sign(node: Node, sign: int) -> Node:
    if not isinstance(node, tuple):
        return node
    if node[0] == "pm":
        inner = _choose_sign(node[1], sign)
        return inner if sign > 0 else ("neg", inner)
    return tuple(_choose_sign(part, sign) for part in node)


def _unique(items: list[Node]) -> list[Node]:
    """Items of a set, each once; sets inside a list of solutions are merged."""
    flat = [part for item in items for part in (item[1] if item[0] == "set" else [item])]
    kept: list[Node] = []
    for item in flat:
        if not any(_safely_same(item, other) for other in kept):
            kept.append(item)
    return kept


def _safely_same(a: Node, b: Node) -> bool:
    try:
        return _same(a, b)
    except (Unparsed, ArithmeticError):
        return a == b


def _listed(items: list[Node]) -> Node:
    """A list without brackets: solutions, assignments, or an expression with its conditions."""
    if any(item[0] == "text" for item in items):
        raise Unparsed("words in a list")
    whole = r"\mathbbZ"
    family = [item for item in items if not (item[0] == "rel" and item[2][-1] == ("sym", whole))]
    if len(family) < len(items):
        return simplify(("list", family)) if len(family) > 1 else simplify(family[0])
    simple = [simplify(item) for item in items]
    names = [item[2] if item[0] == "named" else None for item in simple]
    if all(names) and len(set(names)) > len({name.partition("_")[0] for name in names}) == 1:
        return ("set", _unique([item[1] for item in simple]))  # x_1 = …, x_2 = …
    if all(names) and len(set(names)) == len(names):
        return ("assigned", dict(zip(names, [item[1] for item in simple], strict=True)))
    if all(item[0] == "region" for item in simple):
        return ("region", merge([part for item in simple for part in item[1]]))
    if len(set(names) - {None}) == 1:
        values = [item[1] if item[0] == "named" else item for item in simple]
        return ("named", ("set", _unique(values)), next(filter(None, names)))
    return ("set", _unique(simple))


def _with_unit(node: Node) -> Node:
    if not is_unit(node[2]):
        raise Unparsed("words after the number")
    inner, unit = simplify(node[1]), unit_name(node[2])
    if inner[0] == "unit":  # "$5 dollars"
        inner, unit = (inner[1], unit if unit == inner[2] else f"{inner[2]} {unit}")
    base = re.fullmatch(r"\(?base[ -]?(\w+)\)?", " ".join(node[2]).strip())
    if base and inner[0] == "num":
        return ("base", inner[1], _base_number(base.group(1)))
    if inner[0] == "named":
        return ("named", ("unit", inner[1], unit), inner[2])
    return ("unit", inner, unit)


def _base_number(word: str) -> Node:
    number = _BASE_WORDS.get(word.lower()) or (int(word) if word.isdigit() else 0)
    return ("num", Fraction(number))


def _words(text: str) -> Node:
    plain = re.sub(r"[^\w ]", "", text.lower()).strip()
    if plain in _EMPTY_WORDS:
        return ("set", [])
    if plain in _NUMBER_WORDS:
        return ("num", Fraction(_NUMBER_WORDS[plain]))
    if plain in ("infinity", "all real numbers", "all reals"):
        return simplify(("sym", r"\infty" if plain == "infinity" else r"\mathbbR"))
    return ("text", plain)


def _relation(node: Node, is_gold: bool) -> Node:
    operators, sides = node[1], node[2]
    if r"\in" in operators and len(sides) == 2:
        return simplify(sides[1])
    if all(operator in ORDER for operator in operators):
        return inequality(operators, sides)
    if set(operators) <= {"=", r"\approx", r"\equiv"}:
        return _equality(operators, sides, is_gold)
    if operators == [r"\to"] or operators == ["!="]:
        return ("statement", operators[0], sides)
    raise Unparsed("a chain of relations")


def _equality(operators: list[str], sides: list[Node], is_gold: bool) -> Node:
    """`x = value`, `value = value ≈ decimal`, or an equation."""
    exact = sides[: operators.index(r"\approx") + 1] if r"\approx" in operators else sides
    if len(exact) == 1 and r"\approx" in operators and _name_of(sides[0]):
        if not is_gold:
            raise Unparsed("an approximate answer")
        exact = sides[:2]  # x ≈ 3.14 as the gold answer
    name = _name_of(exact[0]) if len(exact) > 1 else None
    values = [simplify(side) for side in (exact[1:] if name else exact)]
    if len(exact) == 2 and not name and (letters_of(exact[0]) or letters_of(exact[1])):
        return ("equation", *exact)
    if len(exact) == 2 and name and name in letters_of(exact[1]):
        return ("equation", *exact)
    if any(not _safely_same(values[0], other) for other in values[1:]):
        raise Unparsed("sides that are not equal")
    return ("named", values[0], name) if name else values[0]


def _name_of(node: Node) -> str | None:
    """The name on the left of `x = …`: a letter, f(x), a word, |AB|, a tuple of letters."""
    if node[0] in ("sym", "text"):
        return None if node[1] in ("\\pi", "e") else node[1]
    if node[0] == "name":
        return node[2]
    if node[0] == "mul":
        parts = [_name_of(part) for part in node[1:]]
        return None if None in parts else "".join(parts)
    if node[0] == "fn" and node[1] == "abs":
        return _name_of(node[2])
    if node[0] == "bracket" and all(item[0] == "sym" for item in node[3]):
        return ",".join(item[1] for item in node[3])
    if node[0] == "fn" and all(item[0] == "sym" for item in node[2:]):
        return node[1]
    if node[0] == "unit" and node[1][0] == "sym":
        return f"{node[1][1]} {' '.join(node[2])}"
    return None


# -- comparison ---------------------------------------------------------------------------------


def _same(gold: Node, answer: Node) -> bool:
    if "named" in (gold[0], answer[0]):
        return _same_named(gold, answer)
    if "assigned" in (gold[0], answer[0]):
        return _same_assigned(gold, answer)
    for a, b in ((gold, answer), (answer, gold)):
        if a[0] == "set" and len(a[1]) == 1 and b[0] != "set":
            return _same(a[1][0], b) if a is gold else _same(b, a[1][0])
    if "region" in (gold[0], answer[0]):
        return _same_regions(gold, answer)
    special = {"unit", "percent", "deg", "base"}
    if gold[0] in special or answer[0] in special:
        return _same_quantity(gold, answer)
    if "name" in (gold[0], answer[0]):
        return _same_name(gold, answer)
    if gold[0] == answer[0] and gold[0] in _SAME_KIND:
        return _SAME_KIND[gold[0]](gold, answer)
    if {gold[0], answer[0]} == {"matrix", "bracket"}:
        return _same_vector(gold, answer)
    if gold[0] in _SAME_KIND or answer[0] in _SAME_KIND:
        if {gold[0], answer[0]} & {"ratio", "equation"} and not {gold[0], answer[0]} & {
            "text", "set", "bracket", "matrix", "statement"
        }:  # fmt: skip
            return "equation" not in (gold[0], answer[0]) and same_value(gold, answer)
        return False
    return _same_expression(gold, answer)


def _same_expression(gold: Node, answer: Node) -> bool:
    return gold == answer or same_value(gold, answer)


def _same_all(golds: list[Node], answers: list[Node]) -> bool:
    return len(golds) == len(answers) and all(map(_same, golds, answers))


def _same_sets(gold: Node, answer: Node) -> bool:
    left = list(answer[1])
    if len(left) != len(gold[1]):
        return False
    for item in gold[1]:
        match = next((i for i, other in enumerate(left) if _safely_same(item, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def _same_brackets(gold: Node, answer: Node) -> bool:
    return gold[1:3] == answer[1:3] and _same_all(gold[3], answer[3])


def _same_matrices(gold: Node, answer: Node) -> bool:
    return len(gold[1]) == len(answer[1]) and all(map(_same_all, gold[1], answer[1]))


def _same_vector(gold: Node, answer: Node) -> bool:
    """A single row or column against a tuple."""
    matrix, bracket = (gold, answer) if gold[0] == "matrix" else (answer, gold)
    rows = matrix[1]
    flat = rows[0] if len(rows) == 1 else [item for row in rows for item in row]
    if len(rows) > 1 and any(len(row) != 1 for row in rows):
        return False
    return bracket[1] == "(" and _same_all(flat, bracket[3])


def _same_equations(gold: Node, answer: Node) -> bool:
    """Same up to a constant factor of (left - right)."""
    first, second = (("add", node[1], ("neg", node[2])) for node in (gold, answer))
    if letters_of(first) != letters_of(second):
        return False
    ratios = []
    for pair in evaluate_both(first, second):
        if pair is not None:
            if pair[1] == 0 or pair[0] == 0:
                return False
            ratios.append(pair[0] / pair[1])
    return len(ratios) > 1 and all(same_number(ratios[0], ratio) for ratio in ratios[1:])


def _same_ratios(gold: Node, answer: Node) -> bool:
    if len(gold[1]) != len(answer[1]):
        return False
    if any(part == ("num", Fraction(0)) for part in gold[1] + answer[1]):
        return gold[1] == answer[1]  # a time of day such as 5:00
    first, *others = zip(gold[1], answer[1], strict=True)
    return all(same_value(("mul", first[0], b), ("mul", first[1], a)) for a, b in others)


def _same_statements(gold: Node, answer: Node) -> bool:
    return gold[1] == answer[1] and _same_all(
        [simplify(side) for side in gold[2]], [simplify(side) for side in answer[2]]
    )


def _same_text(gold: Node, answer: Node) -> bool:
    return gold[1] == answer[1]


_SAME_KIND = {
    "set": _same_sets, "bracket": _same_brackets, "matrix": _same_matrices, "text": _same_text,
    "equation": _same_equations, "ratio": _same_ratios, "statement": _same_statements,
}  # fmt: skip


def _same_named(gold: Node, answer: Node) -> bool:
    """`x = 5` against `5` is right, against `y = 5` wrong; two definitions may differ in form."""
    if gold[0] == answer[0]:
        return gold[2] == answer[2] and _same(gold[1], answer[1])
    named, other = (gold, answer) if gold[0] == "named" else (answer, gold)
    if other[0] == "equation":
        equation = ("equation", ("sym", named[2]), named[1])
        return _same_equations(equation, other)
    return _same(named[1], other) if named is gold else _same(other, named[1])


def _same_assigned(gold: Node, answer: Node) -> bool:
    if gold[0] == answer[0]:
        return gold[1].keys() == answer[1].keys() and all(
            _same(value, answer[1][name]) for name, value in gold[1].items()
        )
    assigned, other = (gold, answer) if gold[0] == "assigned" else (answer, gold)
    values = list(assigned[1].values())
    if other[0] == "bracket" and other[1] == "(":
        return _same_all(other[3], values)
    return False


def _same_regions(gold: Node, answer: Node) -> bool:
    try:
        first, second = merge(intervals(gold)), merge(intervals(answer))
    except Unparsed:
        return False
    return len(first) == len(second) and all(
        a[1] == b[1] and a[3] == b[3] and same_number(a[0], b[0]) and same_number(a[2], b[2])
        for a, b in zip(first, second, strict=True)
    )


def _same_name(gold: Node, answer: Node) -> bool:
    """Geometric names: the letters in their order, whatever stands over them."""
    letters = [_name_of(node) for node in (gold, answer)]
    both = gold[0] == answer[0]
    return letters[0] == letters[1] is not None and (not both or gold[1] == answer[1])


def _same_quantity(gold: Node, answer: Node) -> bool:
    """Numbers with a unit, a percent or degree sign, or a base."""
    if "base" in (gold[0], answer[0]):
        return _same_in_base(gold, answer)
    (value, unit), (other, other_unit) = _quantity(gold), _quantity(answer)
    scale = scale_between(unit, other_unit)
    if scale is None and {unit, other_unit} == {"°", "rad"}:
        return same_value(*(("deg", v) if u == "°" else v for v, u in
                            ((value, unit), (other, other_unit))))  # fmt: skip
    if scale is None:
        return False
    if _same(value, other if scale == 1 else ("mul", ("num", scale), other)):
        return True
    # 50% may also be written 0.5, and 180° as π: the sign then is part of the value.
    signs = {"%", "°"} & {unit, other_unit}
    if unit == other_unit or not signs:
        return False
    name = "percent" if "%" in signs else "deg"
    return same_value(*((name, v) if u else v for v, u in ((value, unit), (other, other_unit))))


def _quantity(node: Node) -> tuple[Node, str]:
    if node[0] == "unit":
        return node[1], node[2]
    if node[0] in ("percent", "deg"):
        return node[1], "%" if node[0] == "percent" else "°"
    return node, ""


def _same_in_base(gold: Node, answer: Node) -> bool:
    """52_8 is 52 with the base left out, and 42 in base ten when that is written."""
    values, bare = [], []
    for node in (gold, answer):
        if node[0] != "base":
            bare.append(node)
            continue
        base = Evaluator({}).value(node[2])
        digits = str(node[1])
        if not 2 <= base <= 36 or base.denominator != 1 or "/" in digits:
            raise Unparsed("digits in an unknown base")
        try:
            values.append((node[1], int(digits, int(base))))
        except ValueError as error:
            raise Unparsed("digits that the base does not have") from error
    if bare:
        return bare[0][0] == "num" and bare[0][1] == values[0][0]
    return values[0][1] == values[1][1]
