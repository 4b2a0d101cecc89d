r"""One LaTeX spelling for what models write: Unicode, plain units, colours, (mod 7), 0.(6).

Text in, text out: nothing is understood here, and nothing that changes a value is dropped.
"""

import re
import unicodedata

MAX_CHARS = 2_000

_SYMBOLS = str.maketrans({
    "−": "-", "–": "-", "—": "-", "×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/",
    "∗": "*", "π": r"\pi ", "√": r"\wholesqrt ", "∞": r"\infty ", "≤": r"\le ", "≥": r"\ge ",
    "≠": r"\ne ", "≈": r"\approx ", "∈": r"\in ", "∪": r"\cup ", "∩": r"\cap ", "°": r"^\circ ",
    "±": r"\pm ", "θ": r"\theta ", "α": r"\alpha ", "β": r"\beta ", "λ": r"\lambda ",
    "∅": r"\emptyset ", "∠": r"\angle ", "△": r"\triangle ", "€": r"\euro ", "£": r"\pounds ",
    "’": "'", "′": "'",
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
        (r"^\s*(?:\\text\s*\{\s*)?(?i:(?:the )?(?:final )?answer(?: is\b|:)):?\s*\}?", ""),
        (r"^\s*~(?=\s*[\d\\.(-])", r"\\approx "),
        (r"^(?:\\text\s*\{\s*)?(?:negative|minus)\s*\}?(?=\s*[\d\\])", "-"),
        (r"(?<=\d)(?:\\[ ,;]|[\s~])*(?:\\text\s*\{\s*)?million\s*\}?", r"\\cdot 10^6 "),
        (r",?\s*\\text\s*\{[\s,]*for (?:all|any|every)[^{}]*\}\s*\w?\s*$", ""),
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
        (r"\\end\s*\{\w*(?:matrix|array)\}", r"\\endmatrix "),
        (r"(?<=\d)[\s~]*([AaPp])\.?[Mm]\.?\s*$", r"\\text{\1m}"),
    )
]  # fmt: skip

_DIGIT_GROUPS = (
    r"(?<![\d.,])[1-9]\d{{0,2}}(?:(?:\{{,\}}|\\[,;:! ]|[\s~]{comma})(?:\\!)?\d{{3}})+(?!\d)"
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


def respell(text: str) -> str:
    r"""The same answer in one LaTeX spelling, `$` only as \dollar, 10,000 and 10{,}000 as 10000.

    Raises:
        Unparsed: too long.
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
    text = re.sub("[²³¹⁰-⁹⁺⁻ⁿ]+", _raised, text)
    text = re.sub("[₀-₉]+", lambda m: f"_{{{_ascii(m)}}}", text)
    text = re.sub("[¼-¾⅐-⅞]", lambda m: r"\frac{{{}}}{{{}}}".format(*_ascii(m).split("⁄")), text)
    return unicodedata.normalize("NFKC", text).translate(_SYMBOLS)


def _raised(match: re.Match) -> str:
    digits = _ascii(match)
    return f"^{digits} " if len(digits) == 1 else f"^{{{digits}}}"


def _ascii(match: re.Match) -> str:
    return unicodedata.normalize("NFKC", match.group())
