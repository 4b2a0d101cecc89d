"""Find prompts that share n-grams with benchmark items, with the evidence for each.

The papers drop a prompt when one 9-gram of it occurs in any test sample (P2 section 3.1, P1 section
3.1; 14-grams for code statements, P1 section 3.2): rule `any`. Short or templated statements share
whole sentences ("how many ways are there to take one of each") without being the same problem.
Rule `coverage` (ours) asks instead how much of ONE item the prompt holds: the whole item, or at
least the share `coverage` of the item's tokens when these make up at least half of the prompt.

Items shorter than n tokens have no n-gram; they are looked for as a whole, where they are half of
the prompt, or begin a sentence of it and bring all its numbers: a prompt that adds only
instructions to them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ace_lib import AceError
from ace_lib.ngram_index import NgramTable, Texts, build_table, inside, pack, same_tokens
from ace_lib.tokens import Tokens, batches, ngram_hashes, number_keys, scan, text_of

RULES = ("any", "coverage")
MATH_NGRAM = 9
CODE_NGRAM = 14
LEAST_PROMPT_SHARE = 0.5
"""Ours. A phrase of a much longer prompt is no leak."""
LEAST_SENTENCE = 3
"""Ours. "Find x" begins a sentence of many innocent prompts."""
SENTENCE_ENDS = frozenset(b".?!:;\n")
EVIDENCE = ("benchmark", "item", "ngram", "item_share", "prompt_share")


@dataclass(frozen=True)
class BenchmarkIndex:
    """The n-grams of all benchmark items.

    `table` holds those of length n, `short_tables` the items shorter than n, by length; `items`
    lists (benchmark, item id) and `texts` their tokens.
    """

    n: int
    table: NgramTable
    short_tables: list[NgramTable]
    items: list[tuple[str, str]]
    texts: Texts


@dataclass(frozen=True)
class Pairs:
    """Prompts and items that share text, as parallel arrays.

    `item_share` and `prompt_share` are the shares of the item's and the prompt's tokens under
    shared n-grams, `place` is the position of the first shared n-gram and `length` its tokens.
    """

    prompt: np.ndarray
    item: np.ndarray
    item_share: np.ndarray
    prompt_share: np.ndarray
    place: np.ndarray
    length: np.ndarray

    def where(self, chosen: np.ndarray) -> "Pairs":
        """Return the chosen pairs."""
        return Pairs(*(column[chosen] for column in vars(self).values()))


def build_index(benchmarks: Mapping[str, list[dict]], n: int = MATH_NGRAM) -> BenchmarkIndex:
    """Index the statements of `benchmarks` (name -> rows with `id` and `prompt`) by their n-grams.

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
    texts, values = pack([row["prompt"] for rows in benchmarks.values() for row in rows])
    short = sorted(set(texts.counts[(texts.counts < n) & (texts.counts > 0)].tolist()))
    tables = [_short_table(texts, values, length) for length in short]
    return BenchmarkIndex(n, _full_table(texts, values, n), tables, items, texts)


def _full_table(texts: Texts, values: np.ndarray, n: int) -> NgramTable:
    """Index every n-gram that lies in one item."""
    positions = np.arange(max(0, len(values) - n + 1))
    positions = positions[inside(texts.starts, positions, n)]
    return build_table(ngram_hashes(values, n)[positions], positions, n)


def _short_table(texts: Texts, values: np.ndarray, length: int) -> NgramTable:
    """Index the items that have `length` tokens."""
    positions = texts.starts[:-1][texts.counts == length]
    return build_table(ngram_hashes(values, length)[positions], positions, length)


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
    columns = {f"overlap_{name}": [""] * len(prompts) for name in EVIDENCE[:3]}
    columns |= {f"overlap_{name}": [0.0] * len(prompts) for name in EVIDENCE[3:]}
    for first, last in batches(prompts):
        tokens = scan(prompts[first:last])
        numbers = number_keys(tokens)
        found = [_long_pairs(tokens, index), *_short_pairs(tokens, numbers, index)]
        columns_of_found = zip(*(vars(part).values() for part in found), strict=True)
        pairs = Pairs(*map(np.concatenate, columns_of_found))
        if same_numbers:
            pairs = pairs.where(numbers[pairs.prompt] == index.texts.numbers[pairs.item])
        _write_evidence(columns, first, tokens, _best_pairs(pairs), index)
    return columns


