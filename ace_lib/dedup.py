"""Remove repeated prompts: exact ones after normalisation, then near-duplicates by MinHash.

P2 section 3.1 says that prompts are deduplicated and no more; method and threshold are ours. Two
statements that share almost all words but differ in a number are different problems, so a
near-duplicate must hold the same numbers too.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import njit

from ace_lib import AceError
from ace_lib.text import normalise
from ace_lib.tokens import batches, mix, ngrams, normalise_all, scan

SHINGLE = 3
NUM_HASHES = 64
BAND_SIZE = 2
"""32 bands of 2: a pair of similarity 0.4 becomes a candidate with probability 0.996. Candidates
are then compared exactly, so a wrong candidate costs time, never a row."""
MAX_PARTNERS = 64
"""A row is paired with at most so many before it in one bucket: shared boilerplate fills buckets
with thousands of rows, and true copies meet again in other bands."""


def exact_clusters(prompts: Sequence[str]) -> np.ndarray:
    """Return for each prompt the index of the first prompt that is equal after normalisation."""
    first: dict[str, int] = {}
    spelled = enumerate(normalise_all(prompts))
    return np.array([first.setdefault(text, index) for index, text in spelled], dtype=np.int64)


def minhash_signatures(
    prompts: Sequence[str], num_hashes: int = NUM_HASHES, shingle: int = SHINGLE, seed: int = 0
) -> np.ndarray:
    """Return MinHash signatures, uint32 of shape (num_prompts, num_hashes).

    Entry j of a signature is the smallest value of hash function j over the prompt's shingles
    (runs of `shingle` tokens; a shorter prompt is one shingle). Two signatures agree in an entry
    with probability equal to the Jaccard similarity of the shingle sets.
    """
    generator = np.random.default_rng(seed)
    factors = generator.integers(0, 2**31, num_hashes, dtype=np.uint32) * 2 + 1  # odd: one to one
    shifts = generator.integers(0, 2**32, num_hashes, dtype=np.uint32)
    signatures = np.full((len(prompts), num_hashes), 2**32 - 1, dtype=np.uint32)
    for first, last in batches(prompts):
        tokens = scan(prompts[first:last])
        hashes, places = ngrams(tokens.values, tokens.starts[:-1], tokens.starts[1:], shingle)
        hashes = (mix(hashes) >> np.uint64(32)).astype(np.uint32)
        ends = np.searchsorted(places, tokens.starts[1:])
        _sign(hashes, ends, factors, shifts, signatures[first:last])
    return signatures


@njit(cache=True)
def _sign(
    hashes: np.ndarray, ends: np.ndarray, factors: np.ndarray, shifts: np.ndarray,
    signatures: np.ndarray,
) -> None:  # fmt: skip
    """Lower every entry of the signatures to the least value over the prompt's shingles."""
    first = 0
    for row, end in enumerate(ends):
        for shingle in range(first, end):
            for j in range(len(factors)):
                value = np.uint32(hashes[shingle] * factors[j] + shifts[j])
                signatures[row, j] = min(signatures[row, j], value)
        first = end


def candidate_pairs(
    prompts: Sequence[str], signatures: np.ndarray, band_size: int = BAND_SIZE
) -> np.ndarray:
    """Pair prompts with the same numbers that agree in all entries of at least one band.

    Returns int64 of shape (num_pairs, 2) in rising order, the smaller index first.
    """
    found = [scan(prompts[first:last]).numbers for first, last in batches(prompts)]
    numbers = np.concatenate([np.empty(0, dtype=np.uint64), *found])
    found = [np.empty(0, dtype=np.int64)]
    for start in range(0, signatures.shape[1], band_size):
        keys = numbers.copy()
        for entries in signatures[:, start : start + band_size].T:
            keys = mix(keys) ^ entries
        left, right = _equal_pairs(keys)
        found.append(left * len(prompts) + right)
    pairs = np.unique(np.concatenate(found))
    return np.stack(np.divmod(pairs, max(1, len(prompts))), axis=1)


