"""The tokens of many texts at once: compiled loops over their bytes, no Python object per token.

`scan` splits a whole batch by the rules of `ace_lib.text` (a test compares the two on arbitrary
text). Hashes are the same in every process.

The loops are compiled by numba at their first call and kept on disk. A cached loop is compiled
anew when its own file changes and only then: what it takes from elsewhere must be an argument.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numba import njit

from ace_lib.text import COMMANDS, PAIRS, SIGNS, fold_all

OTHER, MARK, STOP, LETTER, DIGIT, SIGN, PAIRED_SIGN = range(7)
MARKS, STOPS = b',"()[]', b".?:;\n"
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses nothing
SHIFT = np.uint64(29)
ONE = np.uint64(1)
LOW = np.uint64(2**32 - 1)
HIGH = np.uint64(32)
BACKSLASH, EQUALS, SPACE = b"\\= "
WORD = 8
"""Bytes are hashed so many at a time."""
BATCH_CHARACTERS = 1 << 18
"""Texts are scanned in batches of about this size, whose arrays stay in the processor's cache."""


class Tokens(NamedTuple):
    """The tokens of a batch of texts.

    Token t is the bytes of `folded` (uint8) from `begins[t]` to before `ends[t]`, or what the rule
    `rule[t]` writes in their place (-1: none); its hash is `values[t]` (uint64). Text i has the
    tokens from `starts[i]` to before `starts[i + 1]`; `numbers[i]` (uint64) is equal for texts with
    the same numbers, in any order.
    """

    folded: np.ndarray
    begins: np.ndarray
    ends: np.ndarray
    rule: np.ndarray
    values: np.ndarray
    starts: np.ndarray
    numbers: np.ndarray

    def spell(self, places: np.ndarray, lengths: np.ndarray) -> list[str]:
        """Write from each place so many tokens, which are of one text."""
        spelled = _spell(self, RULES, places, lengths)
        return spelled.tobytes().decode().split("\0")[:-1]


class Rules(NamedTuple):
    """How bytes become tokens.

    `kinds` holds the kind of every byte. `turns[k, j]` tells, for a byte of kind k and the next of
    kind j, whether a token begins between them (1), ends (2**32), or both. A token whose hash is
    `hashes[i]` (rising) becomes the bytes `spelled[i]`, whose hash is `values[i]`; 0 drops it.
    """

    kinds: np.ndarray
    turns: np.ndarray
    hashes: np.ndarray
    values: np.ndarray
    spelled: np.ndarray


def _kind(character: str) -> int:
    if character.isalpha() or character >= "\x80":
        return LETTER
    if character.isdigit():
        return DIGIT
    if character in SIGNS:
        return PAIRED_SIGN if f"{character}=" in PAIRS else SIGN
    return STOP if ord(character) in STOPS else MARK if ord(character) in MARKS else OTHER


def _read_rules() -> Rules:
    kinds = np.array([_kind(chr(byte)) for byte in range(256)], dtype=np.uint8)
    kind = np.arange(PAIRED_SIGN + 1)
    is_cut = (kind[:, None] != kind) | (kind >= SIGN)
    turns = is_cut * ((kind > STOP) + ((kind > STOP)[:, None] << 32))
    words = {hash_word(old.encode()): new.encode() for old, new in (COMMANDS | PAIRS).items()}
    hashes = sorted(words)
    spelled = np.zeros((len(words), WORD), dtype=np.uint8)
    for row, value in zip(spelled, hashes, strict=True):
        row[: len(words[value])] = list(words[value])
    values = [hash_word(words[value]) for value in hashes]
    arrays = (np.array(column, dtype=np.uint64) for column in (turns, hashes, values))
    return Rules(kinds, *arrays, spelled)


def hash_word(word: bytes) -> int:
    """Hash a token; none of up to eight bytes has the hash of another."""
    value = 0
    for start in range(0, len(word), WORD):
        value = (value ^ int.from_bytes(word[start : start + WORD], "little")) * int(MIX) % 2**64
    return value


RULES = _read_rules()


