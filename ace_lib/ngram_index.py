"""A table of n-grams by their hashes, made for many look-ups of which few find anything.

A hash of 64 bits stands for its n-gram: of a billion look-ups among a million n-grams, one meets a
wrong n-gram with a probability of one in 18,000.
"""

from dataclasses import dataclass

import numpy as np

FILTER_BITS = (12, 26)
"""Least and most bits in the filter: at most 8 MB; 16 per n-gram as long as that suffices."""
SECOND_LOOK = np.uint64(24)


@dataclass(frozen=True)
class NgramTable:
    """N-grams sorted by hash: `hashes` (uint64) and the `positions` of their first token (uint32).

    `seen` is a Bloom filter, bits packed in bytes so that it stays in the processor's cache.
    """

    hashes: np.ndarray
    positions: np.ndarray
    seen: np.ndarray

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (rising index in `hashes`, position of the n-gram) for every equal pair."""
        found = np.flatnonzero(self._maybe(hashes))
        found = found[self._maybe(hashes[found] << SECOND_LOOK)]
        order = np.argsort(hashes[found])  # to search in order is several times faster
        wanted = hashes[found][order]
        first, counts = np.empty_like(order), np.empty_like(order)
        first[order] = np.searchsorted(self.hashes, wanted)
        counts[order] = np.searchsorted(self.hashes, wanted, side="right")
        counts -= first
        entries = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
        return np.repeat(found, counts), self.positions[entries].astype(np.int64)

    def _maybe(self, hashes: np.ndarray) -> np.ndarray:
        """Look at one bit per hash: False means that no n-gram of the table has it."""
        bits = _leading_bits(hashes, 8 * len(self.seen))
        return (self.seen[bits >> 3] >> (bits & 7).astype(np.uint8) & 1).view(bool)


def build_table(hashes: np.ndarray, positions: np.ndarray) -> NgramTable:
    """Sort n-grams by hash."""
    order = np.argsort(hashes)
    hashes, positions = hashes[order], positions[order].astype(np.uint32)
    num_bits = 1 << min(max((len(hashes) * 16).bit_length(), FILTER_BITS[0]), FILTER_BITS[1])
    seen = np.zeros(num_bits, dtype=bool)
    for look in (hashes, hashes << SECOND_LOOK):
        seen[_leading_bits(look, num_bits)] = True
    return NgramTable(hashes, positions, np.packbits(seen, bitorder="little"))


def _leading_bits(hashes: np.ndarray, size: int) -> np.ndarray:
    """Return the leading bits of every hash as an index below `size`, a power of two."""
    return (hashes >> np.uint64(65 - size.bit_length())).view(np.int64)
