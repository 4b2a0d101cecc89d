r"""From the LaTeX (or plain text) of an answer to tokens, for `ace_lib.math_parse`.

First text becomes text, in one LaTeX spelling for what models write: Unicode, plain units, colours,
(mod 7), 0.(6). Then layout commands vanish, synonyms become one token, words are told from products
of letters. Nothing is understood here, and nothing that changes a value is dropped.
"""

import re
import unicodedata
from dataclasses import dataclass

MAX_CHARS = 2_000

_SYMBOLS = str.maketrans({
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/",
    "∗": "*", "π": r"\pi ", "√": r"\wholesqrt ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ",
    "≠": r"\ne ", "≈": r"\approx ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "°": r"^\circ ",
    "±": r"\pm ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ",
    "∅": r"\emptyset ", "∠": r"\angle ", "△": r"\triangle ", "€": r"\euro ", "£": r"\pounds ",
    "’": "'", "′": "'", "¢": r"\text{¢}",
})  # fmt: skip
_UNITS = (
    "cm mm km kg mg ml in ft yd mi lb oz hr hrs min mins sec secs mph kph rad deg cents usd day "
    "days week year hour mile feet inch foot pm units unit".replace(" ", "|")
)
_POWER = r"(?:\s*\^\s*\{?-?\d\}?)?"
_ONE_UNIT = rf"(?:{_UNITS}|[msgLhNJ]){_POWER}"
_REWRITES = [
    (re.compile(pattern), spelling)
    for pattern, spelling in (
        (r"^\s*(\*\*|`|\")(.*)\1\s*$", r"\2"),
        (r"^\s*(?:\\text\s*\{\s*)?(?i:(?:the )?(?:final )?answer(?: is\b|:)|答案?[是为:]):?\s*\}?",
         ""),
        (r"^\s*(?:\\text\s*\{\s*)?[Tt]here are\s*\}?(?=\s*\d)", ""),
        (r"^\s*~(?=\s*[\d\\.(-])", r"\\approx "),
        (r"^(?:\\text\s*\{\s*)?(?:negative|minus)\s*\}?(?=\s*[\d\\])", "-"),
        (r"(?<=\d)(?:\\[ ,;]|[\s~])*(?:\\text\s*\{\s*)?million\s*\}?", r"\\cdot 10^6 "),
        (r"(?:,|\\[ ,;:]|\\q?quad|\s)*\\text\s*\{[\s,]*for (?:all|any|every)[^{}]*\}"
         r"\s*\w?(?:\s*\\in\s*\\mathbb\s*\{?\w\}?)?\s*$", ""),
        (r",?\s*\\text\s*\{[\s,]*(?:for|where|with|if|when)(?: all| any| some)?\s*\}", ", "),
        (r"(?<=\d)\s*\\text\s*\{\s*to\s*\}\s*(?=\d)", ":"),
        (r"\\(?:textcolor|color)\s*\{\w+\}", ""),
        (r"(?:\{|^)([^{}]*)\\over\b([^{}]*)(?:\}|$)", r"\\frac{\1}{\2}"),
        (r"(?:\{|^)([^{}]*)\\choose\b([^{}]*)(?:\}|$)", r"\\binom{\1}{\2}"),
        (r"\\dot\s*\{?(\d)\}?(\d*)\\dot\s*\{?(\d)\}?", r"\\overline{\1\2\3}"),
        (r"(?<=\d\.)\((\d+)\)", r"\\overline{\1}"),  # 0.(6)
        (r"\(\s*(?:\\(?:text|mathrm|operatorname)\s*\{)?\s*mod\b[~\s\\}]*(\w+)\s*\}?\s*\)",
         r"\\pmod{\1}"),
        (rf"\\frac\{{(\\(?:text|mathrm)\{{[^{{}}]*\}}{_POWER})\}}"
         rf"\{{(\\(?:text|mathrm)\{{[^{{}}]*\}}{_POWER})\}}", r"\1/\2"),
        (r"\\begin\s*\{(?:[pbB]?matrix|smallmatrix|array)\}(?:\s*\{[clr|\s]*\})?",
         r"\\beginmatrix "),
        (r"\\begin\s*\{cases\}", r"\\begincases "),
        (r"\\end\s*\{\w*(?:matrix|array|cases)\}", r"\\endmatrix "),
        (r"\^(?<=[a-zA-Z]\^)\{(-?\d)\}(?=(?:[^{}\d.]|\{-?\d\})*\})", r"^\1"),  # \mathrm{m\,s^{-2}}
        (r"\\(?:text|mathrm)\s*\{\s*(\\[$%])\s*\}", r"\1"),
        (r"\\circ(\s*\}?)\s*([CF])[\s.]*$", r"\\circ\1\\text{\2}"),
        (r"(?<=\d)(?:\\[ ,;]|[\s~])*\\mathrm\s*\{\s*(min|sec)\s*\}[\s.]*$", r"\\text{\1}"),
        (r"(?<=\d)\s*(?:\^\s*\{\s*(?:\\prime\s*|'){2}\}|'')[\s.]*$", r"\\text{arcsec}"),
        (r"\{:\}", ":"),
        (r"\\mu\s*\\(?:text|mathrm)\s*\{", r"\\text{μ"),
        (r"(?<=\d)(?:\\[ ,;]|[\s~])*([MLR])_\s*\{?\s*\\odot\s*\}?\s*$", r"\\text{solar \1}"),
        (r"(?<=\d)\s*\(\s*([一-鿿/]+)\s*\)\s*$", r"\\text{\1}"),  # 8(个)
        (r"(?<=\d)[\s~]*([AaPp])\.?[Mm]\.?\s*$", r"\\text{\1m}"),
    )
]  # fmt: skip

