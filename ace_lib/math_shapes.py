r"""One shape for each kind of answer: ± expanded, `x =` named, words read, inequalities as regions.

Beside the numbers of `ace_lib.math_parse` a shape is one of: named (value, name, left side),
assigned {name: value}, chain [equal values], equation, statement, set, bracket, matrix, region,
mod, unit, ratio, clock, name, text.
"""

import re
from fractions import Fraction
from functools import partial, reduce
from itertools import product

from ace_lib.math_operands import Node
from ace_lib.math_regions import ORDER, constant, inequality, set_operation
from ace_lib.math_tokens import Unparsed
from ace_lib.math_units import is_unit, unit_name
from ace_lib.math_value import letters_of, mp

_EMPTY_WORDS = {"no solution", "no solutions", "no real solution", "no real solutions", "none",
                "empty set", "no real roots"}  # fmt: skip
_NUMBER_WORDS = {word: i for i, word in enumerate(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen twenty".split())}  # fmt: skip
_DOMAINS = [("sym", rf"\mathbb{letter}") for letter in "NZQRC"]
_OPENING = re.compile(r"^(?:there (?:is|are)|the|an?) (?!and |or )(?=[a-z]{2})")


def shape(node: Node, is_gold: bool = False) -> Node:
    """The shape of a parsed answer.

    Raises Unparsed: these rules do not know such an answer, or an answer (not a gold) is
    approximate.
    """
    kind = node[0]
    if kind == "rel":
        return _relation(node[1], node[2], is_gold)
    if kind == "about" and not is_gold:
        raise Unparsed("an approximate answer")
    if kind in ("about", "group"):
        return shape(node[1], is_gold)
    if kind in ("union", "minus_set", "inter"):
        return set_operation(kind, *map(shape, node[1:]))
    read = _READERS.get(kind, lambda *_: _with_signs(node))
    return read(*node[1:])


def _with_signs(node: Node) -> Node:
    if not _has_signs(node):
        return node
    return ("set", [shape(_choose_sign(node, sign)) for sign in (1, -1)])


def _has_signs(node: Node) -> bool:
    return "('pm'," in str(node)


def _choose_sign(node: Node, sign: int) -> Node:
    if not isinstance(node, tuple):
        return node
    if node[0] == "pm":
        inner = _choose_sign(node[1], sign)
        return inner if sign > 0 else ("neg", inner)
    return tuple(_choose_sign(part, sign) for part in node)


def signs_apart(node: Node) -> Node:
    """±2 ± 3i as four numbers, (±1, ±2) as four points: another reading, where no ∓ ties the signs.

    Raises Unparsed: there is no such reading.
    """
    if not 1 < str(node).count("('pm',") <= 4 or "('pm', ('neg'," in str(node):
        raise Unparsed("no independent signs")
    items = node[1] if node[0] == "list" else [node]
    return ("list", [choice for item in items for choice in _every_sign(item)], "")


def _every_sign(node: Node | list) -> list[Node]:
    if not isinstance(node, tuple | list):
        return [node]
    if node[:1] == ("pm",):
        return [each for one in _every_sign(node[1]) for each in (one, ("neg", one))]
    return [type(node)(parts) for parts in product(*map(_every_sign, node))]


def _set(items: list[Node]) -> Node:
    """A set in braces, or the region or values of `{x | condition}`."""
    if items and (all(item[0] in ("rel", "list") for item in items) or _excludes(items)):
        inner = _listed(items)
        return inner[1] if inner[0] == "named" else inner
    return ("set", _members(items))


def _members(items: list[Node]) -> list[Node]:
    """Shapes of the items; ± makes two members of one item."""
    members = []
    for item in items:
        one = shape(item)
        members += one[1] if one[0] == "set" and _has_signs(item) else [one]
    return members


def _listed(items: list[Node], word: str = "") -> Node:
    """A list without brackets: solutions, assignments, or an answer with its conditions."""
    if any(item[0] == "text" for item in items):
        raise Unparsed("words in a list")
    if _excludes(items):
        left = items[0][2][0]
        items = [item if item[0] == "rel" else ("rel", ["!="], [left, item]) for item in items]
    items = [item for item in items if not _is_condition(item, items, word)]
    members = _members(items)
    names = [item[2] if item[0] == "named" else None for item in members]
    several = set(names) - {None}
    if None not in names and len(several) > 1:
        if len({name.partition("_")[0] for name in several}) == 1:  # x_1 = …, x_2 = …
            return ("set", [item[1] for item in members])
        if len(several) < len(names):
            raise Unparsed("assignments that cannot be told apart")
        return ("assigned", {name: item[1] for name, item in zip(names, members, strict=True)})
    if len(several) == 1:
        first = next(item for item in members if item[0] == "named")
        values = [item[1] if item[0] == "named" else item for item in members]
        return ("named", _joined(values, word), *first[2:])
    return members[0] if len(members) == 1 else ("set", members)


def _excludes(items: list[Node]) -> bool:
    r"""`x \ne 0, 1`: what follows the inequality are more such values."""
    return items[0][:2] == ("rel", ["!="])


def _is_condition(item: Node, items: list[Node], word: str) -> bool:
    r"""`k \in \mathbb{Z}`, or `x \ne 1` or `x > 0` beside, and not "or", an expression in x."""
    if item[0] != "rel" or (word == "or" and item[1][0] in ORDER[:4]):
        return False
    if item[2][-1] in _DOMAINS:
        return True
    others = [other for other in items if other[0] != "rel" or other[1] == ["="]]
    return set(item[1]) <= set(ORDER) and bool(letters_of(item[2]) & letters_of(others))


def _joined(values: list[Node], word: str) -> Node:
    """Values of one letter: regions that all hold, or one of which holds; else a set."""
    kinds = {value[0] for value in values}
    if kinds == {"region"} or ("region" in kinds and word == "or"):
        parts = [v if v[0] in ("region", "set") else ("set", [v]) for v in values]
        common = reduce(partial(set_operation, "inter"), parts) if word != "or" else ("region", [])
        return common if common[1] else reduce(partial(set_operation, "union"), parts)
    sets = [value[1] if value[0] == "set" else [value] for value in values]
    return ("set", sum(sets, []))


def _bracket(opener: str, closer: str, items: list[Node]) -> Node:
    ends = ("(", ")") if opener == r"\langle" else (opener, closer)
    if opener == "(" and _has_signs(items):  # (0, \pm 2)
        chosen = ([_choose_sign(item, sign) for item in items] for sign in (1, -1))
        return ("set", [_bracket(opener, closer, each) for each in chosen])
    return ("bracket", *ends, [shape(item) for item in items])


def _matrix(rows: list[list[Node]]) -> Node:
    return ("matrix", [[shape(item) for item in row] for row in rows])


def _mod(value: Node, modulus: Node) -> Node:
    return ("mod", shape(value), constant(modulus))


def _symbol(name: str) -> Node:
    if name == r"\emptyset":
        return ("set", [])
    if name == r"\mathbbR":
        return ("region", [(-mp().inf, False, mp().inf, False)])
    return ("sym", name)


def _product(left: Node, right: Node) -> Node:
    if left[0] == "sym" and right[0] == "bracket":  # P(1, 2)
        return ("named", shape(right), left[1], left)
    if right[0] == "matrix":
        return _matrix([[("mul", left, item) for item in row] for row in right[1]])
    return _with_signs(("mul", left, right))


def _negative(inner: Node) -> Node:
    if inner[0] == "matrix":
        return _product(("num", Fraction(-1)), inner)
    if inner[0] == "mul" and inner[2][0] == "matrix":
        return _product(("neg", inner[1]), inner[2])
    if inner[0] in ("unit", "percent", "deg"):  # -5 cm
        return shape((inner[0], ("neg", inner[1]), *inner[2:]))
    return _with_signs(("neg", inner))


def _sum(left: Node, right: Node) -> Node:
    if right[0] == "neg" and left == ("sym", r"\mathbbR"):  # R - {2}
        return set_operation("minus_set", shape(left), shape(right[1]))
    last = right[1] if right[0] == "neg" else right
    if last[0] == "unit" and left[0] != "unit":  # 2 + \sqrt{3} \text{ cm}
        amount = last[1] if last is right else ("neg", last[1])
        return shape(("unit", ("add", left, amount), last[2]))
    return _with_signs(("add", left, right))


def _with_unit(value: Node, words: list[str]) -> Node:
    if not is_unit(words):
        raise Unparsed("words after the number")
    inner, unit = shape(value), unit_name(words)
    if inner[0] == "unit":  # "$5 dollars"
        inner, unit = (inner[1], unit if unit == inner[2] else f"{inner[2]} {unit}")
    if inner[0] == "named":
        return ("named", ("unit", inner[1], unit), *inner[2:])
    return ("unit", inner, unit)


def _words(text: str) -> Node:
    plain = plain_words(re.sub(r"[^\w ]", "", text))
    if plain in _EMPTY_WORDS:
        return ("set", [])
    if plain in _NUMBER_WORDS:
        return ("num", Fraction(_NUMBER_WORDS[plain]))
    if plain in ("infinity", "all real numbers", "all reals"):
        return _symbol(r"\infty" if plain == "infinity" else r"\mathbbR")
    return ("text", plain)


def plain_words(text: str) -> str:
    """Lower case, without an opening article or "there is"."""
    return _OPENING.sub("", text.lower().strip())


_READERS = {
    "list": _listed, "set": _set, "bracket": _bracket, "matrix": _matrix, "mod": _mod,
    "sym": _symbol, "mul": _product, "unit": _with_unit, "text": _words, "neg": _negative,
    "add": _sum,
}  # fmt: skip


def _relation(operators: list[str], sides: list[Node], is_gold: bool) -> Node:
    if r"\in" in operators and len(sides) == 2:
        return shape(sides[1])
    if operators == ["!="] and _has_signs(sides[1]):
        return _listed([("rel", operators, _choose_sign(tuple(sides), s)) for s in (1, -1)])
    if all(operator in ORDER for operator in operators):
        return inequality(operators, sides)
    if set(operators) <= {"=", r"\approx", r"\equiv"}:
        return _equality(operators, sides, is_gold)
    if operators == [r"\to"]:
        return ("statement", r"\to", sides)
    raise Unparsed("a chain of relations")


def _equality(operators: list[str], sides: list[Node], is_gold: bool) -> Node:
    """`x = value`, `value = value ≈ decimal`, or an equation."""
    exact = sides[: operators.index(r"\approx") + 1] if r"\approx" in operators else sides
    if 1 < len(exact) < len(sides) or (exact[1:] == [] and not name_of(exact[0])):
        _check_rounding(exact[-1], sides[len(exact)])
    if len(exact) == 1 and name_of(sides[0]):
        if not is_gold:
            raise Unparsed("an approximate answer")
        exact = sides[:2]  # x ≈ 3.14 as the gold answer
    if len(exact) == 2 and not letters_of(exact[0]) and name_of(exact[1]):  # 7 = x
        exact = exact[::-1]
    left, *values = exact
    name = name_of(left)
    if not name and not is_gold and not letters_of(values):
        name = _name_of_compound(left)
    if values and name and name not in letters_of(values):
        return ("named", _chain(values), name, left)
    if len(exact) == 2 and letters_of(exact):
        return ("equation", *exact)
    return _chain(exact)


def _check_rounding(exact: Node, rounded: Node) -> None:
    """sqrt(2) ≈ 1.41 is one answer, 42 ≈ 43 is two."""
    values = [side[1] if side[0] == "unit" else side for side in map(shape, (exact, rounded))]
    if not letters_of(values):
        first, second = map(constant, values)
        if abs(first - second) > abs(first) / 100:
            raise Unparsed("a value that is not the rounded one")


def _chain(sides: list[Node]) -> Node:
    """3 + 4 = 7: each side must be right."""
    return ("chain", [shape(side) for side in sides]) if len(sides) > 1 else shape(sides[0])


def name_of(node: Node) -> str | None:
    """The name on the left of `x = …`: a letter, f(x), a word, |AB|, a tuple of letters."""
    if node[0] in ("sym", "text"):
        return None if node[1] in ("\\pi", "e", "i", "\\infty") else node[1]
    if node[0] == "name":
        return node[2]
    if node[0] == "pow" and node[2] == ("neg", ("num", Fraction(1))):  # f^{-1}(x) = …
        return name_of(node[1]) and f"{name_of(node[1])}^-1"
    if node[0] == "mul":
        parts = [name_of(part) for part in node[1:]]
        return None if None in parts else "".join(parts)
    if node[0] == "fn" and node[1] == "abs":
        return name_of(node[2])
    if node[0] == "bracket" and all(item[0] == "sym" for item in node[3]):
        return ",".join(item[1] for item in node[3])
    if node[0] == "fn" and all(item[0] == "sym" for item in node[2:]):
        return node[1]
    if node[0] == "unit" and node[1][0] == "sym":
        return f"{node[1][1]} {' '.join(node[2])}"
    return None


def _name_of_compound(node: Node) -> str | None:
    r"""What `m + n = 7`, `AB^2 = 49`, `\frac{m}{n} = \frac34`, `\sin A = 1` call their value."""
    if node[0] == "pow" and node[2][0] == "num":
        return name_of(node[1])
    if node[0] not in ("add", "mul", "div", "fn", "inter", "union"):
        return name_of(node)
    last = node[-1][1] if node[-1][0] == "neg" else node[-1]
    parts = [_name_of_compound(part) for part in (*node[node[0] == "fn" :][1:-1], last)]
    return None if None in parts else node[0].join(parts)