def _long_pairs(tokens: Tokens, index: BenchmarkIndex) -> Pairs:
    """Find all prompts and items that share an n-gram."""
    places, entries = index.table.find(ngram_hashes(tokens.values, index.n))
    return _confirmed_pairs(tokens, places, entries, index.texts, index.n)


def _short_pairs(tokens: Tokens, numbers: np.ndarray, index: BenchmarkIndex) -> list[Pairs]:
    """Find the prompts that are one item shorter than n tokens, or wrap one in instructions."""
    if not index.short_tables:
        return []
    short = index.texts.counts < index.n
    possible = np.isin(numbers, index.texts.numbers[short]) | (tokens.counts <= 2 * index.n)
    kept = np.flatnonzero(np.repeat(possible, tokens.counts))
    found = []
    for table in index.short_tables:
        grams, entries = table.find(ngram_hashes(tokens.values[kept], table.n))
        pairs = _confirmed_pairs(tokens, kept[grams], entries, index.texts, table.n)
        leaks = pairs.prompt_share >= LEAST_PROMPT_SHARE
        same = ~leaks & (numbers[pairs.prompt] == index.texts.numbers[pairs.item])
        if table.n >= LEAST_SENTENCE:
            leaks[same] = [_begins_sentence(tokens, place) for place in pairs.place[same].tolist()]
        found.append(pairs.where(leaks))
    return found


def _begins_sentence(tokens: Tokens, place: int) -> bool:
    """Tell whether a sentence, a line or a text begins with this token."""
    if place in tokens.starts:
        return True
    end = tokens.begins[place - 1] + tokens.lengths[place - 1]
    return not SENTENCE_ENDS.isdisjoint(tokens.buffer[end : tokens.begins[place]].tobytes())


def _confirmed_pairs(
    tokens: Tokens, places: np.ndarray, entries: np.ndarray, texts: Texts, length: int
) -> Pairs:
    """Keep the matches that lie in one prompt and agree in every byte; count them per pair."""
    fits = inside(tokens.starts, places, length)
    places, entries = places[fits], entries[fits]
    same = same_tokens(tokens, places, texts, entries, length)
    places, entries = places[same], entries[same]
    prompt, item = text_of(tokens.starts, places), text_of(texts.starts, entries)
    pair = prompt * len(texts.counts) + item
    pairs, covered_prompt, first = _covered_tokens(pair, places, length)
    _, covered_item, _ = _covered_tokens(pair, entries, length)
    prompt, item = np.divmod(pairs, len(texts.counts))
    item_share = covered_item / texts.counts[item]
    prompt_share = covered_prompt / tokens.counts[prompt]
    return Pairs(prompt, item, item_share, prompt_share, first, np.full(len(pairs), length))


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


def _best_pairs(pairs: Pairs) -> Pairs:
    """Keep one pair per prompt: a whole item first, then the larger shares, then the first item."""
    least = np.minimum(pairs.item_share, pairs.prompt_share)
    whole = pairs.item_share >= 1
    order = np.lexsort((-pairs.item, pairs.item_share, least, whole, pairs.prompt))
    last = np.diff(pairs.prompt[order], append=-1) != 0
    return pairs.where(order[last])


def _write_evidence(
    columns: dict[str, list], first: int, tokens: Tokens, pairs: Pairs, index: BenchmarkIndex
) -> None:
    """Put the evidence of a batch whose first prompt is `first` into the columns."""
    rows = zip(*(column.tolist() for column in vars(pairs).values()), strict=True)
    for prompt, item, item_share, prompt_share, place, length in rows:
        ngram = tokens.spell(place, place + length)
        evidence = (*index.items[item], ngram, item_share, prompt_share)
        for name, value in zip(EVIDENCE, evidence, strict=True):
            columns[f"overlap_{name}"][first + prompt] = value


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
        item_share >= 1 or (item_share >= coverage and prompt_share >= LEAST_PROMPT_SHARE)
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
