"""The value of an expression: an exact fraction where it is one, else 150 digits.

Every operation is bounded: numbers that would grow too large raise `TooLarge` before they are
computed, so a tower of powers costs nothing.
"""

import math
from fractions import Fraction

from ace_lib.math_operands import Node
from ace_lib.math_tokens import Unparsed

MAX_BITS = 100_000  # of an exact whole number; fractions get a tenth
DIGITS = 150
Number = object  # Fraction, or mpmath's mpf or mpc

_FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "arccot", "arcsec",
    "arccsc", "sinh", "cosh", "tanh", "coth", "exp", "cis",
}  # fmt: skip
_MPMATH_NAMES = {f"arc{name}": f"a{name}" for name in ("sin", "cos", "tan", "cot", "sec", "csc")}
_MPMATH_NAMES["cis"] = "expj"


class TooLarge(ArithmeticError):
    """The value needs more digits than any answer has."""


_mp = None


def mp() -> object:
    """mpmath's context, loaded when the first number that is not a fraction appears."""
    global _mp
    if _mp is None:
        from mpmath import mp as context

        context.dps = DIGITS
        _mp = context
    return _mp


class Evaluator:
    """Evaluates nodes with letters fixed to `letters`; \\log means base `log_base` (10, or e)."""

    def __init__(self, letters: dict[str, Fraction], log_base: str = "10") -> None:
        self.letters, self.log_base = letters, log_base
        self.budget = 4_000_000  # bits of exact arithmetic

    def value(self, node: Node) -> Number:
        """The number a node stands for.

        Raises:
            TooLarge, ZeroDivisionError, Unparsed: it has none that can be computed.
        """
        method = getattr(self, f"_{node[0]}", None)
        if method is None:
            raise Unparsed(f"{node[0]} is not a number")
        return self._bounded(method(*node[1:]))

    def _bounded(self, value: Number) -> Number:
        if isinstance(value, Fraction):
            above, below = value.numerator.bit_length(), value.denominator.bit_length()
            self.budget -= above + below
            if above > MAX_BITS or below > MAX_BITS // 10 or self.budget < 0:
                raise TooLarge
        return value

    def _num(self, value: Fraction) -> Number:
        return value

    _repeat = _num

    def _group(self, inner: Node) -> Number:
        return self.value(inner)

    def _sym(self, name: str) -> Number:
        if name in self.letters:
            return self.letters[name]
        constant = {"\\pi": "pi", "e": "e", "i": "j", "\\infty": "inf"}[name]
        return getattr(mp(), constant) * 1

    def _neg(self, inner: Node) -> Number:
        return -self.value(inner)

    def _add(self, left: Node, right: Node) -> Number:
        return self._apply(lambda a, b: a + b, left, right)

    def _mul(self, left: Node, right: Node) -> Number:
        return self._apply(lambda a, b: a * b, left, right)

    def _div(self, left: Node, right: Node) -> Number:
        return self._apply(lambda a, b: a / b, left, right)

    def _ratio(self, parts: list[Node]) -> Number:
        if len(parts) != 2:
            raise Unparsed("a ratio of more than two parts is not a number")
        return self._div(*parts)

    def _apply(self, operation: object, left: Node, right: Node) -> Number:
        a, b = self.value(left), self.value(right)
        if isinstance(a, Fraction) and isinstance(b, Fraction):
            return operation(a, b)
        return operation(to_mp(a), to_mp(b))

    def _percent(self, inner: Node) -> Number:
        value = self.value(inner)
        return value / 100

    def _deg(self, inner: Node) -> Number:
        return to_mp(self.value(inner)) * mp().pi / 180

    def _pow(self, base: Node, exponent: Node) -> Number:
        return power(self.value(base), self.value(exponent))

    def _root(self, radicand: Node, index: Node) -> Number:
        value, order = self.value(radicand), self.value(index)
        if order == 0:
            raise ZeroDivisionError
        odd = isinstance(order, Fraction) and order.denominator == 1 and order.numerator % 2
        if odd and isinstance(value, Fraction) and value < 0:
            return -power(-value, 1 / order)
        return power(value, 1 / order)

    def _log(self, base: Node, argument: Node) -> Number:
        below = logarithm(self.value(base))
        return to_mp(logarithm(self.value(argument))) / below

    def _fn(self, name: str, *arguments: Node) -> Number:
        values = [self.value(argument) for argument in arguments]
        if name == "factorial":
            return factorial(values[0])
        if name == "binom":
            return binomial(*values)
        if name == "abs":
            return abs(values[0])
        if name in ("floor", "ceil"):
            return rounded(values[0], name)
        if name in ("ln", "log", "log10"):
            natural = name == "ln" or (name == "log" and self.log_base == "e")
            scale = 1 if natural else mp().ln(10)
            return to_mp(logarithm(values[0])) / scale
        if name in ("gcd", "lcm", "max", "min"):
            return of_many(name, values)
        if name in _FUNCTIONS and len(values) == 1:
            return elementary(name, values[0])
        raise Unparsed(f"function {name}")


