"""The tokens of many texts at once: one byte buffer, numpy arrays, no Python object per token.

`scan` splits a whole batch by the rules of `ace_lib.text` (a test compares the two on arbitrary
text). A token of up to eight bytes is read as one 64-bit word, so equal words are equal tokens;
longer ones are hashed. Hashes are the same in every process.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from ace_lib.text import COMMANDS, PAIRS, SIGNS, fold

OTHER, STOP, LETTER, DIGIT, SIGN, WORD = range(6)
STOPS = ".?:;\n"
KINDS = bytes(
    LETTER if chr(byte).isalpha() or byte >= 128 else DIGIT if chr(byte).isdigit()
    else SIGN if chr(byte) in SIGNS else STOP if chr(byte) in STOPS else OTHER
    for byte in range(256)
)  # fmt: skip
LOWER = bytes(range(256)).lower()
WORD_BYTES = 8
MASKS = np.array([(1 << 8 * size) - 1 for size in range(WORD_BYTES + 1)], dtype=np.uint64)
MIX = np.uint64(0x9E3779B97F4A7C15)  # odd, so that multiplying loses nothing
SHIFT = np.uint64(29)
LONG_TOKEN = 64
BATCH_CHARACTERS = 1 << 19
"""Texts are scanned in batches of about this size, whose arrays stay in the processor's cache."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of a batch of texts.

    `buffer` holds the normalised bytes (uint8, with padding at the end); token t is
    `buffer[begins[t] : begins[t] + lengths[t]]`, its hash `values[t]` (uint64). Text i has the
    tokens from `starts[i]` to before `starts[i + 1]`; `stops` are the bytes that end a sentence.
    """

    buffer: np.ndarray
    begins: np.ndarray
    lengths: np.ndarray
    values: np.ndarray
    starts: np.ndarray
    stops: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of tokens of each text."""
        return np.diff(self.starts)

    def spell(self, places: np.ndarray, lengths: np.ndarray) -> list[str]:
        """Write the `lengths[i]` tokens from `places[i]`, with single spaces, for every i."""
        plain, spelled = self.buffer.tobytes(), []
        for place, length in zip(places.tolist(), lengths.tolist(), strict=True):
            begins = self.begins[place : place + length].tolist()
            sizes = self.lengths[place : place + length].tolist()
            spans = zip(begins, sizes, strict=True)
            spelled.append(b" ".join([plain[at : at + size] for at, size in spans]).decode())
        return spelled


def scan(texts: Sequence[str]) -> Tokens:
    """Tokenise `texts`."""
    plain = _join(texts) + bytes(WORD_BYTES)
    kinds = np.frombuffer(bytearray(plain.translate(KINDS)), dtype=np.uint8)
    buffer = np.frombuffer(bytearray(plain.translate(LOWER)), dtype=np.uint8)
    _rewrite_pairs(kinds, buffer)
    begins, lengths = _split(kinds)
    values = _hash_spans(buffer, begins, lengths)
    if b"\\" in plain:
        begins, lengths, values = _rewrite_commands(buffer, begins, lengths, values)
    ends = np.flatnonzero(buffer[: len(plain) - WORD_BYTES + 1] == 0)  # the last is padding
    starts = np.zeros(len(texts) + 1, dtype=np.int64)
    starts[1:] = np.searchsorted(begins, ends[: len(texts)])
    return Tokens(buffer, begins, lengths, values, starts, np.flatnonzero(kinds == STOP))


def _join(texts: Sequence[str]) -> bytes:
    """Join the texts, folded, with zero bytes between them."""
    joined = "\0".join(texts)
    if joined.count("\0") >= max(1, len(texts)):
        joined = "\0".join([text.replace("\0", " ") for text in texts])
    return fold(joined)


def _rewrite_pairs(kinds: np.ndarray, buffer: np.ndarray) -> None:
    """Write `le` for `<=` and the like, in place.

    Each gets a kind that no neighbour has: letters have another, and so has a pair two bytes on.
    """
    equals = np.flatnonzero(buffer == ord("="))
    for pair, word in PAIRS.items():
        seconds = equals[buffer[equals - 1] == ord(pair[0])]
        for place, byte in ((seconds - 1, word[0]), (seconds, word[1])):
            buffer[place] = ord(byte)
            kinds[place] = WORD + (seconds >> 1 & 1)


