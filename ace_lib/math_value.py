r"""The value of an expression: an exact fraction where it is one, else 150 digits.

Two expressions are the same as numbers, or as functions at fixed points.

Every operation is bounded: numbers that would grow too large raise `TooLarge` before they are
computed, so a tower of powers costs nothing.
"""

import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from functools import cache

from ace_lib.math_operands import Node
from ace_lib.math_tokens import Unparsed

MAX_BITS = 100_000  # of an exact whole number; denominators get a fifth
DIGITS = 150
Number = object  # Fraction, or mpmath's mpf or mpc
_ELEMENTARY = {name: name for name in "sin cos tan cot sec csc sinh cosh tanh coth exp".split()}
_ELEMENTARY |= {f"arc{name}": f"a{name}" for name in "sin cos tan cot sec csc".split()}
_ELEMENTARY["cis"] = "expj"

_RELATIVE, _ABSOLUTE = "1e-100", "1e-100"
# Where expressions with letters are compared: small, then large (floors differ there), then mixed
# signs (there a root may be not real: such a point says nothing).
_POINTS = [
    [Fraction(number) for number in point.split()]
    for point in (
        "17/7 29/11 13/9 41/15 23/6 31/14 19/8 37/16",
        "547/11 419/8 373/10 911/17 643/18 751/12 457/9 859/20",
        "-9/7 21/16 -33/14 -3/11 27/5 -8/19 25/8 -5/13",
    )
]
_WHOLE_POINTS = tuple([Fraction(k + 7 * j) for j in range(8)] for k in range(1, 41))


class TooLarge(ArithmeticError):
    """The value needs more digits than any answer has."""


@cache
def mp() -> object:
    """mpmath's context, loaded when the first number that is not a fraction appears."""
    from mpmath import mp as context

    context.dps = DIGITS
    return context


class Evaluator:
    """Evaluates nodes with letters fixed to `letters`; \\log means base `log_base` (10, or e)."""

    def __init__(self, letters: dict[str, Fraction], log_base: str = "10") -> None:
        self.letters, self.log_base = letters, log_base
        self.budget = 4_000_000  # bits of exact arithmetic

    def value(self, node: Node) -> Number:
        """The number a node stands for.

        Raises TooLarge, ZeroDivisionError, Unparsed: it has none that can be computed.
        """
        kind, *parts = node
        if kind in ("num", "repeat"):
            return self._bounded(parts[0])
        if kind == "sym":
            return self._symbol(parts[0])
        if kind == "fn":
            return self._bounded(self._function(parts[0], [*map(self.value, parts[1:])]))
        parts = parts[0] if kind == "ratio" else parts
        if kind not in _OPERATIONS or len(parts) > 2:
            raise Unparsed(f"{kind} is not a number")
        return self._bounded(_OPERATIONS[kind](*map(self.value, parts)))

    def _bounded(self, value: Number) -> Number:
        if isinstance(value, Fraction):
            above, below = value.numerator.bit_length(), value.denominator.bit_length()
            self.budget -= above + below
            if above > MAX_BITS or below > MAX_BITS // 5 or self.budget < 0:
                raise TooLarge
        return value

    def _symbol(self, name: str) -> Number:
        if name in self.letters:
            return self.letters[name]
        constant = {"\\pi": "pi", "e": "e", "i": "j", "\\infty": "inf"}[name]
        return getattr(mp(), constant) * 1

    def _function(self, name: str, values: list[Number]) -> Number:
        if name in ("log", "log10", "ln"):
            natural = name == "ln" or (name == "log" and self.log_base == "e")
            return logarithm(mp().e if natural else Fraction(10), values[0])
        if name in ("gcd", "lcm", "max", "min"):
            return of_many(name, values)
        if name in _ELEMENTARY and len(values) == 1:
            return elementary(name, values[0])
        if name not in _FUNCTIONS:
            raise Unparsed(f"function {name}")
        return _FUNCTIONS[name](*values)


def to_mp(value: Number) -> Number:
    """A Fraction as a 150-digit number; others unchanged."""
    if isinstance(value, Fraction):
        return mp().mpf(value.numerator) / value.denominator
    return value


def is_whole(value: Number) -> bool:
    """Whether this is an exact whole number."""
    return isinstance(value, Fraction) and value.denominator == 1


def arithmetic(operation: Callable) -> Callable[[Number, Number], Number]:
    """An operation that is exact when both numbers are, and never falls back to floats."""

    def apply(a: Number, b: Number) -> Number:
        exact = isinstance(a, Fraction) and isinstance(b, Fraction)
        return operation(a, b) if exact else operation(to_mp(a), to_mp(b))

    return apply


