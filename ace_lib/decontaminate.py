"""Find prompts that share n-grams with benchmark items, with the evidence for each.

The papers drop a prompt when one 9-gram of it occurs in any test sample (P2 section 3.1, P1 section
3.1; 14-grams for code statements, P1 section 3.2): rule `any`. Short or templated statements share
whole sentences ("how many ways are there to take one of each") without being the same problem.
Rule `coverage` (ours) asks instead how much of ONE item the prompt holds: at least the share
`coverage` of the item's tokens, which must make up at least half of the prompt. Items shorter than
n tokens have no n-gram; they are looked for as a whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ace_lib import AceError
from ace_lib.text import encode, ngram_hashes, numbers_of, tokenize

RULES = ("any", "coverage")
MATH_NGRAM = 9
CODE_NGRAM = 14
LEAST_PROMPT_SHARE = 0.5
"""Ours. A short item inside a much longer prompt is a phrase, not a leak."""


@dataclass(frozen=True)
class BenchmarkIndex:
    """The n-grams of all benchmark items, sorted by hash, once per n-gram length in use.

    `grams` maps a length (n, and each length of an item shorter than n) to parallel arrays (hash
    uint64, item number, first token); `items` lists (benchmark, item id); `num_tokens` and
    `numbers` describe each item.
    """

    n: int
    grams: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]
    items: list[tuple[str, str]]
    num_tokens: np.ndarray
    numbers: list[tuple[str, ...]]


def build_index(benchmarks: Mapping[str, list[dict]], n: int = MATH_NGRAM) -> BenchmarkIndex:
    """Index the statements of `benchmarks` (name -> problem rows) by their n-grams.

    Raises AceError when n is below 1 or a benchmark is empty: comparing with nothing would look
    like a clean bill of health.
    """
    empty = [name for name, rows in benchmarks.items() if not rows]
    if n < 1:
        raise AceError(f"the n-gram length is {n}; it must be at least 1 (papers: {MATH_NGRAM})")
    if empty or not benchmarks:
        raise AceError(
            f"no items in {', '.join(empty) or 'the list of benchmarks'}; give each benchmark "
            "rows, or leave it out by name"
        )
    items = [(name, row["id"]) for name, rows in benchmarks.items() for row in rows]
    prompts = [row["prompt"] for rows in benchmarks.values() for row in rows]
    tokens, starts = encode(prompts)
    num_tokens = np.diff(starts)
    grams = {}
    for length in sorted({n, *num_tokens[(num_tokens < n) & (num_tokens > 0)].tolist()}):
        hashes, owners, positions = ngram_hashes(tokens, starts, length)
        wanted = (num_tokens[owners] == length) | (length == n)
        order = np.argsort(hashes[wanted], kind="stable")
        local = (positions - starts[owners])[wanted][order]
        grams[length] = (hashes[wanted][order], owners[wanted][order], local)
    return BenchmarkIndex(n, grams, items, num_tokens, [numbers_of(text) for text in prompts])


def find_overlaps(
    prompts: list[str], index: BenchmarkIndex, same_numbers: bool = False
) -> dict[str, list]:
    """Compare every prompt with all benchmark items; columns in, columns out.

    With `same_numbers`, items whose numbers differ from the prompt's do not count: in a templated
    collection the numbers are what tells two problems apart.

    Returns, for the item that the prompt holds most of (empty or 0 without overlap):
    `overlap_benchmark`, `overlap_item`, `overlap_ngram` (the first shared n-gram),
    `overlap_item_share` and `overlap_prompt_share` (share of the item's and of the prompt's tokens
    that lie inside shared n-grams).
    """
    tokens, starts = encode(prompts)
    best = {}
    for length, gram_table in index.grams.items():
        matches = _match_ngrams(tokens, starts, length, gram_table)
        for match in _summarise(*matches, length, np.diff(starts), index.num_tokens):
            prompt, item, item_share, prompt_share, _ = match
            if length < index.n and prompt_share < LEAST_PROMPT_SHARE:
                continue
            if same_numbers and numbers_of(prompts[prompt]) != index.numbers[item]:
                continue
            rank = (item_share >= 1, min(item_share, prompt_share), item_share)
            if prompt not in best or rank > best[prompt][0]:
                best[prompt] = (rank, length, match)
    return _evidence_columns(prompts, best, index)


def _match_ngrams(tokens: np.ndarray, starts: np.ndarray, length: int, gram_table: tuple) -> tuple:
    """List all matches as parallel arrays (prompt, item, place in prompt, place in item)."""
    hashes, prompt_of, positions = ngram_hashes(tokens, starts, length)
    table_hashes, table_items, table_places = gram_table
    first = np.searchsorted(table_hashes, hashes, side="left")
    counts = np.searchsorted(table_hashes, hashes, side="right") - first
    gram = np.repeat(np.arange(len(hashes)), counts)
    entry = np.arange(len(gram)) - np.repeat(np.cumsum(counts) - counts, counts) + first[gram]
    places = positions - starts[prompt_of]
    return prompt_of[gram], table_items[entry], places[gram], table_places[entry]


def _summarise(prompt, item, prompt_place, item_place, length, prompt_tokens, item_tokens) -> list:
    """Reduce matches to (prompt, item, item share, prompt share, first place) per pair."""
    pair = prompt * np.int64(len(item_tokens)) + item
    pairs, covered_prompt, first = _covered_tokens(pair, prompt_place, length)
    _, covered_item, _ = _covered_tokens(pair, item_place, length)
    prompts, items = pairs // len(item_tokens), pairs % len(item_tokens)
    item_shares = covered_item / item_tokens[items]
    prompt_shares = covered_prompt / prompt_tokens[prompts]
    columns = (prompts, items, item_shares, prompt_shares, first)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _covered_tokens(pair: np.ndarray, place: np.ndarray, length: int) -> tuple:
    """Count, per pair, the tokens under n-grams that start at `place`; overlaps count once.

    Returns the distinct pairs in rising order, their counts and their first places.
    """
    order = np.lexsort((place, pair))
    pair, place = pair[order], place[order]
    pairs, begins = np.unique(pair, return_index=True)
    step = np.full(len(place), length)
    if len(place) > 1:
        same_pair = pair[1:] == pair[:-1]
        step[:-1][same_pair] = np.minimum(np.diff(place)[same_pair], length)
    return pairs, np.add.reduceat(step, begins) if len(begins) else step, place[begins]


def _evidence_columns(prompts: list[str], best: dict, index: BenchmarkIndex) -> dict[str, list]:
    """Write the evidence of every prompt; the matched n-gram is read back from its tokens."""
    rows = []
    for number, prompt in enumerate(prompts):
        if number not in best:
            rows.append(("", "", "", 0.0, 0.0))
            continue
        _, length, (_, item, item_share, prompt_share, place) = best[number]
        ngram = " ".join(tokenize(prompt)[place : place + length])
        rows.append((*index.items[item], ngram, item_share, prompt_share))
    names = ("benchmark", "item", "ngram", "item_share", "prompt_share")
    return {f"overlap_{name}": [row[i] for row in rows] for i, name in enumerate(names)}


def is_contaminated(
    columns: Mapping[str, list], rule: str = "any", coverage: float = 0.5
) -> list[bool]:
    """Decide from the columns of `find_overlaps`, by rule `any` or rule `coverage`.

    Raises AceError for an unknown rule or a coverage outside (0, 1].
    """
    if rule not in RULES:
        raise AceError(f"decontamination rule {rule!r} is unknown; choose from {RULES}")
    if not 0 < coverage <= 1:
        raise AceError(f"coverage is {coverage}; it is a share in (0, 1]")
    shares = zip(columns["overlap_item_share"], columns["overlap_prompt_share"], strict=True)
    if rule == "any":
        return [item_share > 0 for item_share, _ in shares]
    return [
        item_share >= coverage and prompt_share >= LEAST_PROMPT_SHARE
        for item_share, prompt_share in shares
    ]


def mark_contaminated(
    columns: dict[str, list],
    indexes: Mapping[str, BenchmarkIndex],
    rule: str,
    coverage: float,
    same_numbers: bool,
) -> dict[str, list]:
    """Batch function for `datasets.map`: evidence columns and `contaminated` for both domains.

    `indexes` holds one index per domain, because code statements are compared by longer n-grams.
    Raises AceError for rows of a domain that has none: unchecked is not clean.
    """
    unchecked = set(columns["domain"]) - set(indexes)
    if unchecked:
        raise AceError(f"no benchmark index for domain {', '.join(sorted(unchecked))}; build one")
    found: dict[int, dict] = {}
    for domain, index in indexes.items():
        rows = [i for i, value in enumerate(columns["domain"]) if value == domain]
        part = find_overlaps([columns["prompt"][i] for i in rows], index, same_numbers)
        part["contaminated"] = is_contaminated(part, rule, coverage)
        found |= {row: {k: v[i] for k, v in part.items()} for i, row in enumerate(rows)}
    names = found[0] if found else ()
    return {name: [found[i][name] for i in range(len(columns["domain"]))] for name in names}
