"""A table of the n-grams of many items, and the search for the item that a text holds most of."""

from typing import NamedTuple

import numpy as np
from numba import njit

from ace_lib.tokens import MARK, MIX, RULES, SIGN, STOP, Tokens, ngrams

LEAST_PROMPT_SHARE = 0.5
"""Ours. A phrase of a much longer prompt is no leak."""
LEAST_SENTENCE = 3
"""Ours. "Find x" begins a sentence of many innocent prompts."""
MAX_FILTER_WORDS = 1 << 20
MAX_BUCKET_BITS = 19
LOOKS = (np.uint64(40), np.uint64(46), np.uint64(52))
"""Where in a hash its bits of the filter's word stand."""
LAST_OPENING = np.uint64(2**15 - 1)


class NgramTable(NamedTuple):
    """The n-grams of items; an item with fewer than n tokens is one n-gram.

    `keys` (uint64, rising) hold the leading bits of each hash and, in the lower `place_bits`, the
    token where the n-gram begins. `filter` is a Bloom filter of at least 16 bits per n-gram, up to
    8 MB, with all bits of an n-gram in one word (uint64). `values` are the hashes of all tokens;
    item i has those from `starts[i]` to before `starts[i + 1]`, and its numbers are `numbers[i]`,
    as in `Tokens`. `openings` marks the first words of items with fewer than n tokens, by
    `_opening`.
    """

    n: int
    keys: np.ndarray
    place_bits: int
    filter: np.ndarray
    buckets: np.ndarray
    bucket_shift: int
    values: np.ndarray
    starts: np.ndarray
    numbers: np.ndarray
    openings: np.ndarray


class Best(NamedTuple):
    """Per text the item that it holds most of (-1: none), as arrays.

    `item_share` and `text_share` are the shares of the item's and the text's tokens under shared
    n-grams; the first of these has the `length` tokens from `place`.
    """

    item: np.ndarray
    item_share: np.ndarray
    text_share: np.ndarray
    place: np.ndarray
    length: np.ndarray


class Marks(NamedTuple):
    """What one text shares with each item; all is 0 again after each text.

    `items` lists the items found. For each, `first` is the token of the text at which the first
    shared n-gram begins, `end` that at which the last one ends, and `covered` counts those under
    all of them. `shared` marks the tokens of all items.
    """

    items: np.ndarray
    first: np.ndarray
    end: np.ndarray
    covered: np.ndarray
    shared: np.ndarray