def _split(kinds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find runs of one kind of byte; a sign is a run of its own. Returns begins and lengths."""
    changes = np.empty(len(kinds) + 1, dtype=bool)
    changes[0] = changes[-1] = True
    np.not_equal(kinds[1:], kinds[:-1], out=changes[1:-1])
    signs = kinds == SIGN
    inside = kinds > STOP
    begins = np.flatnonzero((changes[:-1] | signs) & inside)
    ends = np.flatnonzero((changes[1:] | signs) & inside)
    return begins, ends - begins + 1


def words_at(buffer: np.ndarray) -> np.ndarray:
    """View `buffer` as the 64-bit words that begin at each of its bytes but the last seven."""
    size = len(buffer) - WORD_BYTES + 1
    return np.ndarray(size, dtype="<u8", buffer=buffer.data, strides=(1,))


def _hash_spans(buffer: np.ndarray, begins: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Hash the bytes of every token; up to eight bytes the hash loses nothing."""
    words = words_at(buffer)
    values = words[begins]
    values &= MASKS[np.minimum(lengths, WORD_BYTES)]
    longer, offset = np.flatnonzero(lengths > WORD_BYTES), WORD_BYTES
    while len(longer) and offset < LONG_TOKEN:
        rest = np.minimum(lengths[longer] - offset, WORD_BYTES)
        values[longer] = values[longer] * MIX + (words[begins[longer] + offset] & MASKS[rest])
        offset += WORD_BYTES
        longer = longer[lengths[longer] > offset]
    for token in longer.tolist():
        span = buffer[begins[token] : begins[token] + lengths[token]]
        values[token] = int.from_bytes(blake2b(span, digest_size=8).digest(), "little")
    return mix(values)


def mix(values: np.ndarray) -> np.ndarray:
    """Spread the bits of uint64 `values`, one to one and in place."""
    values *= MIX
    values ^= values >> SHIFT
    values *= MIX
    return values


def hash_words(words: Sequence[str]) -> np.ndarray:
    """Return the hashes that `scan` gives to single tokens."""
    buffer = np.frombuffer(("\0".join(words)).encode() + bytes(WORD_BYTES), dtype=np.uint8)
    lengths = np.array([len(word.encode()) for word in words])
    return _hash_spans(buffer, np.cumsum(lengths + 1) - lengths - 1, lengths)


def _command_table() -> tuple[np.ndarray, list[bytes], np.ndarray]:
    """Return hashes of the commands in rising order, their replacements and those's hashes."""
    names = list(COMMANDS)
    hashes, new_hashes = hash_words(names), hash_words([COMMANDS[name] for name in names])
    order = np.argsort(hashes)
    return hashes[order], [COMMANDS[names[i]].encode() for i in order], new_hashes[order]


COMMAND_HASHES, NEW_WORDS, NEW_HASHES = _command_table()


def _rewrite_commands(
    buffer: np.ndarray, begins: np.ndarray, lengths: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Put LaTeX commands into their plain form, in place; return the tokens that are left."""
    commands = np.flatnonzero(buffer[begins - 1] == ord("\\"))
    place = np.searchsorted(COMMAND_HASHES, values[commands])
    place[place == len(COMMAND_HASHES)] = 0
    known = COMMAND_HASHES[place] == values[commands]
    commands, place = commands[known], place[known]
    values[commands] = NEW_HASHES[place]
    for number in np.unique(place).tolist():
        found, word = commands[place == number], NEW_WORDS[number]
        lengths[found] = len(word)
        for offset, byte in enumerate(word):
            buffer[begins[found] + offset] = byte
    left = lengths > 0
    return begins[left], lengths[left], values[left]


def ngram_hashes(values: np.ndarray, n: int) -> np.ndarray:
    """Hash the n-gram that starts at each token; n - 1 fewer than there are tokens.

    The hash is a polynomial in MIX, built by doubling: that of 2m tokens from two of m. N-grams run
    on across the end of a text; `inside` tells which do not.
    """
    if len(values) < n:
        return np.empty(0, dtype=np.uint64)
    hashes, length, factor = values, 1, int(MIX)
    for bit in bin(n)[3:]:
        doubled = hashes[:-length] * np.uint64(factor)
        doubled += hashes[length:]
        hashes, length, factor = doubled, 2 * length, factor * factor % 2**64
        if bit == "1":
            longer = hashes[:-1] * MIX
            longer += values[length:]
            hashes, length, factor = longer, length + 1, factor * int(MIX) % 2**64
    return hashes


def batches(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Cut `texts` into ranges (first, last + 1) of about `BATCH_CHARACTERS`."""
    first, size = 0, 0
    for index, text in enumerate(texts):
        size += len(text)
        if size >= BATCH_CHARACTERS:
            yield first, index + 1
            first, size = index + 1, 0
    if first < len(texts):
        yield first, len(texts)


def normalise_all(texts: Sequence[str]) -> list[str]:
    """Return `text.normalise` of every text."""
    scanned = (scan(texts[first:last]) for first, last in batches(texts))
    return [text for tokens in scanned for text in tokens.spell(tokens.starts[:-1], tokens.counts)]


def number_keys(tokens: Tokens) -> np.ndarray:
    """Return one uint64 per text that is equal for texts with the same numbers, in any order."""
    numbers = np.flatnonzero(tokens.buffer[tokens.begins] - np.uint8(ord("0")) < 10)
    sums = np.zeros(len(numbers) + 1, dtype=np.uint64)
    np.cumsum(tokens.values[numbers], out=sums[1:])
    return np.diff(sums[np.searchsorted(numbers, tokens.starts)])


def text_of(starts: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return for each token position the number of the text that it belongs to."""
    return np.searchsorted(starts, positions, side="right") - 1


def inside(starts: np.ndarray, positions: np.ndarray, n: int) -> np.ndarray:
    """Tell which n-grams, by the position of their first token, end in the text they begin in."""
    return positions + n <= starts[text_of(starts, positions) + 1]


def sentence_begins(tokens: Tokens) -> np.ndarray:
    """Tell for each token whether a sentence, a line or a text begins with it."""
    begins = np.zeros(len(tokens.begins) + 1, dtype=bool)
    begins[np.searchsorted(tokens.begins, tokens.stops)] = True
    begins[tokens.starts] = True
    return begins[:-1]
