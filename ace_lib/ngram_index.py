"""A table of benchmark n-grams, and the search of many prompts in it.

A hash only proposes a match; `same_tokens` then compares the bytes of all n tokens. The index takes
16 bytes per n-gram (hash, token, its place in the text) and the normalised text itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ace_lib import AceError
from ace_lib.tokens import (
    MASKS,
    WORD_BYTES,
    Tokens,
    batches,
    number_keys,
    scan,
    text_of,
    words_at,
)

FILTER_BITS = (12, 24)
"""Least and most bits of a hash that the first look takes: at most a table of 16 MB."""


@dataclass(frozen=True)
class Texts:
    """The normalised texts of all items, tokens with one space between them.

    Token t begins at byte `begins[t]` of `buffer` (uint8), text i has the tokens from `starts[i]`
    to before `starts[i + 1]`; `numbers` are the texts' `number_keys`.
    """

    buffer: np.ndarray
    begins: np.ndarray
    starts: np.ndarray
    numbers: np.ndarray

    @property
    def counts(self) -> np.ndarray:
        """Number of tokens of each text."""
        return np.diff(self.starts)

    def spell(self, text: int) -> bytes:
        """Return the tokens of one text, a space after each."""
        first, last = self.begins[self.starts[text : text + 2]].tolist()
        return self.buffer[first:last].tobytes()


@dataclass(frozen=True)
class NgramTable:
    """N-grams of one length, sorted by hash: `hashes` (uint64) and first `positions` (uint32).

    `seen` tells for the leading bits of a hash whether any n-gram has them.
    """

    n: int
    hashes: np.ndarray
    positions: np.ndarray
    seen: np.ndarray

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (index in `hashes`, position in the items) for every equal pair of hashes."""
        gram = np.flatnonzero(self.seen[hashes >> _shift(self.seen)])
        first = np.searchsorted(self.hashes, hashes[gram])
        equal = self.hashes[np.minimum(first, len(self.hashes) - 1)] == hashes[gram]
        gram, first = gram[equal], first[equal]
        counts = np.searchsorted(self.hashes, hashes[gram], side="right") - first
        entry = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        return np.repeat(gram, counts), self.positions[entry].astype(np.int64)


def build_table(hashes: np.ndarray, positions: np.ndarray, n: int) -> NgramTable:
    """Sort n-grams by hash."""
    order = np.argsort(hashes, kind="stable")
    hashes, positions = hashes[order], positions[order].astype(np.uint32)
    bits = min(max(int(len(hashes) * 8).bit_length(), FILTER_BITS[0]), FILTER_BITS[1])
    seen = np.zeros(1 << bits, dtype=bool)
    seen[hashes >> _shift(seen)] = True
    return NgramTable(n, hashes, positions, seen)


def _shift(seen: np.ndarray) -> np.uint64:
    """Return by how many bits a hash is shifted to be an index of `seen`."""
    return np.uint64(65 - len(seen).bit_length())


def pack(prompts: Sequence[str]) -> tuple[Texts, np.ndarray]:
    """Tokenise `prompts` for keeping; return their texts and the hashes of all their tokens.

    Raises AceError for more than 4 GB of tokens, which 32-bit positions cannot reach.
    """
    numbers, values = [np.empty(0, dtype=np.uint64)], [np.empty(0, dtype=np.uint64)]
    buffers, sizes, starts = [], [np.zeros(1, dtype=np.int64)], [np.zeros(1, dtype=np.int64)]
    for first, last in batches(prompts):
        tokens = scan(prompts[first:last])
        buffers.append(_spaced(tokens))
        sizes.append(tokens.lengths + 1)
        numbers.append(number_keys(tokens))
        values.append(tokens.values)
        starts.append(tokens.starts[1:] + starts[-1][-1])
    buffer = np.concatenate([*buffers, np.zeros(WORD_BYTES, dtype=np.uint8)])
    if len(buffer) > np.iinfo(np.uint32).max:
        raise AceError(f"{len(buffer) / 1e9:.1f} GB of tokens; compare at most 4 GB at once")
    begins = np.cumsum(np.concatenate(sizes), dtype=np.uint32)
    texts = Texts(buffer, begins, np.concatenate(starts), np.concatenate(numbers))
    return texts, np.concatenate(values)


def _spaced(tokens: Tokens) -> np.ndarray:
    """Copy the bytes of all tokens, a space after each."""
    sizes = tokens.lengths + 1
    ends = np.cumsum(sizes)
    source = np.arange(sizes.sum()) + np.repeat(tokens.begins - ends + sizes, sizes)
    buffer = tokens.buffer[source]
    buffer[ends - 1] = ord(" ")
    return buffer


def inside(starts: np.ndarray, positions: np.ndarray, n: int) -> np.ndarray:
    """Tell which n-grams, by the position of their first token, end in the text they begin in."""
    return positions + n <= starts[text_of(starts, positions) + 1]


def same_tokens(
    tokens: Tokens, positions: np.ndarray, texts: Texts, entries: np.ndarray, n: int
) -> np.ndarray:
    """Compare the n tokens from `positions` with those from `entries` byte by byte."""
    left_words, right_words = words_at(tokens.buffer), words_at(texts.buffer)
    same = np.ones(len(positions), dtype=bool)
    for offset in range(n):
        here, there = positions + offset, entries + offset
        lengths = tokens.lengths[here]
        begins, others = tokens.begins[here], texts.begins[there].astype(np.int64)
        same &= texts.begins[there + 1] - others == lengths + 1
        open_, done = np.flatnonzero(same), 0
        while len(open_):
            mask = MASKS[np.minimum(lengths[open_] - done, WORD_BYTES)]
            left = left_words[begins[open_] + done] & mask
            same[open_] &= left == right_words[others[open_] + done] & mask
            done += WORD_BYTES
            open_ = open_[same[open_] & (lengths[open_] > done)]
    return same
