r"""Normalised tokens and n-gram hashes: the one view of a statement that curation compares.

Both sides of every comparison pass through `tokenize`: case, Unicode forms and spacing are folded,
`$…$` and `\(…\)` are the same, `\dfrac` is `\frac`. Numbers and the signs + - * / = < > ^ % ! |
stay tokens, because "a + 5" and "a * 5" are different problems. The papers print no tokenisation;
this one is ours.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b

import numpy as np

LATEX_ALIASES = (
    (re.compile(r"\\[()\[\]]|\$|\\left|\\right|\\[,;:! ]|\\displaystyle|~"), " "),
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\cdot|\\times|[×·⋅]"), "*"),
    (re.compile(r"\\leq?\b|≤"), "<="),
    (re.compile(r"\\geq?\b|≥"), ">="),
    (re.compile(r"\\(?:text|mathrm|mathbf|textbf|operatorname)\b"), " "),
    (re.compile("[‐‑‒–—−]"), "-"),
)
# Scripts written without spaces: every character is a token.
CJK = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
TOKEN = re.compile(rf"[{CJK}]|[^\W\d_{CJK}]+|\d+|[-+*/=<>^%!|]")
NUMBER = re.compile(r"\d+")
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no token is lost from the sum


def tokenize(text: str) -> list[str]:
    """Split `text` into normalised tokens: words, numbers, mathematical signs."""
    text = unicodedata.normalize("NFKC", text)
    for pattern, replacement in LATEX_ALIASES:
        text = pattern.sub(replacement, text)
    return TOKEN.findall(text.lower())


def normalise(text: str) -> str:
    """Return the tokens joined by single spaces: equal for texts that differ only in form."""
    return " ".join(tokenize(text))


def numbers_of(text: str) -> tuple[str, ...]:
    """Return the numbers of `text`, sorted: the values that make it this problem and no other."""
    return tuple(sorted(NUMBER.findall(text), key=lambda digits: (len(digits), digits)))


@lru_cache(maxsize=1 << 18)
def hash_token(token: str) -> int:
    """Return 64 bits for `token`, the same in every process (Python's own `hash` is not)."""
    return int.from_bytes(blake2b(token.encode(), digest_size=8).digest(), "little")


def encode(texts: Iterable[str]) -> tuple[np.ndarray, np.ndarray]:
    """Tokenize `texts`; return the hashes of all tokens (uint64) and where each text starts.

    The second array has one entry more than there are texts: text i is
    `tokens[starts[i]:starts[i + 1]]`.
    """
    tokens: list[int] = []
    starts = [0]
    for text in texts:
        tokens.extend(map(hash_token, tokenize(text)))
        starts.append(len(tokens))
    return np.array(tokens, dtype=np.uint64), np.array(starts, dtype=np.int64)


def ngram_hashes(
    tokens: np.ndarray, starts: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hash every n-gram that lies inside one text.

    Returns the hashes (uint64), the text each belongs to, and the position of its first token in
    `tokens`. Texts shorter than n tokens have none.
    """
    counts = np.maximum(np.diff(starts) - n + 1, 0)
    owners = np.repeat(np.arange(len(counts)), counts)
    first_of_owner = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(counts) else counts
    positions = np.arange(counts.sum()) - first_of_owner[owners] + starts[:-1][owners]
    hashes = np.zeros(len(positions), dtype=np.uint64)
    for offset in range(n):
        hashes = hashes * MULTIPLIER + tokens[positions + offset]
    return hashes, owners, positions
