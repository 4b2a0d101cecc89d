r"""Normalised tokens: the one view of a statement that curation compares.

Both sides of every comparison pass through these rules. Case, Unicode forms and spacing are folded;
punctuation and the braces and dollars of LaTeX are no tokens, so `$x$`, `\(x\)` and `x` are the
same; `\dfrac` is `\frac`, and commands that only change the look are dropped; entities of HTML are
read like commands, and characters that nobody sees are no part of a word. Numbers and the signs
+ - * / = < > ^ % ! | stay tokens, because "a + 5" and "a * 5" are different problems. The papers
print no tokenisation; this one is ours.

`tokenize` states the rules; `ace_lib.tokens` applies the same ones to a whole byte buffer at once.
"""

import codecs
import html
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

SIGNS = "-+*/=<>^%!|"
# After a backslash or an ampersand, a word becomes another one; "" drops it. No value is longer
# than its key, because the fast tokeniser writes it in the key's place.
COMMANDS = (
    {name: "frac" for name in ("dfrac", "tfrac", "cfrac")}
    | {name: "binom" for name in ("dbinom", "tbinom")}
    | {"cdot": "*", "times": "*", "ast": "*", "div": "/", "vert": "|", "mid": "|", "pmod": "mod"}
    | {"lvert": "|", "rvert": "|", "lt": "<", "gt": ">", "neq": "ne", "bmod": "mod"}
    | {"leq": "le", "leqslant": "le", "geq": "ge", "geqslant": "ge"}
    | dict.fromkeys("left right big bigg bigl bigr displaystyle textstyle limits".split(), "")
    | dict.fromkeys("text textbf textit textrm emph mbox hbox operatorname".split(), "")
    | dict.fromkeys("mathrm mathbf mathit mathbb mathcal mathsf boldsymbol rm bf it".split(), "")
    | dict.fromkeys("quad qquad ldots cdots dots dotsc dotsb hspace vspace !".split(), "")
    | dict.fromkeys("nbsp amp quot apos".split(), "")
)
PAIRS = {"<=": "le", ">=": "ge", "!=": "ne"}
"""Two signs that are one token; the word is as long as the pair."""
SYMBOLS = str.maketrans(
    {"≤": "\\le ", "⩽": "\\le ", "≥": "\\ge ", "⩾": "\\ge ", "≠": "\\ne ", "°": "^circ "}
    | {"π": "pi ", "θ": "theta ", "√": "sqrt ", "∞": "infty ", "∠": "angle ", "△": "triangle "}
    | dict.fromkeys("×·⋅∙", "*") | dict.fromkeys("‐‑‒–—−", "-") | {"÷": "/", "⁄": "/", "∣": "|"}
)  # fmt: skip
# Scripts written without spaces: every character is a token.
CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
CJK_CHARACTER = re.compile(f"[{CJK}]")
# Soft hyphens, zero-width spaces and joiners, marks of direction and of bytes' order.
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
NUMBERED_ENTITY = re.compile(r"&#(?:\d{1,7}|[xX][0-9a-fA-F]{1,6});")
FOREIGN_PUNCTUATION = re.compile(r"[^\x00-\x7f\w]")
TOKEN = re.compile(rf"\\?(?:[a-z\x80-\U0010ffff]+|!)|[0-9]+|[{re.escape(SIGNS)}]")


def fold(text: str) -> bytes:
    """Encode `text`; beyond ASCII only lower-case letters are left, every CJK character apart.

    Runs of characters beyond ASCII reach Python as errors of the ASCII codec, which is several
    times faster than to search for them.
    """
    text = _unescape(text)
    try:
        return text.encode("ascii", "ace-fold")
    except UnicodeEncodeError:  # an accent changes the ASCII letter before it
        return unicodedata.normalize("NFKC", text).encode("ascii", "ace-fold-accents")


def fold_all(texts: Sequence[str]) -> bytes:
    """`fold` many texts, with a zero byte before and after each."""
    try:
        return _unescape("\0".join(["", *texts, ""])).encode("ascii", "ace-fold")
    except UnicodeEncodeError:
        return b"\0".join([b"", *map(fold, texts), b""])


def _unescape(text: str) -> str:
    """Write the characters for which HTML gives numbers, which are none of the statement's."""
    if "#" not in text or "&#" not in text:  # the first is faster
        return text
    return NUMBERED_ENTITY.sub(lambda found: html.unescape(found.group()), text)


def _fold_error(error: UnicodeEncodeError) -> tuple[bytes, int]:
    return _fold_run(error.object[error.start : error.end]), error.end


def _fold_unless_accent(error: UnicodeEncodeError) -> tuple[bytes, int]:
    end = error.end
    run = error.object[error.start : end]
    if "\u0300" <= run < "\u0370":  # it begins with an accent
        raise error
    return _fold_run(run), end


@lru_cache(maxsize=1 << 14)
def _fold_run(run: str) -> bytes:
    """Fold a run of characters beyond ASCII."""
    run = INVISIBLE.sub("", run).translate(SYMBOLS)
    run = unicodedata.normalize("NFKC", run).translate(SYMBOLS).lower()
    return CJK_CHARACTER.sub(r" \g<0> ", FOREIGN_PUNCTUATION.sub(" ", run)).encode()


codecs.register_error("ace-fold", _fold_unless_accent)
codecs.register_error("ace-fold-accents", _fold_error)


def tokenize(text: str) -> list[str]:
    """Split `text` into normalised tokens: words, numbers, mathematical signs."""
    tokens = []
    text = fold(text).decode().lower().replace("&", "\\")
    for pair, word in PAIRS.items():
        text = text.replace(pair, f"\\{word} ")
    for token in TOKEN.findall(text):
        if token.startswith("\\"):
            token = token[1:]
            token = COMMANDS.get(token, token)
        if token:
            tokens.append(token)
    return tokens


def normalise(text: str) -> str:
    """Return the tokens joined by single spaces: equal for texts that differ only in form."""
    return " ".join(tokenize(text))
