r"""From the tokens of an answer to a tree, by recursive descent.

Trees are tuples whose first item names the node. Numbers: num, sym, add, neg, mul, div, pow, fn,
pm, percent, deg. Around them: unit, mod, repeat, list, bracket, set, rel, union, minus_set, inter,
ratio, matrix, text, name. The operands are read by `ace_lib.math_operands`.
"""

from ace_lib.math_operands import CURRENCIES, DECORATIONS, Node, Operands, digits_of
from ace_lib.math_tokens import Unparsed, tokenize

MAX_DEPTH = 40
_SEPARATORS = (",", ";", "or", "and", r"\Rightarrow")
_RELATIONS = {"=", "<", ">", "<=", ">=", "!=", r"\in", r"\approx", r"\equiv", r"\to"}


def parse(text: str) -> Node:
    """The tree of an answer. Raises Unparsed: not an answer this grammar knows."""
    parser = _Parser(tokenize(text))
    try:
        tree = parser.listing(())
    except RecursionError as error:
        raise Unparsed("nested too deeply") from error
    if parser.token.kind != "end":
        value = parser.token.value
        raise Unparsed(f"unexpected {value!r}", latex=parser.token.kind == "cmd")
    return tree


class _Parser(Operands):
    """Operators, from the loosest to the tightest."""

    def listing(self, closers: tuple[str, ...]) -> Node:
        """relation (("," | ";" | "or" | "and") relation)*, with the word that joins them or ""."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unparsed("nested too deeply")
        items, word = [self.relation()], ""
        while self.peek(*_SEPARATORS):
            while self.peek(*_SEPARATORS):  # ", or"
                separator = self.expect(*_SEPARATORS)
                word = separator if separator in ("or", "and") else word
            if separator != word and (self.token.kind == "end" or self.peek(*closers)):
                break
            items.append(self.relation())
        self.depth -= 1
        return items[0] if len(items) == 1 else ("list", items, word)

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
            node = ("unit", ("clock", [*parts[:-1], parts[-1][1]]), parts[-1][2])
        if self.take(r"\pmod", r"\bmod", r"\mod"):
            node = ("mod", node, self.product())
        return node

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
        if self.peek(r"\pm", r"\mp"):
            positive = self.expect(r"\pm", r"\mp") == r"\pm"
            inner = self.signed()
            return ("pm", inner if positive else ("neg", inner))
        return self.units(self.product())

    def units(self, node: Node) -> Node:
        """A unit in words after a quantity, with its exponent, or a currency as in 5€."""
        if self.token.value in CURRENCIES:
            self.at += 1
            return ("unit", node, [CURRENCIES[self.tokens[self.at - 1].value]])
        if self.token.kind != "text":
            return node
        words = []
        while self.token.kind == "text" or (self.peek("/", "*") and self.ahead().kind == "text"):
            words.append(self.token.value)
            self.at += 1
            if self.take("^"):
                exponent = self.exponent()
                if exponent[0] not in ("num", "neg"):
                    raise Unparsed("a unit's exponent is not a number")
                words.append("^" + digits_of(exponent))
        return ("unit", node, words)

    def product(self) -> Node:
        left = self.power()
        while True:
            if self.take("*"):
                left = ("mul", left, self.factor())
            elif self.peek("/") and self.ahead().kind != "text":
                self.at += 1
                left = ("div", left, self.factor())
            elif self.starts_factor():
                left = self.juxtaposed(left)
            else:
                return left

    def factor(self) -> Node:
        return ("neg", self.factor()) if self.take("-") else self.power()

    def juxtaposed(self, left: Node) -> Node:
        """Implicit product, or a mixed number such as 2\\frac{1}{2} or 2 1/2."""
        first, token = self.tokens[self.at - 1], self.token
        right, sign = self.power(), None
        if right[0] in ("percent", "deg"):  # 66\frac{2}{3}\%
            sign, right = right
        whole = left[0] == "num" and left[1].denominator == 1 and first.kind == "num"
        if right[0] == "num" and token.kind == first.kind == "num":
            if not (whole and self.take("/")):
                raise Unparsed("two numbers side by side")
            right = ("div", right, self.power())
        if whole and _is_proper_fraction(right):
            mixed = ("add", left, right)
            return (sign, mixed) if sign else mixed
        return ("mul", left, (sign, right) if sign else right)

    def starts_factor(self) -> bool:
        token = self.token
        if token.kind in ("num", "sym", "fn"):
            return True
        if token.value == "|":
            return self.bars == 0
        return token.kind in ("op", "cmd") and token.value in (
            "(", "[", "{", r"\frac", r"\sqrt", r"\wholesqrt", r"\binom", r"\lfloor", r"\lceil",
            r"\overline", r"\dot", r"\ddot", r"\beginmatrix", *DECORATIONS,
        )  # fmt: skip

    def power(self) -> Node:
        node = self.primary()
        while True:
            if self.peek("^"):
                self.at += 1
                node = self.raised(node)
            elif node[0] == "sym" and self.take("_"):
                node = ("sym", f"{node[1]}_{self.raw_group()}")
            elif self.take("!"):
                node = ("fn", "factorial", node)
            elif self.take("%"):
                node = ("percent", node)
            elif self.take(r"\circ"):
                node = ("deg", node)
            elif node[0] == "sym" and self.take("'", r"\prime"):
                node = ("sym", node[1] + "'")
            else:
                return node

    def raised(self, node: Node) -> Node:
        braced = self.peek("{") and self.ahead().value in (r"\circ", r"\prime")
        self.at += braced
        primes = 0
        while node[0] == "sym" and self.take(r"\prime"):
            primes += 1
        if primes or self.take(r"\circ"):
            if braced:
                self.expect("}")
            return ("sym", node[1] + "'" * primes) if primes else ("deg", node)
        return ("pow", node, self.exponent())

    def exponent(self) -> Node:
        if self.take("{"):
            return self.until("}")
        return ("neg", self.exponent()) if self.take("-") else self.primary()


def _is_proper_fraction(node: Node) -> bool:
    if node[0] != "div" or node[1][0] != "num" or node[2][0] != "num":
        return False
    above, below = node[1][1], node[2][1]
    return above.denominator == below.denominator == 1 and 0 < above < below