_DIGIT_GROUPS = (
    r"(?<![\d.,])[1-9]\d{{0,2}}(?:(?:\{{,\}}|\\[,;:! ]|[\s~]{comma})(?:\\!\s*)?\d{{3}})+(?!\d)"
)
_UNIT_AT_END = re.compile(
    rf"(?:(?:(?<=[\d}})])|(?<=\\pi))\s*(?i:{_UNITS})|(?<=\d)[\s~]+[msgLhNJ]){_POWER}"
    rf"(?:\s*/\s*{_ONE_UNIT})?[\s.]*$"
)


class Unparsed(ValueError):
    """The text is not an answer this parser knows. `latex` is True for unknown LaTeX commands."""

    def __init__(self, reason: str, latex: bool = False) -> None:
        super().__init__(reason)
        self.latex = latex


@dataclass
class Token:
    """`kind` is num, sym, fn, cmd, op, text or end."""

    kind: str
    value: str


_SKIPPED = set(
    r"\left \right \big \Big \bigg \Bigg \bigl \bigr \Bigl \Bigr \biggl \biggr \displaystyle "
    r"\textstyle \scriptstyle \limits \! \, \; \: \> \quad \qquad \( \) \[ \] \rm \bf \it \sf "
    r"\boxed \fbox \mathstrut \strut \nobreak \allowbreak \nolimits \middle \enspace \thinspace "
    r"\hfill \ensuremath \large \Large \small".split()
)
_SYNONYMS = {
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", r"\cfrac": r"\frac", r"\dbinom": r"\binom",
    r"\tbinom": r"\binom", r"\leq": "<=", r"\leqslant": "<=", r"\le": "<=", r"\geq": ">=",
    r"\geqslant": ">=", r"\ge": ">=", r"\lt": "<", r"\gt": ">", r"\neq": "!=", r"\ne": "!=",
    r"\cdot": "*", r"\times": "*", r"\ast": "*", r"\div": "/", r"\lbrace": r"\{",
    r"\rbrace": r"\}", r"\lbrack": "[", r"\rbrack": "]", r"\vert": "|", r"\lvert": "|",
    r"\rvert": "|", r"\mid": "|", r"\varnothing": r"\emptyset", r"\bar": r"\overline", r"\%": "%",
    r"\colon": ":", r"\simeq": r"\approx", r"\cong": r"\approx", r"\land": "and", r"\lor": "or",
    r"\wedge": "and", r"\vee": "or", r"\sim": r"\approx",
    r"\Longrightarrow": r"\Rightarrow", r"\implies": r"\Rightarrow",
    r"\rightarrow": r"\to", r"\asin": r"\arcsin", r"\acos": r"\arccos", r"\atan": r"\arctan",
    r"\degree": r"\circ", r"\tg": r"\tan", r"\ctg": r"\cot", r"\arctg": r"\arctan",
    r"\varepsilon": r"\epsilon", r"\varphi": r"\phi", r"\backslash": r"\setminus",
    r"\smallsetminus": r"\setminus", r"\lg": r"\log_10",
}  # fmt: skip
_WORD_COMMANDS = set(
    r"\text \textbf \textit \textrm \textsf \texttt \textnormal \mbox \hbox \mathrm \operatorname "
    r"\mathbf \mathit \mathsf \mathtt \mathcal \boldsymbol \bm \mathbb \mathfrak \mathscr".split()
)
FUNCTIONS = set(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth ln log "
    "exp lcm gcd max min sgn sqrt det cis".split()
)
_PLAIN_SYMBOLS = {"pi": r"\pi", "infinity": r"\infty", "inf": r"\infty", "infty": r"\infty",
                  "theta": r"\theta", "oo": r"\infty"}  # fmt: skip
