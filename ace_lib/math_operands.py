r"""The operands of an answer: numbers, letters, functions, roots, brackets, matrices, names.

The lower half of the recursive descent; `ace_lib.math_parse` has the operators.
"""

from collections.abc import Callable
from fractions import Fraction

from ace_lib.math_tokens import Token, Unparsed

Node = tuple
_CLOSERS = {"(": (")", "]"), "[": ("]", ")"), r"\{": (r"\}",), r"\langle": (r"\rangle",)}
_NAMES = {r"\triangle", r"\angle", r"\overrightarrow", r"\overleftrightarrow", r"\odot",
          r"\widehat", r"\parallel", r"\perp"}  # fmt: skip
DECORATIONS = {r"\vec", r"\hat", r"\tilde", r"\underline"}
CURRENCIES = {r"\dollar": "$", r"\euro": "€", r"\pounds": "£"}


class Operands:
    """Reads one operand; what stands in brackets it leaves to `listing` of the class below."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at, self.depth, self.bars = tokens, 0, 0, 0

    @property
    def token(self) -> Token:
        """The next token."""
        return self.tokens[self.at]

    def ahead(self) -> Token:
        """The token after the next."""
        return self.tokens[min(self.at + 1, len(self.tokens) - 1)]

    def peek(self, *values: str) -> bool:
        """Whether the next token is one of these signs or commands."""
        token = self.token
        return token.kind in ("op", "cmd") and token.value in values

    def take(self, *values: str) -> bool:
        """Step over the next token if it is one of these."""
        if self.peek(*values):
            self.at += 1
            return True
        return False

    def expect(self, *values: str) -> str:
        """Step over one of these and return it, or raise Unparsed."""
        value = self.token.value
        if not self.take(*values):
            raise Unparsed(f"{values[0]} expected before {value!r}")
        return value

    def until(self, *closers: str) -> Node:
        """What stands before a closing bracket, and the bracket."""
        bars, self.bars = self.bars, 0
        node = self.listing(closers)
        self.bars = bars
        self.expect(*closers)
        return node

    def argument(self) -> Node:
        """A command's argument: a braced group or, as in LaTeX, one single character."""
        if self.take("{"):
            return self.until("}")
        token = self.token
        if token.kind == "num" and len(token.value) > 1 and token.value.isdigit():
            self.tokens[self.at] = Token("num", token.value[1:])
            return ("num", Fraction(token.value[0]))
        return self.primary()

    def raw_group(self) -> str:
        """The spelling of a subscript: a braced group or one token."""
        start, depth = self.at, 0
        while self.token.kind != "end":
            depth += self.peek("{") - self.peek("}")
            self.at += 1
            if depth == 0:
                spelling = "".join(token.value for token in self.tokens[start : self.at])
                return spelling.strip("{}").rstrip(".")
        raise Unparsed("a subscript that does not end")

    def primary(self) -> Node:
        """One operand without what follows it."""
        token = self.token
        if token.kind == "end":
            raise Unparsed("something is missing at the end")
        self.at += 1
        if token.kind == "num":
            return self.number(token)
        if token.kind == "sym":
            return self.symbol(token)
        if token.kind == "fn":
            return self.function(token.value)
        if token.kind == "text":
            return self.words(token)
        return self.construct(token.value)

    def symbol(self, token: Token) -> Node:
        """A letter; `I(0)` is a value of a function, not a product with zero."""
        following = self.tokens[self.at : self.at + 3]
        if [t.value for t in following][::2] == ["(", ")"] and following[1].kind == "num":
            self.at += 3
            return ("sym", f"{token.value}({following[1].value})")
        return ("sym", token.value)

    def number(self, token: Token) -> Node:
        """A decimal, repeating or cut off after its period."""
        if self.peek(r"\overline", r"\dot") and "." in token.value:
            return self.repeating(token.value)
        if self.peek("...", r"\ldots", r"\dots", r"\cdots") and "." in token.value:
            self.at += 1
            return ("repeat", _guess_period(token.value))
        exponent = token.value.lower().partition("e")[2]
        if len(exponent) > 4:
            raise Unparsed("a number too long to write out")
        return ("num", Fraction(token.value))

    def repeating(self, start: str) -> Node:
        r"""0.1\overline{6}, 0.\dot{3}."""
        digits = ""
        while self.take(r"\overline", r"\dot"):
            digits += digits_of(self.argument())
        scale = 10 ** len(start.partition(".")[2])
        return ("repeat", Fraction(start) + Fraction(int(digits), scale * (10 ** len(digits) - 1)))

    def words(self, token: Token) -> Node:
        """Words side by side; one letter is a symbol."""
        if len(token.value) == 1 and token.value.isalpha():
            return ("sym", token.value)
        parts = [token.value]
        while self.token.kind == "text":
            parts.append(self.token.value)
            self.at += 1
        return ("text", " ".join(parts))

    def construct(self, value: str) -> Node:
        """What a command or an opening bracket starts."""
        if value in _CLOSERS:
            return self.bracket(value)
        if value in (r"\lfloor", r"\lceil"):
            return ("fn", value[2:], self.until(rf"\r{value[2:]}"))
        if value == r"\frac":
            return ("div", self.argument(), self.argument())
        if value == r"\binom":
            return ("fn", "binom", self.argument(), self.argument())
        if value in (r"\infty", r"\emptyset"):
            return ("sym", value)
        if value in CURRENCIES:
            return ("unit", self.power(), [CURRENCIES[value]])
        if value in _NAMES:
            return ("name", value, _label(self.product()))
        if value in (r"\dot", r"\ddot"):
            return ("sym", value + _label(self.argument()))
        if value in DECORATIONS:
            return self.argument()
        if value in _READERS:
            return _READERS[value](self)
        raise Unparsed(f"unexpected {value!r}", latex=value.startswith("\\"))

    def bracket(self, opener: str) -> Node:
        """A group, tuple, interval or set."""
        closers = _CLOSERS[opener]
        if self.take(*closers):
            return ("set", []) if opener == r"\{" else ("bracket", opener, closers[0], [])
        if opener == r"\{":
            self.skip_set_builder()
        inner = self.until(*closers)
        closer = self.tokens[self.at - 1].value
        items = inner[1] if inner[0] == "list" and not _joins_relations(inner) else [inner]
        if opener == r"\{":
            return ("set", items)
        if len(items) == 1 and (opener, closer) in (("(", ")"), ("[", "]")):
            return items[0] if items[0][0] != "num" else ("group", items[0])
        return ("bracket", opener, closer, items)

    def skip_set_builder(self) -> None:
        """`{x | x > 3}` and `{x in R : x > 3}`: the condition says it all."""
        values = [token.value for token in self.tokens[self.at : self.at + 4]]
        if self.token.kind == "sym":
            if values[1] in ("|", ":"):
                self.at += 2
            elif values[1] == r"\in" and values[3:] and values[3] in ("|", ":"):
                self.at += 4

    def between_bars(self) -> Node:
        """An absolute value."""
        self.bars += 1
        inner = self.sum()
        self.expect("|")
        self.bars -= 1
        return ("fn", "abs", inner)

    def root(self, radicand: Callable[[], Node]) -> Node:
        r"""\sqrt{…}, \sqrt[n]{…}; √12 and sqrt 12 take the whole number."""
        index = self.until("]") if self.take("[") else ("num", Fraction(2))
        return ("root", radicand(), index)

    def overlined(self) -> Node:
        r"""\overline{AB}."""
        inner = self.argument()
        if inner[0] == "num":
            raise Unparsed("a bar over a number")
        return ("name", r"\overline", _label(inner))

    def function(self, name: str) -> Node:
        r"""\sin^2 x, \log_2(8), \gcd(4, 6)."""
        base, power = None, None
        while self.peek("_", "^"):
            if self.take("_"):
                base = self.argument()
            else:
                self.at += 1
                power = self.exponent()
        if self.peek("(", "[", r"\{"):
            self.at += 1
            inner = self.until(*_CLOSERS[self.tokens[self.at - 1].value])
            arguments = inner[1] if inner[0] == "list" else [inner]
        else:
            arguments = [self.function_argument()]
        if power == ("neg", ("num", Fraction(1))):
            name, power = "arc" + name, None
        node = ("fn", name, *arguments) if base is None else ("log", base, *arguments)
        return node if power is None else ("pow", node, power)

    def function_argument(self) -> Node:
        """`\\sin 2x`: factors side by side up to the next sign, function or fraction bar."""
        argument = self.power() if not self.take("-") else ("neg", self.power())
        while self.starts_factor() and self.token.kind != "fn" and not self.peek("(", "["):
            argument = ("mul", argument, self.power())
        return argument

    def matrix(self) -> Node:
        """Rows and entries of a matrix."""
        rows, row = [], []
        while not self.take(r"\endmatrix"):
            self.take(",")
            row.append(self.relation())
            self.take(",", ".", ";")
            if self.take(r"\\"):
                rows, row = [*rows, row], []
            elif not self.take("&") and not self.peek(r"\endmatrix"):
                raise Unparsed("unreadable matrix")
        if not rows and not row:
            raise Unparsed("an empty matrix")
        return ("matrix", [*rows, row] if row else rows)

    def cases(self) -> Node:
        """A system of equations is a list, a piecewise function the matrix of its lines."""
        kind, rows = self.matrix()
        if any(len(row) > 1 for row in rows):
            return (kind, rows)
        return ("list", [row[0] for row in rows], "and")