def power(base: Number, exponent: Number) -> Number:
    """base ** exponent, exact when it is a fraction of bounded size."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        exact = _exact_power(base, exponent)
        if exact is not None:
            return exact
    a, b = to_mp(base), to_mp(exponent)
    if a == 0:
        if mp().re(b) <= 0:
            raise ZeroDivisionError
        return mp().mpf(0)
    if not (mp().isfinite(a) and mp().isfinite(b)) or max(abs(b) / 1e6, abs(b * mp().ln(a))) > 1e6:
        raise TooLarge
    return mp().power(a, b)


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    above, below = exponent.numerator, exponent.denominator
    if base in (0, 1) and above > 0:
        return base
    if base == 0:
        raise ZeroDivisionError
    if base == -1 and below == 1:
        return Fraction(1 if above % 2 == 0 else -1)
    if abs(above) * max(base.numerator.bit_length(), base.denominator.bit_length()) > MAX_BITS:
        raise TooLarge
    if below == 1:
        return base**above
    if below > 64 or base < 0:
        return None
    top, bottom = _exact_root(base.numerator, below), _exact_root(base.denominator, below)
    return None if top is None or bottom is None else Fraction(top, bottom) ** above


def _exact_root(value: int, order: int) -> int | None:
    """The whole `order`-th root of a positive number, or None."""
    root = 1 << -(-value.bit_length() // order)  # Newton's way down from above
    while (lower := ((order - 1) * root + value // root ** (order - 1)) // order) < root:
        root = lower
    return root if root**order == value else None


def root(radicand: Number, order: Number) -> Number:
    """The real root where there is one, as of -8 and 2 - √5."""
    if is_whole(order) and order.numerator % 2 and is_real(radicand) and radicand.real < 0:
        return -power(-radicand.real, 1 / order)
    return power(radicand, 1 / order)


def logarithm(base: Number, argument: Number) -> Number:
    """The logarithm of `argument`."""
    if base == 0 or argument == 0:
        raise ZeroDivisionError
    return mp().ln(to_mp(argument)) / mp().ln(to_mp(base))


def factorial(value: Number) -> Number:
    """n!, or the gamma function at other points."""
    if abs(value) > (3000 if is_whole(value) else 1000):
        raise TooLarge
    if is_whole(value) and value >= 0:
        return Fraction(math.factorial(value.numerator))
    return mp().gamma(to_mp(value) + 1)


def binomial(above: Number, below: Number) -> Number:
    """Binomial coefficient of bounded whole numbers (or through gamma elsewhere)."""
    if abs(above) > 20_000 or abs(below) > 20_000:
        raise TooLarge
    if all(is_whole(value) and value >= 0 for value in (above, below)):
        return Fraction(math.comb(above.numerator, below.numerator))
    return mp().binomial(to_mp(above), to_mp(below))


def rounded(value: Number, name: str) -> Number:
    """Floor or ceiling of a real number."""
    if isinstance(value, Fraction):
        return Fraction(getattr(math, name)(value))
    if not mp().isfinite(value) or abs(value) > 1e40 or mp().im(value) != 0:
        raise TooLarge
    return Fraction(int(getattr(mp(), name)(mp().re(value))))


def of_many(name: str, values: list[Number]) -> Number:
    """gcd, lcm, max or min."""
    if name in ("max", "min"):
        return (max if name == "max" else min)(values)
    if not all(map(is_whole, values)):
        raise Unparsed(f"{name} of something that is not a whole number")
    return Fraction(getattr(math, name)(*[value.numerator for value in values]))


def elementary(name: str, value: Number) -> Number:
    """sin, exp and the like; refuses arguments whose size would cost precision or time."""
    value = to_mp(value)
    if not mp().isfinite(value) or abs(value) > 1e6:
        raise TooLarge
    return getattr(mp(), _ELEMENTARY[name])(value)


_FUNCTIONS = {
    "factorial": factorial, "binom": binomial, "abs": abs,
    "floor": lambda value: rounded(value, "floor"), "ceil": lambda value: rounded(value, "ceil"),
}  # fmt: skip
_OPERATIONS = {
    "add": arithmetic(operator.add), "mul": arithmetic(operator.mul),
    "div": arithmetic(operator.truediv), "ratio": arithmetic(operator.truediv),
    "neg": operator.neg, "group": operator.pos, "percent": lambda value: value / 100,
    "deg": lambda value: to_mp(value) * mp().pi / 180, "pow": power, "root": root, "log": logarithm,
}  # fmt: skip


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
    points = [] if re.search("'(gcd|lcm)'", steps) else _POINTS
    whole = _WHOLE_POINTS if re.search("'(gcd|lcm|floor|ceil)'", steps) else ()
    for index, point in enumerate((*points, *whole)):
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