_GREEK = set(
    r"\alpha \beta \gamma \delta \epsilon \zeta \eta \theta \iota \kappa \lambda \mu \nu \xi \rho "
    r"\sigma \tau \upsilon \phi \chi \psi \omega \Gamma \Delta \Theta \Lambda \Sigma \Phi \Psi "
    r"\Omega \pi \ell \Pi \Xi \hbar \partial \nabla \aleph".split()
)
_TOKEN = re.compile(
    r"(?P<space>[\s~&]+)|(?P<num>\d+(?:\.(?!\.)\d*)?(?:[eE][+-]?\d+(?!\w))?|\.\d+)|(?P<row>\\\\(?:\[\w*\])?)"
    r"|(?P<cmd>\\(?:[a-zA-Z]+|.))|(?P<word>[a-zA-Z]+|[一-鿿]+)|(?P<op><=|>=|!=|\*\*|\.\.\.|.)",
    re.DOTALL,
)
_GROUP = re.compile(r"\s*\{([^{}]*)\}")
_UNSEEN = re.compile(r"\s*(?:\{[^{}]*\}|[^\\{}])")  # the argument of \phantom
_CONNECTIVES = {"or": ("op", "or"), "and": ("op", "and"), "mod": ("cmd", r"\mod"),
                "或": ("op", "or"), "和": ("op", "and")}  # fmt: skip


def respell(text: str) -> str:
    r"""The same answer in one LaTeX spelling, `$` only as \dollar, 10,000 and 10{,}000 as 10000.

    Raises Unparsed: too long.
    """
    if len(text) > MAX_CHARS:
        raise Unparsed(f"longer than {MAX_CHARS} characters")
    for pattern, spelling in _REWRITES:
        text = pattern.sub(spelling, text)
    comma = "" if re.search(r"(?<!\\)[(\[]|\\\{", text) else "|,"  # (1,000) is a pair
    groups = _DIGIT_GROUPS.format(comma=comma)
    text = re.sub(groups, lambda m: re.sub(r"\D", "", m.group()), text)
    text = _UNIT_AT_END.sub(lambda m: rf"\text{{ {re.sub('[{}~]', '', m.group())}}}", text)
    text = text.replace("\\$", "\\dollar ")
    if text.count("$") == 1:
        text = text.replace("$", "\\dollar ")
    return text.replace("$", " ").strip()


def plain_characters(text: str) -> str:
    """Superscripts, fractions, full-width digits and symbols as ASCII LaTeX, as far as known."""
    if text.isascii():
        return text
    text = re.sub("[ℂℕℚℝℤ]", lambda m: rf"\mathbb{{{_ascii(m)}}}", text)
    text = re.sub("[²³¹⁰-⁹⁺⁻ⁿ]+", lambda m: f"^{{{_ascii(m)}}} ", text)
    text = re.sub("[₀-₉]+", lambda m: f"_{{{_ascii(m)}}}", text)
    text = re.sub("[¼-¾⅐-⅞]", lambda m: r"\frac{{{}}}{{{}}}".format(*_ascii(m).split("⁄")), text)
    return unicodedata.normalize("NFKC", text).translate(_SYMBOLS)


def _ascii(match: re.Match) -> str:
    return unicodedata.normalize("NFKC", match.group())


def tokenize(text: str) -> list[Token]:
    """Tokens of an answer, closed by an `end` token.

    Raises Unparsed: too long, or a LaTeX command that is not known here.
    """
    tokens = _scan(respell(text))
    while len(tokens) > 1 and tokens[-1].kind == "op" and tokens[-1].value in (".", ",", ";"):
        tokens.pop()
    return [*tokens, Token("end", "")]