_READERS = {
    "{": lambda operands: operands.until("}"), "|": Operands.between_bars,
    r"\sqrt": lambda operands: operands.root(operands.argument), r"\beginmatrix": Operands.matrix,
    r"\wholesqrt": lambda operands: operands.root(operands.primary),
    r"\overline": Operands.overlined, r"\begincases": Operands.cases,
}  # fmt: skip


def _joins_relations(node: Node) -> bool:
    """x < 1 or x > 2: the word belongs to the relations, it does not list members."""
    return node[2] != "" and any(item[0] == "rel" for item in node[1])


def digits_of(node: Node) -> str:
    """The digits of a plain whole number node, sign included."""
    if node[0] == "neg":
        return "-" + digits_of(node[1])
    if node[0] != "num" or node[1].denominator != 1:
        raise Unparsed("digits expected")
    return str(node[1].numerator)


def _guess_period(text: str) -> Fraction:
    """0.333… and 0.142857142857…: the block must be seen at least three (or two long) times."""
    whole, _, digits = text.partition(".")
    for length in range(1, len(digits) // 2 + 1):
        times = 3 if length == 1 else 2
        block = digits[-length:]
        if len(digits) >= times * length and digits.endswith(block * times):
            start = digits[: len(digits) - times * length]
            scale = 10 ** len(start)
            period = Fraction(int(block), 10**length - 1)
            return (int((whole or "0") + start) + period) / scale
    raise Unparsed("a decimal that goes on without a visible period")


def _label(node: Node) -> str:
    """Letters and digits of a subscript or of a geometric name, in order."""
    if node[0] == "num":
        return str(node[1])
    if node[0] in ("sym", "text"):
        return node[1]
    if node[0] in ("mul", "list", "add", "neg", "group"):
        parts = node[1] if node[0] == "list" else node[1:]
        return "".join(_label(part) for part in parts)
    raise Unparsed("unreadable name")
