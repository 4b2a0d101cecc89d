"""Find prompts that share n-grams with benchmark items, with the evidence for each.

The papers drop a prompt when one 9-gram of it occurs in any test sample (P2 section 3.1, P1 section
3.1; 14-grams for code statements, P1 section 3.2): rule `any`. Short or templated statements share
whole sentences ("how many ways are there to take one of each") without being the same problem.
Rule `coverage` (ours) asks instead how much of ONE item the prompt holds: the whole item, or at
least the share `coverage` of the item's tokens when these make up at least half of the prompt.

Items shorter than n tokens have no n-gram; they are looked for as a whole, where they are half of
the prompt, or begin a sentence of it and bring all its numbers, or have numbers and are a sentence
of it: a prompt that adds only instructions to them.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ace_lib import AceError
from ace_lib.ngram_index import (
    LEAST_PROMPT_SHARE,
    Best,
    NgramTable,
    build_table,
    find_best,
    no_marks,
)
from ace_lib.tokens import batches, scan

RULES = ("any", "coverage")
MATH_NGRAM = 9
CODE_NGRAM = 14
EVIDENCE = ("benchmark", "item", "ngram", "item_share", "prompt_share")


class BenchmarkIndex(NamedTuple):
    """The n-grams of all items, and their benchmarks and ids: objects of shape (num_items, 2)."""

    table: NgramTable
    items: np.ndarray


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
    items = np.array(items, dtype=object)
    prompts = [row["prompt"] for rows in benchmarks.values() for row in rows]
    parts = []
    for first, last in batches(prompts):
        tokens = scan(prompts[first:last])
        parts.append((tokens.values.copy(), np.diff(tokens.starts), tokens.numbers))
    values, counts, numbers = map(np.concatenate, zip(*parts, strict=True))
    return BenchmarkIndex(build_table(n, values, np.append(0, np.cumsum(counts)), numbers), items)


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
    texts = np.full((3, len(prompts)), "", dtype=object)
    shares = np.zeros((2, len(prompts)))
    marks = no_marks(index.table)
    for first, last in batches(prompts):
        tokens = scan(prompts[first:last])
        best = find_best(tokens, index.table, marks, same_numbers)
        found = np.flatnonzero(best.item >= 0)
        best = Best(*(column[found] for column in best))
        texts[:2, first + found] = index.items[best.item].T
        texts[2, first + found] = np.array(tokens.spell(best.place, best.length), dtype=object)
        shares[:, first + found] = best.item_share, best.text_share
    columns = zip(EVIDENCE, (*texts.tolist(), *shares.tolist()), strict=True)
    return {f"overlap_{name}": column for name, column in columns}


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
    marked: dict[str, list] = {}
    for domain, index in indexes.items():
        rows = [i for i, value in enumerate(columns["domain"]) if value == domain]
        part = find_overlaps([columns["prompt"][i] for i in rows], index, same_numbers)
        part["contaminated"] = is_contaminated(part, rule, coverage)
        for name, values in part.items():
            column = marked.setdefault(name, [None] * len(columns["domain"]))
            for row, value in zip(rows, values, strict=True):
                column[row] = value
    return marked
