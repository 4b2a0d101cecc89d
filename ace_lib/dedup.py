"""Remove repeated prompts: exact ones after normalisation, then near-duplicates by MinHash.

P2 section 3.1 says that prompts are deduplicated and no more; method and threshold are ours. Two
statements that share almost all words but differ in a number are different problems, so a
near-duplicate must hold the same numbers too.
"""

import numpy as np

from ace_lib.text import encode, ngram_hashes, normalise, numbers_of, tokenize

SHINGLE = 3
NUM_HASHES = 64
BAND_SIZE = 2
"""32 bands of 2: a pair of similarity 0.4 becomes a candidate with probability 0.996. Candidates
are then compared exactly, so a wrong candidate costs time, never a row."""


def exact_clusters(prompts: list[str]) -> np.ndarray:
    """Return for each prompt the index of the first prompt that is equal after normalisation."""
    first: dict[str, int] = {}
    return np.array(
        [first.setdefault(normalise(p), index) for index, p in enumerate(prompts)], dtype=np.int64
    )


def minhash_signatures(
    prompts: list[str], num_hashes: int = NUM_HASHES, shingle: int = SHINGLE, seed: int = 0
) -> np.ndarray:
    """Return MinHash signatures, uint64 of shape (num_prompts, num_hashes).

    Entry j of a signature is the smallest value of hash function j over the prompt's shingles
    (runs of `shingle` tokens; a shorter prompt is one shingle). Two signatures agree in an entry
    with probability equal to the Jaccard similarity of the shingle sets.
    """
    padded = [p if len(tokenize(p)) >= shingle else p + " |" * shingle for p in prompts]
    hashes, owners, _ = ngram_hashes(*encode(padded), shingle)
    starts = np.searchsorted(owners, np.arange(len(prompts)))
    generator = np.random.default_rng(seed)
    factors = generator.integers(0, 2**63, num_hashes, dtype=np.uint64) * 2 + 1  # odd: one to one
    shifts = generator.integers(0, 2**63, num_hashes, dtype=np.uint64)
    signatures = np.empty((len(prompts), num_hashes), dtype=np.uint64)
    for j in range(num_hashes if len(prompts) else 0):
        signatures[:, j] = np.minimum.reduceat(hashes * factors[j] + shifts[j], starts)
    return signatures


def candidate_pairs(
    prompts: list[str], signatures: np.ndarray, band_size: int = BAND_SIZE
) -> set[tuple[int, int]]:
    """Pair prompts with the same numbers that agree in all entries of at least one band."""
    numbers = [numbers_of(prompt) for prompt in prompts]
    pairs: set[tuple[int, int]] = set()
    for start in range(0, signatures.shape[1], band_size):
        buckets: dict[tuple, list[int]] = {}
        band = np.ascontiguousarray(signatures[:, start : start + band_size])
        for index, entries in enumerate(band):
            bucket = buckets.setdefault((numbers[index], entries.tobytes()), [])
            pairs.update((earlier, index) for earlier in bucket)
            bucket.append(index)
    return pairs


def similarity(left: str, right: str, shingle: int = SHINGLE) -> float:
    """Return how far two prompts are one text: 1.0 when one holds the other as a whole and is at
    most twice as long, else the Jaccard similarity of their shingle sets.
    """
    a, b = sorted((tokenize(left), tokenize(right)), key=len)
    if 2 * len(a) >= len(b) and f" {' '.join(a)} " in f" {' '.join(b)} ":
        return 1.0
    shingles_a, shingles_b = (
        {tuple(tokens[i : i + shingle]) for i in range(max(1, len(tokens) - shingle + 1))}
        for tokens in (a, b)
    )
    return len(shingles_a & shingles_b) / len(shingles_a | shingles_b)


def near_clusters(prompts: list[str], least_similarity: float) -> np.ndarray:
    """Return for each prompt the smallest index in its cluster of near-duplicates."""
    parent = np.arange(len(prompts))

    def root(index: int) -> int:
        while parent[index] != index:
            index = parent[index]
        return int(index)

    for left, right in sorted(candidate_pairs(prompts, minhash_signatures(prompts))):
        a, b = root(left), root(right)
        if a != b and similarity(prompts[left], prompts[right]) >= least_similarity:
            parent[max(a, b)] = min(a, b)
    return np.array([root(index) for index in range(len(prompts))], dtype=np.int64)


def find_duplicates(
    prompts: list[str], answers: list[str], least_similarity: float = 0.9
) -> dict[str, list]:
    """Find repeated prompts; columns in, columns out (the whole collection at once).

    Of exact copies the first is kept, of near-duplicates the shortest: what a longer one adds is
    packaging. Returns `duplicate_of` (index of the row that is kept, -1 for kept rows),
    `duplicate_kind` ("", "exact" or "near") and `conflicting_answers` (True for all rows of a
    cluster in which answers differ).
    """
    exact = exact_clusters(prompts)
    heads = np.flatnonzero(exact == np.arange(len(prompts)))
    near = heads[near_clusters([prompts[head] for head in heads], least_similarity)]
    keeper: dict[int, int] = {}
    for head, cluster in zip(heads.tolist(), near.tolist(), strict=True):
        best = keeper.setdefault(cluster, head)
        if len(prompts[head]) < len(prompts[best]):
            keeper[cluster] = head
    cluster_of = dict(zip(heads.tolist(), near.tolist(), strict=True))
    columns = {"duplicate_of": [], "duplicate_kind": []}
    for index, head in enumerate(exact.tolist()):
        kept = keeper[cluster_of[head]]
        kind = "" if index == kept else "exact" if index != head else "near"
        columns["duplicate_of"].append(kept if kind else -1)
        columns["duplicate_kind"].append(kind)
    clusters = [cluster_of[head] for head in exact.tolist()]
    return columns | {"conflicting_answers": _conflicts(clusters, answers)}


def _conflicts(clusters: list[int], answers: list[str]) -> list[bool]:
    """Tell for each row whether its cluster holds more than one answer."""
    answers_of: dict[int, set[str]] = {}
    for cluster, answer in zip(clusters, answers, strict=True):
        answers_of.setdefault(cluster, set()).add(normalise(str(answer)))
    return [len(answers_of[cluster]) > 1 for cluster in clusters]
