r"""From the tokens of an answer to a tree, by recursive descent.

Trees are tuples whose first item names the node. Numbers: num, sym, add, neg, mul, div, pow, fn,
pm, percent, deg. Around them: unit, base, repeat, list, bracket, set, rel, union, minus_set, inter,
ratio, matrix, text, name.
"""

from fractions import Fraction

from ace_lib.math_tokens import Token, Unparsed, tokenize

MAX_DEPTH = 40
Node = tuple
_RELATIONS = {"=", "<", ">", "<=", ">=", "!=", r"\in", r"\approx", r"\equiv", r"\to"}
_CLOSERS = {"(": (")", "]"), "[": ("]", ")"), r"\{": (r"\}",), r"\langle": (r"\rangle",)}
_NAMES = {r"\triangle", r"\angle", r"\overrightarrow", r"\overleftrightarrow", r"\odot",
          r"\widehat", r"\parallel", r"\perp"}  # fmt: skip
_DECORATIONS = {r"\vec", r"\hat", r"\tilde", r"\underline"}
_CURRENCIES = {r"\dollar": "$", r"\euro": "€", r"\pounds": "£"}


def parse(text: str) -> Node:
    """The tree of an answer.

    Raises:
        Unparsed: not an answer this grammar knows.
    """
    parser = _Parser(tokenize(text))
    try:
        tree = parser.listing(())
    except RecursionError as error:
        raise Unparsed("nested too deeply") from error
    parser.expect_end()
    return tree


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self.tokens, self.at, self.depth, self.bars = tokens, 0, 0, 0

    @property
    def token(self) -> Token:
        return self.tokens[self.at]

    def peek(self, *values: str) -> bool:
        token = self.token
        return token.kind in ("op", "cmd") and token.value in values

    def take(self, *values: str) -> bool:
        if self.peek(*values):
            self.at += 1
            return True
        return False

    def expect(self, *values: str) -> str:
        value = self.token.value
        if not self.take(*values):
            raise Unparsed(f"{values[0]} expected before {value!r}")
        return value

    def expect_end(self) -> None:
        if self.token.kind != "end":
            raise Unparsed(f"unexpected {self.token.value!r}")

    # listing := relation (("," | ";" | "or") relation)*
    def listing(self, closers: tuple[str, ...]) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unparsed("nested too deeply")
        items = [self.relation()]
        while self.take(",", ";", r"\Rightarrow"):
            while self.take(","):  # ", or"
                pass
            if self.token.kind == "end" or self.peek(*closers):
                break
            items.append(self.relation())
        self.depth -= 1
        return items[0] if len(items) == 1 else ("list", items)

    def relation(self) -> Node:
        left = self.sets() if not self.peek(r"\approx") else None
        operators, sides = [], [left]
        while self.token.value in _RELATIONS and self.token.kind in ("op", "cmd"):
            operators.append(self.token.value)
            self.at += 1
            sides.append(self.sets())
        if left is None and operators == [r"\approx"]:
            return ("about", sides[1])
        return ("rel", operators, sides) if operators else left

    def sets(self) -> Node:
        left = self.ratio()
        names = {r"\cup": "union", r"\setminus": "minus_set", r"\cap": "inter"}
        while self.token.value in names:
            name = names[self.token.value]
            self.at += 1
            left = (name, left, self.ratio())
        return left

    def ratio(self) -> Node:
        parts = [self.sum()]
        while self.take(":"):
            parts.append(self.sum())
        node = parts[0] if len(parts) == 1 else ("ratio", parts)
        if len(parts) > 1 and parts[-1][0] == "unit":  # 3:30 p.m.
            node = ("unit", ("ratio", [*parts[:-1], parts[-1][1]]), parts[-1][2])
        if self.take(r"\pmod", r"\bmod", r"\mod") or (
            self.token.kind == "text" and self.token.value == "mod" and self.at_next()
        ):
            node = ("mod", node, self.product())
        return node

    def at_next(self) -> bool:
        self.at += 1
        return True

    def sum(self) -> Node:
        left = self.signed()
        while self.peek("+", "-", r"\pm", r"\mp"):
            operator = self.token.value
            self.at += 1
            right = self.units(self.product())
            if operator in ("+", "-"):
                left = ("add", left, right if operator == "+" else ("neg", right))
            else:
                left = ("add", left, ("pm", right if operator == r"\pm" else ("neg", right)))
        return left

    def signed(self) -> Node:
        if self.take("-"):
            return ("neg", self.signed())
        if self.take("+"):
            return self.signed()
        if self.take(r"\pm", r"\mp"):
            return ("pm", self.signed())
        return self.units(self.product())

    def units(self, node: Node) -> Node:
        """A unit in words after a quantity, with its exponent."""
        if self.token.kind != "text":
            return node
        words = []
        while self.token.kind == "text" or (self.peek("/", "*") and self.next_is_text()):
            words.append(self.token.value)
            self.at += 1
            if self.take("^"):
                exponent = self.exponent()
                if exponent[0] not in ("num", "neg"):
                    raise Unparsed("a unit's exponent is not a number")
                words.append("^" + _digits(exponent))
            if words[-1].lower() == "base" and self.token.kind == "num":
                words.append(self.token.value)
                self.at += 1
        return ("unit", node, words)

    def next_is_text(self) -> bool:
        return self.tokens[self.at + 1].kind == "text"

    def product(self) -> Node:
        left = self.power()
        while True:
            if self.take("*"):
                left = ("mul", left, self.factor())
            elif self.peek("/") and not self.next_is_text():
                self.at += 1
                left = ("div", left, self.factor())
            elif self.take(r"\choose"):
                left = ("fn", "binom", left, self.power())
            elif self.starts_factor():
                left = self.juxtaposed(left)
            else:
                return left

    def factor(self) -> Node:
        if self.take("-"):
            return ("neg", self.factor())
        return self.power()

    def juxtaposed(self, left: Node) -> Node:
        """Implicit product, or a mixed number such as 2\\frac{1}{2} or 2 1/2."""
        first, token = self.tokens[self.at - 1], self.token
        right = self.power()
        whole = left[0] == "num" and left[1].denominator == 1 and first.kind == "num"
        if right[0] == "num" and token.kind == first.kind == "num":
            if not (whole and self.take("/")):
                raise Unparsed("two numbers side by side")
            right = ("div", right, self.power())
        if whole and _is_proper_fraction(right):
            return ("add", left, right)
        return ("mul", left, right)

    def starts_factor(self) -> bool:
        token = self.token
        if token.kind in ("num", "sym", "fn"):
            return True
        if token.value == "|":
            return self.bars == 0
        return token.kind in ("op", "cmd") and token.value in (
            "(", "[", "{", r"\frac", r"\sqrt", r"\wholesqrt", r"\binom", r"\lfloor", r"\lceil",
            r"\overline", r"\dot", r"\ddot", *_DECORATIONS,
        )  # fmt: skip

    def power(self) -> Node:
        node = self.primary()
        while True:
            if self.peek("^"):
                self.at += 1
                node = self.raised(node)
            elif self.peek("_") and node[0] in ("num", "sym", "repeat"):
                self.at += 1
                node = self.subscripted(node)
            elif self.take("!"):
                node = ("fn", "factorial", node)
            elif self.take("%"):
                node = ("percent", node)
            elif self.take(r"\circ"):
                node = ("deg", node)
            elif self.take("'", r"\prime"):
                node = ("sym", node[1] + "'") if node[0] == "sym" else node
            else:
                return node

    def raised(self, node: Node) -> Node:
        braced = self.peek("{") and self.tokens[self.at + 1].value == r"\circ"
        if self.peek(r"\circ") or braced:
            self.at += 1 + braced
            if braced:
                self.expect("}")
            return ("deg", node)
        if self.peek(r"\prime") or self.tokens[self.at + 1].value == r"\prime":
            braced, primes = self.take("{"), 0
            while self.take(r"\prime"):
                primes += 1
            if braced:
                self.expect("}")
            return ("sym", node[1] + "'" * primes) if node[0] == "sym" else node
        return ("pow", node, self.exponent())

    def exponent(self) -> Node:
        if self.take("{"):
            return self.until("}")
        if self.take("-"):
            return ("neg", self.exponent())
        return self.primary()

    def subscripted(self, node: Node) -> Node:
        if node[0] == "sym":
            return ("sym", f"{node[1]}_{self.raw_group()}")
        inner = self.until("}") if self.take("{") else self.primary()
        return ("base", node[1], inner)

    def raw_group(self) -> str:
        """The spelling of a subscript: a braced group or one token."""
        start, depth = self.at, 0
        while True:
            depth += self.peek("{") - self.peek("}")
            self.at += 1
            if depth == 0:
                return "".join(token.value for token in self.tokens[start : self.at]).strip("{}")
            if self.token.kind == "end":
                raise Unparsed("a subscript that does not end")

    def until(self, *closers: str) -> Node:
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

    def primary(self) -> Node:
        token = self.token
        self.at += 1
        if token.kind == "num":
            return self.number(token)
        if token.kind == "sym":
            return self.symbol(token)
        if token.kind == "fn":
            return self.function(token.value)
        if token.kind == "text":
            return self.words(token)
        if token.kind == "end":
            raise Unparsed("something is missing at the end")
        return self.construct(token.value)

    def symbol(self, token: Token) -> Node:
        """A letter; `I(0)` is a value of a function, not a product with zero."""
        following = self.tokens[self.at : self.at + 3]
        if [t.value for t in following][::2] == ["(", ")"] and following[1].kind == "num":
            self.at += 3
            return ("sym", f"{token.value}({following[1].value})")
        return ("sym", token.value)

    def number(self, token: Token) -> Node:
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
        digits = ""
        while self.take(r"\overline", r"\dot"):
            digits += _digits(self.argument())
        scale = 10 ** len(start.partition(".")[2])
        return ("repeat", Fraction(start) + Fraction(int(digits), scale * (10 ** len(digits) - 1)))

    def words(self, token: Token) -> Node:
        if len(token.value) == 1 and token.value.isalpha():
            return ("sym", token.value)
        parts = [token.value]
        while self.token.kind == "text":
            parts.append(self.token.value)
            self.at += 1
        return ("text", " ".join(parts))

    def construct(self, value: str) -> Node:
        if value in _CLOSERS:
            return self.bracket(value)
        if value == "{":
            return self.until("}")
        if value == "|":
            return self.between_bars()
        if value in (r"\lfloor", r"\lceil"):
            name = value[2:]
            return ("fn", name, self.until(rf"\r{name}"))
        if value == r"\frac":
            return ("div", self.argument(), self.argument())
        if value == r"\binom":
            return ("fn", "binom", self.argument(), self.argument())
        if value in (r"\sqrt", r"\wholesqrt"):
            return self.root(value)
        if value in (r"\infty", r"\emptyset"):
            return ("sym", value)
        if value in _CURRENCIES:
            return ("unit", self.power(), [_CURRENCIES[value]])
        if value == r"\overline":
            return self.overlined()
        if value in _NAMES:
            return ("name", value, _label(self.product()))
        if value in _DECORATIONS:
            return self.argument()
        if value in (r"\dot", r"\ddot"):
            return ("sym", value + _label(self.argument()))
        if value == r"\begin":
            return self.matrix()
        if value == "." and self.token.kind == "num":
            return ("num", Fraction("." + self.tokens[self.at].value)) if self.at_next() else None
        raise Unparsed(f"unexpected {value!r}", latex=value.startswith("\\"))

    def bracket(self, opener: str) -> Node:
        closers = _CLOSERS[opener]
        if self.take(*closers):
            return ("set", []) if opener == r"\{" else ("bracket", opener, closers[0], [])
        if opener == r"\{":
            self.skip_set_builder()
        bars, self.bars = self.bars, 0
        inner = self.listing(closers)
        self.bars = bars
        closer = self.expect(*closers)
        items = inner[1] if inner[0] == "list" else [inner]
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
        self.bars += 1
        inner = self.sum()
        self.expect("|")
        self.bars -= 1
        return ("fn", "abs", inner)

    def root(self, value: str) -> Node:
        index = ("num", Fraction(2))
        if self.take("["):
            index = self.until("]")
        radicand = self.argument() if value == r"\sqrt" else self.primary()
        return ("root", radicand, index)

    def overlined(self) -> Node:
        inner = self.argument()
        if inner[0] == "num":
            raise Unparsed("a bar over a number")
        return ("name", r"\overline", _label(inner))

    def function(self, name: str) -> Node:
        base, power = None, None
        while self.peek("_", "^"):
            if self.take("_"):
                base = self.argument()
            else:
                self.at += 1
                power = self.exponent()
        if self.peek("(", "["):
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
        kind = self.environment()
        if not kind.endswith("matrix") and kind != "array":
            raise Unparsed(f"environment {kind}", latex=True)
        if kind == "array" and self.take("{"):
            while not self.take("}"):
                self.at_next()
        rows, row = [], []
        while not self.peek(r"\end"):
            row.append(self.relation())
            if self.take(r"\\"):
                rows, row = [*rows, row], []
            elif not self.take("&") and not self.peek(r"\end"):
                raise Unparsed("unreadable matrix")
        self.at += 1
        self.environment()
        return ("matrix", [*rows, row] if row else rows, kind)

    def environment(self) -> str:
        self.expect("{")
        name = ""
        while not self.take("}"):
            if self.token.kind not in ("sym", "text", "op"):
                raise Unparsed("unreadable environment", latex=True)
            name += self.token.value
            self.at += 1
        return name


def _is_proper_fraction(node: Node) -> bool:
    if node[0] != "div" or node[1][0] != "num" or node[2][0] != "num":
        return False
    above, below = node[1][1], node[2][1]
    return above.denominator == below.denominator == 1 and 0 < above < below


def _digits(node: Node) -> str:
    """The digits of a plain whole number node, sign included."""
    if node[0] == "neg":
        return "-" + _digits(node[1])
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