def _scan(text: str) -> list[Token]:
    tokens: list[Token] = []
    position, spaced = 0, False
    while position < len(text):
        match = _TOKEN.match(text, position)
        kind, value, position = match.lastgroup, match.group(), match.end()
        if kind == "space":
            spaced = True
            tokens += [Token("op", "&")] if "&" in value else []
            continue
        if kind == "cmd":
            position, new = _command(value, text, position)
            spaced = spaced or value in (r"\,", r"\;", r"\ ", r"\:", r"\quad", r"\qquad")
        elif kind == "word":
            previous = tokens[-1] if tokens else None
            new = _word(value, previous, spaced, position == len(text))
        elif kind == "row":
            new = [Token("op", r"\\")]
        else:
            new = [Token("num" if kind == "num" else "op", "^" if value == "**" else value)]
        spaced = spaced and not new
        tokens += new
    return tokens


def _command(name: str, text: str, position: int) -> tuple[int, list[Token]]:
    """Tokens of a LaTeX command and the position after it."""
    if name in (r"\left", r"\right") and text[position : position + 1] == ".":
        return position + 1, []
    if name in (r"\hspace", r"\vspace", r"\phantom", r"\hphantom"):
        group = _UNSEEN.match(text, position)
        return (group.end() if group else position), []
    if name in _SKIPPED or name == "\\ " or name == "\\\n":
        return position, []
    if name in _WORD_COMMANDS:
        return _worded(name, text, position)
    name = _SYNONYMS.get(name, name)
    if name == r"\log_10":
        return position, [Token("fn", "log10")]
    if name[1:] in FUNCTIONS and name != r"\sqrt":
        return position, [Token("fn", name[1:])]
    if name in _GREEK:
        return position, [Token("sym", name)]
    return position, [Token("cmd" if name.startswith("\\") else "op", name)]


def _worded(name: str, text: str, position: int) -> tuple[int, list[Token]]:
    r"""`\text{…}` and the font commands: a symbol, a function name or words."""
    group = _GROUP.match(text, position)
    if group is None:
        if text[position : position + 1] != "{":  # \mathbf x
            return position, []
        raise Unparsed("markup inside words", latex=True)
    words, position = group.group(1).strip(), group.end()
    is_text = name.startswith((r"\text", r"\mbox", r"\hbox", r"\mathrm", r"\operatorname"))
    if name == r"\mathbb":
        return position, [Token("sym", f"\\mathbb{words}")]
    words = _SYNONYMS.get(f"\\{words}", words).lstrip("\\") if name == r"\operatorname" else words
    if words in FUNCTIONS and (not name.startswith(r"\text") or words in ("lcm", "gcd")):
        return position, [Token("fn", words)]
    if words in _PLAIN_SYMBOLS:
        return position, [Token("sym", _PLAIN_SYMBOLS[words])]
    if connective := _CONNECTIVES.get(words.lower().strip(" ,;")):
        return position, [Token(*connective)]
    if not is_text and (len(words) == 1 or not words.isalpha()):
        return position, _scan(words)
    if re.fullmatch(r"[\d.,/\s%+()-]*", words):
        return position, _scan(words)
    return position, [Token("text", words)]


def _word(word: str, previous: Token | None, spaced: bool, last: bool) -> list[Token]:
    """A run of plain letters: connective, function, constant, unit or words, else a product."""
    lower = word.lower()
    if lower in _CONNECTIVES:
        return [Token(*_CONNECTIVES[lower])]
    if lower in FUNCTIONS:
        return [Token("fn", lower)] if lower != "sqrt" else [Token("cmd", r"\wholesqrt")]
    if word in _PLAIN_SYMBOLS:
        return [Token("sym", _PLAIN_SYMBOLS[word])]
    after_number = previous is not None and previous.kind == "num"
    if not word.isascii():  # 9页
        return [Token("text", word)]
    if len(word) == 1:
        return [Token("sym", word)]
    counted = after_number and spaced and last and len(word) == 4  # "12 ways"
    if len(word) > 4 or lower in _WORDS or counted:
        return [Token("text", word)]
    return [Token("sym", letter) for letter in word]


# Short words that are no products of letters.
_WORDS = set(
    "no yes none true odd even not the is of to for all any real east west fair base men from "
    "left noon zero one two six ten four five nine dne both undef".split()
)