def build_table(n: int, values: np.ndarray, starts: np.ndarray, numbers: np.ndarray) -> NgramTable:
    """Sort the n-grams of all items by hash."""
    keys, places = ngrams(values, starts[:-1], starts[1:], n)
    words = np.zeros(min(1 << len(keys).bit_length() >> 2, MAX_FILTER_WORDS) or 1, dtype=np.uint64)
    _fill(words, keys)
    place_bits = len(values).bit_length()
    keys >>= np.uint64(place_bits)
    keys <<= np.uint64(place_bits)
    keys |= places.view(np.uint64)
    keys.sort()
    shift = 64 - min((len(keys) // 2 + 1).bit_length(), MAX_BUCKET_BITS)
    buckets = _find_buckets(keys, shift)
    openings = np.zeros(int(LAST_OPENING) + 1, dtype=bool)
    lengths = np.diff(starts)
    is_short = (lengths >= LEAST_SENTENCE) & (lengths < n)
    openings[_opening(values, starts[:-1][is_short])] = True
    return NgramTable(n, keys, place_bits, words, buckets, shift, values, starts, numbers, openings)


def no_marks(table: NgramTable) -> Marks:
    """Make the marks for `find_best`, which leaves them as they are."""
    counts = np.zeros((4, len(table.numbers)), dtype=np.int64)
    return Marks(*counts, np.zeros(len(table.values), dtype=bool))


def find_best(tokens: Tokens, table: NgramTable, marks: Marks, same_numbers: bool) -> Best:
    """Compare every text with all items; with `same_numbers`, only with those of its numbers."""
    size = len(tokens.numbers)
    best = Best(np.full(size, -1), *np.zeros((2, size)), *np.zeros((2, size), dtype=np.int64))

    def look_up(begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _look_up(table.filter, *ngrams(tokens.values, begins, ends, table.n))

    begins, ends = tokens.starts[:-1], tokens.starts[1:]
    _find_copies(tokens, table, *look_up(begins, np.minimum(ends, begins + table.n)), best)
    texts = np.flatnonzero(best.item < 0)
    found = look_up(begins[texts], ends[texts])
    shorter = _look_up_shorter(tokens, table, texts, RULES.kinds)
    hashes, places = map(np.concatenate, zip(found, shorter, strict=True))
    order = np.argsort(places, kind="stable")
    _find_best(tokens, table, hashes[order], places[order], same_numbers, marks, best, RULES.kinds)
    return best


@njit(cache=True)
def _find_buckets(keys: np.ndarray, shift: int) -> np.ndarray:
    """Return where the keys with each value of the leading bits begin, and their number."""
    buckets = np.zeros((1 << (64 - shift)) + 1, dtype=np.uint32)
    for rank, key in enumerate(keys):
        buckets[(key >> shift) + np.uint64(1)] = rank + 1  # its last key stays
    for bucket in range(1, len(buckets)):
        buckets[bucket] = max(buckets[bucket], buckets[bucket - 1])
    return buckets


@njit(cache=True)
def _fill(words: np.ndarray, hashes: np.ndarray) -> None:
    """Set the bits of each hash in a filter."""
    for value in hashes:
        words[value & np.uint64(len(words) - 1)] |= _bits(value)


@njit(cache=True)
def _bits(value: int) -> int:
    """Return the bits of a hash in its word of a filter."""
    bits = np.uint64(0)
    for look in LOOKS:
        bits |= np.uint64(1) << (value >> look & np.uint64(63))
    return bits


@njit(cache=True)
def _may_hold(words: np.ndarray, value: int) -> bool:
    """Read whether all bits of a hash are set."""
    return ~words[value & np.uint64(len(words) - 1)] & _bits(value) == 0


@njit(cache=True)
def _look_up(
    words: np.ndarray, hashes: np.ndarray, places: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Keep what the filter may hold: all n-grams that are in the table, and few others."""
    kept, count = np.empty(len(hashes), dtype=np.int64), 0
    for index, value in enumerate(hashes):
        kept[count] = index  # without a branch, so that the processor can look far ahead
        count += _may_hold(words, value)
    return hashes[kept[:count]], places[kept[:count]]


@njit(cache=True)
def _look_up_shorter(
    tokens: Tokens, table: NgramTable, texts: np.ndarray, kinds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Do so for 1, 2, ... n - 1 tokens from each token at which a short item may begin."""
    hashes, places = [np.uint64(0) for _ in range(0)], [0 for _ in range(0)]
    openings, last = _find_openings(tokens.values, table.openings), 0
    for text in texts:
        begin, end = tokens.starts[text], tokens.starts[text + 1]
        is_small = (end - begin) * LEAST_PROMPT_SHARE < table.n
        first = last
        while first < len(openings) and openings[first] < begin:
            first += 1
        last = first
        while last < len(openings) and openings[last] < end:
            last += 1
        for place in np.arange(begin, end) if is_small else openings[first:last]:
            if is_small or opens_sentence(tokens, text, place, kinds):
                value = np.uint64(0)
                for token in range(place, min(place + table.n - 1, end)):
                    value = value * MIX + tokens.values[token]
                    if _may_hold(table.filter, value):
                        hashes.append(value)
                        places.append(place)
    return np.array(hashes, dtype=np.uint64), np.array(places, dtype=np.int64)


@njit(cache=True)
def _find_openings(values: np.ndarray, openings: np.ndarray) -> np.ndarray:
    """Find where a short item may begin."""
    places, count = np.empty(len(values), dtype=np.int64), 0
    for place in range(len(values) - LEAST_SENTENCE + 1):
        places[count] = place  # without a branch, as above
        count += openings[_opening(values, place)]
    return places[:count]


@njit(cache=True)
def _opening(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return some bits of the hash of the `LEAST_SENTENCE` tokens from one or many places."""
    first = values[places] * MIX + values[places + 1]
    return (first * MIX + values[places + 2]) & LAST_OPENING


@njit(cache=True)
def opens_sentence(tokens: Tokens, text: int, place: int, kinds: np.ndarray) -> bool:
    """Read whether a sentence, a line, the text or what stands after a mark begins with a token."""
    if place == tokens.starts[text] or kinds[tokens.folded[tokens.ends[place - 1] - 1]] >= SIGN:
        return True
    for at in range(tokens.ends[place - 1], tokens.begins[place]):
        if kinds[tokens.folded[at]] in (MARK, STOP):
            return True
    return False


@njit(cache=True)
def closes_sentence(tokens: Tokens, text: int, end: int, kinds: np.ndarray) -> bool:
    """Read whether a sentence, a line or the text ends before a token."""
    if end >= tokens.starts[text + 1]:
        return True
    for at in range(tokens.ends[end - 1], tokens.begins[end]):
        if kinds[tokens.folded[at]] == STOP:
            return True
    return False


@njit(cache=True)
def _find_places(table: NgramTable, value: int) -> np.ndarray:
    """Return the tokens of items at which n-grams of a hash begin, in rising order."""
    low_bits = (np.uint64(1) << table.place_bits) - np.uint64(1)
    bucket = value >> table.bucket_shift
    first, end = table.buckets[bucket], table.buckets[bucket + 1]
    while first < end and table.keys[first] | low_bits < value | low_bits:
        first += 1
    last = first
    while last < end and table.keys[last] | low_bits == value | low_bits:
        last += 1
    return (table.keys[first:last] & low_bits).view(np.int64)


@njit(cache=True)
def _find_copies(
    tokens: Tokens, table: NgramTable, hashes: np.ndarray, places: np.ndarray, best: Best
) -> None:
    """Choose for a text that is an item, token by token, the first such item.

    `hashes` are those of the texts' first n-grams. No item can be held more.
    """
    for value, begin in zip(hashes, places):  # noqa: B905 (numba knows no `strict`)
        text = np.searchsorted(tokens.starts, begin, side="right") - 1
        length = tokens.starts[text + 1] - begin
        for at in _find_places(table, value):
            item = np.searchsorted(table.starts, at, side="right") - 1
            is_whole = at == table.starts[item] and at + length == table.starts[item + 1]
            if is_whole and _equal(tokens.values, begin, table.values, at, length):
                best.item[text], best.place[text] = item, begin
                best.length[text] = min(table.n, length)
                best.item_share[text] = best.text_share[text] = 1.0
                break


@njit(cache=True)
def _find_best(
    tokens: Tokens, table: NgramTable, hashes: np.ndarray, places: np.ndarray,
    same_numbers: bool, marks: Marks, best: Best, kinds: np.ndarray,
) -> None:  # fmt: skip
    """Mark what each text shares with items, from n-grams in rising order of place, and choose."""
    window = 0
    for text in range(len(tokens.numbers)):
        end, num_found = tokens.starts[text + 1], 0
        while window < len(places) and places[window] < end:
            place = places[window]
            for at in _find_places(table, hashes[window]):
                item = np.searchsorted(table.starts, at, side="right") - 1
                length = min(table.n, table.starts[item + 1] - table.starts[item])
                if place + length > end or not _equal(
                    tokens.values, place, table.values, at, length
                ):
                    continue
                if marks.covered[item] == 0:
                    marks.first[item] = place
                    marks.items[num_found] = item
                    num_found += 1
                marks.covered[item] += place + length - max(place, marks.end[item])
                marks.end[item] = place + length
                for token in range(at, at + length):
                    marks.shared[token] = True
            window += 1
        if num_found:
            _choose(tokens, table, text, marks, num_found, same_numbers, best, kinds)


@njit(cache=True)
def _equal(left: np.ndarray, begin: int, right: np.ndarray, other: int, length: int) -> bool:
    for offset in range(length):
        if left[begin + offset] != right[other + offset]:
            return False
    return True


@njit(cache=True)
def _choose(
    tokens: Tokens, table: NgramTable, text: int, marks: Marks, num_found: int,
    same_numbers: bool, best: Best, kinds: np.ndarray,
) -> None:  # fmt: skip
    """Choose a whole item first, then the larger shares, then the first item; clean the marks."""
    top = (False, 0.0, 0.0, 0)
    for item in marks.items[:num_found]:
        shared = marks.shared[table.starts[item] : table.starts[item + 1]]
        place = marks.first[item]
        item_share = shared.sum() / len(shared)
        text_share = marks.covered[item] / (tokens.starts[text + 1] - tokens.starts[text])
        same = tokens.numbers[text] == table.numbers[item]
        told = same or (
            table.numbers[item] != 0 and closes_sentence(tokens, text, place + len(shared), kinds)
        )
        wrapped = (
            told and len(shared) >= LEAST_SENTENCE and opens_sentence(tokens, text, place, kinds)
        )
        counts = len(shared) >= table.n or text_share >= LEAST_PROMPT_SHARE or wrapped
        rank = (item_share >= 1, min(item_share, text_share), item_share, -item)
        if counts and (same or not same_numbers) and rank > top:
            top = rank
            best.item[text], best.place[text] = item, place
            best.length[text] = min(table.n, len(shared))
            best.item_share[text], best.text_share[text] = item_share, text_share
        shared[:] = False
        marks.covered[item] = marks.end[item] = 0
