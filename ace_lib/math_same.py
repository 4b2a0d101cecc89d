"""Whether two expressions have the same value: as numbers, or as functions at fixed points."""

from fractions import Fraction

from ace_lib.math_operands import Node
from ace_lib.math_tokens import Unparsed
from ace_lib.math_value import Evaluator, Number, TooLarge, mp, to_mp

_RELATIVE, _ABSOLUTE = "1e-100", "1e-100"
# Where expressions with letters are compared: small, then large (floors differ there), then mixed
# signs (there a root may be not real: such a point says nothing).
_POINTS = (
    [Fraction(n, d) for n, d in ((17, 7), (29, 11), (13, 9), (41, 15), (23, 6), (31, 14))],
    [Fraction(n, d) for n, d in ((547, 11), (419, 8), (373, 10), (911, 17), (643, 18), (751, 12))],
    [Fraction(n, d) for n, d in ((-9, 7), (21, 16), (-33, 14), (-3, 11), (27, 5), (-8, 19))],
)
_WHOLE_POINTS = tuple([Fraction(k + 7 * j) for j in range(6)] for k in range(1, 41))


def letters_of(node: object) -> set[str]:
    """The free letters of a tree."""
    if isinstance(node, tuple) and len(node) == 2 and node[0] == "sym":
        return set() if node[1] in ("\\pi", "e", "i", "\\infty") else {node[1]}
    if isinstance(node, tuple | list):
        return set().union(*map(letters_of, node)) if node else set()
    return set()


def same_number(a: Number, b: Number) -> bool:
    """Equality: exact for fractions, to 100 digits otherwise."""
    if isinstance(a, Fraction) and isinstance(b, Fraction):
        return a == b
    a, b = to_mp(a), to_mp(b)
    if not mp().isfinite(a) or not mp().isfinite(b):
        return a == b
    scale = max(abs(a), abs(b))
    return abs(a - b) <= max(mp().mpf(_ABSOLUTE), mp().mpf(_RELATIVE) * scale)


def same_value(gold: Node, answer: Node) -> bool:
    """Whether two expressions are equal, with one meaning of \\log or the other."""
    bases = ("10", "e") if "'fn', 'log'," in str((gold, answer)) else ("10",)
    return any(_agree(evaluate_both(gold, answer, base)) for base in bases)


def _agree(pairs: list[tuple | None]) -> bool:
    known = [pair for pair in pairs if pair is not None]
    return known != [] and all(same_number(*pair) for pair in known)


def evaluate_both(gold: Node, answer: Node, log_base: str = "10") -> list[tuple | None]:
    """Both values at every point; None for a point where either is not real or not defined."""
    letters = sorted(letters_of(gold) | letters_of(answer))
    if not letters:
        return [tuple(Evaluator({}, log_base).value(node) for node in (gold, answer))]
    if len(letters) > len(_POINTS[0]):
        raise Unparsed("more letters than an answer has")
    pairs: list[tuple | None] = []
    steps = str((gold, answer))
    whole = _WHOLE_POINTS if "'floor'" in steps or "'ceil'" in steps else ()
    for index, point in enumerate((*_POINTS, *whole)):
        fixed = dict(zip(letters, point, strict=False))
        try:
            pair = tuple(Evaluator(fixed, log_base).value(node) for node in (gold, answer))
        except (ZeroDivisionError, TooLarge):
            pair = None
        if pair and index == 2 and not all(is_real(value) for value in pair):
            pair = None
        pairs.append(pair)
    if pairs[:2] == [None, None]:
        raise TooLarge
    return pairs


def is_real(value: Number) -> bool:
    """True for fractions and real mpmath numbers."""
    return isinstance(value, Fraction) or mp().im(value) == 0