def to_mp(value: Number) -> Number:
    """A Fraction as a 150-digit number; others unchanged."""
    if isinstance(value, Fraction):
        return mp().mpf(value.numerator) / value.denominator
    return value


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
    if not mp().isfinite(a) or not mp().isfinite(b):
        raise TooLarge
    if abs(b) > 1e12 or abs(b * mp().ln(a)) > 1e6:
        raise TooLarge
    return mp().power(a, b)


def _exact_power(base: Fraction, exponent: Fraction) -> Fraction | None:
    above, below = exponent.numerator, exponent.denominator
    if base in (0, 1) and above > 0:
        return base
    if base == 0:
        raise ZeroDivisionError
    size = max(abs(base.numerator).bit_length(), base.denominator.bit_length())
    if abs(above) * size > MAX_BITS:
        if base == -1 and below == 1:
            return Fraction(1 if above % 2 == 0 else -1)
        raise TooLarge
    if below == 1:
        return base**above
    if below > 64 or base < 0:
        return None
    top, bottom = _exact_root(base.numerator, below), _exact_root(base.denominator, below)
    return None if top is None or bottom is None else Fraction(top, bottom) ** above


def _exact_root(value: int, order: int) -> int | None:
    """The whole `order`-th root of a positive number, or None."""
    if order == 2:
        root = math.isqrt(value)
    else:
        low, high = 0, 1 << (value.bit_length() // order + 1)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if middle**order <= value else (low, middle - 1)
        root = low
    return root if root**order == value else None


def logarithm(value: Number) -> Number:
    """The natural logarithm."""
    if value == 0:
        raise ZeroDivisionError
    return mp().ln(to_mp(value))


def factorial(value: Number) -> Number:
    """n!, or the gamma function at other points."""
    if isinstance(value, Fraction) and value.denominator == 1 and value >= 0:
        if value > 3000:
            raise TooLarge
        return Fraction(math.factorial(value.numerator))
    if abs(value) > 1000:
        raise TooLarge
    return mp().gamma(to_mp(value) + 1)


def binomial(above: Number, below: Number) -> Number:
    """Binomial coefficient of bounded whole numbers (or through gamma elsewhere)."""
    whole = all(isinstance(v, Fraction) and v.denominator == 1 and v >= 0 for v in (above, below))
    if abs(above) > 20_000 or abs(below) > 20_000:
        raise TooLarge
    if whole:
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
    if any(not isinstance(v, Fraction) or v.denominator != 1 for v in values):
        raise Unparsed(f"{name} of something that is not a whole number")
    return Fraction(getattr(math, name)(*[v.numerator for v in values]))


def elementary(name: str, value: Number) -> Number:
    """sin, exp and the like; refuses arguments whose size would cost precision or time."""
    value = to_mp(value)
    if not mp().isfinite(value) or abs(value) > 1e6:
        raise TooLarge
    return getattr(mp(), _MPMATH_NAMES.get(name, name))(value)