def scan(texts: Sequence[str]) -> Tokens:
    """Tokenise `texts`."""
    padded = fold_all([*texts, "\0" * 2 * WORD]).lower()  # eight bytes follow any
    padded = padded.replace(b"&", b"\\")
    words = np.frombuffer(padded, dtype="<u8", count=len(padded) // WORD)
    folded = np.frombuffer(padded, dtype=np.uint8, count=len(padded) - 2 * WORD - 1)
    edges = np.flatnonzero(folded == 0)
    if len(edges) > len(texts) + 1:  # a text holds a zero byte
        return scan([text.replace("\0", " ") for text in texts])
    begins, ends = _cut(folded, RULES)
    return Tokens(folded, *_read(folded, words, edges, begins, ends, RULES))


@njit(cache=True)
def _cut(folded: np.ndarray, rules: Rules) -> tuple[np.ndarray, np.ndarray]:
    """Find where tokens begin and end, before any is rewritten.

    There is no branch in the loop: at the length of a word the processor would guess wrong.
    """
    begins = np.empty(len(folded), dtype=np.uint32)
    ends = np.empty(len(folded), dtype=np.uint32)
    counts, last = np.uint64(0), np.uint8(OTHER)  # how many begun, and in the upper half, ended
    for at, byte in enumerate(folded):
        kind = rules.kinds[byte]
        begins[counts & LOW] = ends[counts >> HIGH] = at
        counts += rules.turns[last, kind]
        last = kind
    return begins[: counts & LOW], ends[: counts >> HIGH]


@njit(cache=True)
def _read(
    folded: np.ndarray, words: np.ndarray, edges: np.ndarray, begins: np.ndarray,
    ends: np.ndarray, rules: Rules,
) -> tuple[np.ndarray, ...]:  # fmt: skip
    """Hash the tokens and apply the rules; return the columns of `Tokens`.

    `words` (uint64) are the bytes, eight by eight, and `edges` those before and after each text.
    """
    rewritten = np.empty(len(begins), dtype=np.int16)
    values = np.empty(len(begins), dtype=np.uint64)
    starts = np.zeros(len(edges), dtype=np.int64)
    numbers = np.zeros(len(edges) - 1, dtype=np.uint64)
    found, token = 0, 0
    for text in range(len(numbers)):
        while found < len(begins) and begins[found] < edges[text + 1]:
            begin, end, rule = np.uint64(begins[found]), np.uint64(ends[found]), -1
            kind = rules.kinds[folded[begin]]
            is_pair = kind == PAIRED_SIGN and folded[end] == EQUALS
            if is_pair:
                end += ONE
                found += 1
            found += 1
            value = _hash(words, begin, end)
            if is_pair or folded[begin - ONE] == BACKSLASH:
                place = np.searchsorted(rules.hashes, value)
                if place < len(rules.hashes) and rules.hashes[place] == value:
                    value, rule = rules.values[place], place
                    if value == 0:
                        continue
            begins[token], ends[token], rewritten[token] = begin, end, rule
            values[token] = mix(value)
            if kind == DIGIT:
                numbers[text] += values[token]
            token += 1
        starts[text + 1] = token
    return begins[:token], ends[:token], rewritten[:token], values[:token], starts, numbers


@njit(cache=True)
def _hash(words: np.ndarray, begin: int, end: int) -> int:
    """Compute `hash_word` of the bytes from `begin` to before `end`."""
    value, word = np.uint64(0), begin >> np.uint64(3)
    shift, left = (begin & np.uint64(7)) << np.uint64(3), (end - begin) << np.uint64(3)
    while True:
        piece = words[word] >> shift | words[word + ONE] << ONE << (np.uint64(63) - shift)
        if left <= np.uint64(64):
            return (value ^ piece << (np.uint64(64) - left) >> (np.uint64(64) - left)) * MIX
        value = (value ^ piece) * MIX
        left -= np.uint64(64)
        word += ONE


@njit(cache=True)
def _spell(tokens: Tokens, rules: Rules, places: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Write runs of tokens, with spaces between them and a zero byte after each run."""
    size = len(places)
    for place, length in zip(places, lengths):  # noqa: B905 (numba knows no `strict`)
        for token in range(place, place + length):
            size += tokens.ends[token] - tokens.begins[token] + 1  # no rule writes more
    spelled, size = np.empty(size, dtype=np.uint8), 0
    for place, length in zip(places, lengths):  # noqa: B905
        for token in range(place, place + length):
            if token > place:
                spelled[size] = SPACE
                size += 1
            rule = tokens.rule[token]
            word = tokens.folded[tokens.begins[token] : tokens.ends[token]]
            for byte in word if rule < 0 else rules.spelled[rule]:
                if byte:
                    spelled[size] = byte
                    size += 1
        spelled[size] = 0
        size += 1
    return spelled[:size]


@njit(cache=True)
def mix(value: np.ndarray) -> np.ndarray:
    """Spread the bits of uint64 values, one to one."""
    value = value * MIX
    return (value ^ (value >> SHIFT)) * MIX


@njit(cache=True)
def ngrams(
    values: np.ndarray, begins: np.ndarray, ends: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of the n-grams of runs of tokens, and the token at which each begins.

    A run, from `begins[i]` to before `ends[i]`, is one n-gram if it has fewer than n tokens, none
    if it is empty.
    """
    hashes = np.empty(len(values), dtype=np.uint64)
    places = np.empty(len(values), dtype=np.int64)
    factor = np.uint64(1)
    for _ in range(n):
        factor *= MIX
    count = 0
    for first, end in zip(begins, ends):  # noqa: B905
        value = np.uint64(0)
        for token in range(first, end):
            value = value * MIX + values[token]
            if token >= first + n:
                value -= values[token - n] * factor
            if token >= first + n - 1 or token == end - 1:
                hashes[count], places[count] = value, max(first, token - n + 1)
                count += 1
    return hashes[:count], places[:count]


def batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Cut `texts` into ranges (first, last + 1) of about `BATCH_CHARACTERS`."""
    ends = np.cumsum(np.fromiter(map(len, texts), dtype=np.int64))
    last = 0
    while last < len(texts):
        first, full = last, ends[last] - len(texts[last]) + BATCH_CHARACTERS
        last = min(int(np.searchsorted(ends, full)) + 1, len(texts))
        yield first, last


def normalise_all(texts: Sequence[str]) -> list[str]:
    """Return `text.normalise` of every text."""
    scanned = (scan(texts[first:last]) for first, last in batches(texts))
    return [
        text
        for tokens in scanned
        for text in tokens.spell(tokens.starts[:-1], np.diff(tokens.starts))
    ]