def _equal_pairs(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pair the indices of equal keys, each with up to `MAX_PARTNERS` before it."""
    order = np.argsort(keys, kind="stable")
    places = np.arange(len(keys))
    begins = np.searchsorted(keys[order], keys[order])
    counts = np.minimum(places - begins, MAX_PARTNERS)
    right = np.repeat(places, counts)
    back = np.arange(len(right)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    return order[right - back], order[right]


class Statement(NamedTuple):
    """A normalised prompt, and the set of its shingles."""

    spelled: str
    num_tokens: int
    shingles: frozenset[tuple[str, ...]]


def read_statement(spelled: str) -> Statement:
    """Take a normalised text apart."""
    tokens = spelled.split()
    shingles = zip(*(tokens[i:] for i in range(SHINGLE)), strict=False)
    return Statement(f" {spelled} ", len(tokens), frozenset(shingles) or frozenset([tuple(tokens)]))


def similarity(left: str, right: str) -> float:
    """Return how far two prompts are one text: 1.0 when one holds the other as a whole and is at
    most twice as long, else the Jaccard similarity of their shingle sets.
    """
    return compare(read_statement(normalise(left)), read_statement(normalise(right)))


def compare(left: Statement, right: Statement) -> float:
    """Return the `similarity` of two statements."""
    short, long = sorted((left, right), key=lambda statement: statement.num_tokens)
    if 2 * short.num_tokens >= long.num_tokens and short.spelled in long.spelled:
        return 1.0
    shared = len(left.shingles & right.shingles)
    return shared / (len(left.shingles) + len(right.shingles) - shared)


def near_clusters(prompts: Sequence[str], least_similarity: float) -> np.ndarray:
    """Return for each prompt the smallest index in its cluster of near-duplicates."""
    parent = np.arange(len(prompts)).tolist()
    spelled = normalise_all(prompts)

    @cache
    def statement(index: int) -> Statement:
        return read_statement(spelled[index])

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return index

    for left, right in candidate_pairs(prompts, minhash_signatures(prompts)).tolist():
        a, b = root(left), root(right)
        if a != b and compare(statement(left), statement(right)) >= least_similarity:
            parent[max(a, b)] = min(a, b)
    return np.array([root(index) for index in range(len(prompts))], dtype=np.int64)


def find_duplicates(
    prompts: Sequence[str],
    answers: Sequence[str],
    least_similarity: float = 0.9,
    verified: Sequence[bool] | None = None,
) -> dict[str, list]:
    """Find repeated prompts; columns in, columns out (the whole collection at once).

    Of a cluster a row with a verified answer is kept, if there is one; then the shortest, because
    what a longer near-duplicate adds is packaging; then the first.

    Returns `duplicate_of` (index of the row that is kept, -1 for kept rows), `duplicate_kind` ("",
    "exact" or "near") and `conflicting_answers` (True for all rows of a cluster in which answers
    differ). Raises AceError when `least_similarity` is outside (0, 1].
    """
    if not 0 < least_similarity <= 1:
        raise AceError(f"the least similarity is {least_similarity}; it is a share in (0, 1]")
    exact = exact_clusters(prompts)
    heads, head_of = np.unique(exact, return_inverse=True)
    near = heads[near_clusters([prompts[head] for head in heads], least_similarity)][head_of]
    unverified = np.zeros(len(prompts)) if verified is None else ~np.array(verified, dtype=bool)
    lengths = [len(text) for text in normalise_all(prompts)]
    order = np.lexsort((lengths, unverified, near))  # stable: the first of equals stays first
    clusters, best = np.unique(near[order], return_index=True)
    kept = order[best][np.searchsorted(clusters, near)]
    rows = np.arange(len(prompts))
    removed = kept != rows
    copies = (exact != rows) | (exact[kept] == exact)
    return {
        "duplicate_of": np.where(removed, kept, -1).tolist(),
        "duplicate_kind": np.where(removed, np.where(copies, "exact", "near"), "").tolist(),
        "conflicting_answers": _conflicts(near.tolist(), answers),
    }


def gather_responses(rows: Sequence[dict]) -> list[list[str]]:
    """Collect for each row the `response` of it and of its exact copies, equal ones once."""
    clusters = exact_clusters([row["prompt"] for row in rows]).tolist()
    found: dict[int, dict[str, None]] = {cluster: {} for cluster in clusters}
    for row, cluster in zip(rows, clusters, strict=True):
        if row.get("response"):
            found[cluster][row["response"]] = None
    return [list(found[cluster]) for cluster in clusters]


def _conflicts(clusters: Sequence[int], answers: Sequence[str]) -> list[bool]:
    """Tell for each row whether its cluster holds more than one answer."""
    answers_of: dict[int, set[str]] = {}
    for cluster, answer in zip(clusters, answers, strict=True):
        answers_of.setdefault(cluster, set()).add(normalise(str(answer)))
    return [len(answers_of[cluster]) > 1 for cluster in clusters]
