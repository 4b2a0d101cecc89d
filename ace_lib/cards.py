"""Data cards in the Hugging Face format, every number rendered from the rows themselves.

`data_cards/render.py` writes the cards of the bundled sets; a test fails when a card and its data
disagree. Notebook 01 renders a card of the curated sets, which `ace_lib.publish` saves and uploads
with the rows.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ace_lib import tinyworld
from ace_lib.markup import markdown_table
from ace_lib.problems import SCHEMA
from ace_lib.text import tokenize

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
OWN_LICENSE = dict.fromkeys(("tinyworld", *tinyworld.BENCHMARKS), "apache-2.0")
UNKNOWN_LICENSE = "unknown"
UNSTATED_LICENSES = {UNKNOWN_LICENSE, "unverified", "not recorded"}
HEADER = """---
license: {license}
language:
- en
pretty_name: {title}
task_categories:
- text-generation
size_categories:
- {size}
tags:
- math
- code
- reasoning
---
"""


def hash_rows(rows: Iterable[Mapping]) -> str:
    """Return the SHA-256 of the rows as JSON lines with sorted keys, the data's fingerprint."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()


def size_category(num_rows: int) -> str:
    """Return the hub's size category of a data set."""
    return SIZES[min(max(0, len(str(num_rows)) - 3), len(SIZES) - 1)]


def render_card(
    title: str,
    about: str,
    sets: Mapping[str, list[dict]],
    command: str,
    steps: Sequence[tuple[str, int, int]] = (),
    overlaps: Mapping[str, int] | None = None,
    licenses: Mapping[str, str] = OWN_LICENSE,
) -> str:
    """Render the card of one or more sets of problem rows.

    Args:
        title: name of the data set.
        about: a paragraph that says what it is and is not.
        sets: name of each split -> its rows.
        command: the command that makes it again.
        steps: (what a curation step removes, number removed, number left), in order.
        overlaps: benchmark -> rows removed because they overlap with it.
        licenses: source, as in the rows' `source` -> its licence, by the hub's identifier.

    Raises ValueError when a split is empty.
    """
    rows = [row for part in sets.values() for row in part]
    if not all(sets.values()):
        raise ValueError(f"card {title!r}: a split is empty, there is nothing to describe")
    found = {licenses.get(row["source"], UNKNOWN_LICENSE) for row in rows}
    header = HEADER.format(
        title=title, size=size_category(len(rows)), license=_common_license(found)
    )
    sections = [
        f"{header}\n# {title}\n\n{about}",
        f"## Splits\n\n{_splits_table(sets)}",
        f"## Sources\n\n{_sources_table(rows, licenses)}",
        f"## Composition\n\n{_composition_table(rows)}",
    ]
    if any("planted" in row for row in rows):
        sections.append(f"## Planted defects\n\n{_planted_table(rows)}")
    if steps:
        steps_table = markdown_table(("step", "removed", "left"), steps)
        sections.append(f"## Removed by curation\n\n{steps_table}")
    if overlaps is not None:
        overlap_table = markdown_table(("benchmark", "removed"), sorted(overlaps.items()))
        sections.append(f"## Removed for overlap with a benchmark\n\n{overlap_table}")
    sections.append(f"## Columns\n\n{_columns_text(rows)}")
    sections.append(f"## How to make it again\n\n```\n{command}\n```")
    return "\n\n".join(sections) + "\n"


def _common_license(licenses: set[str]) -> str:
    """Return the one identifier for rows of these licences that the hub's front matter takes."""
    if licenses & UNSTATED_LICENSES:
        return UNKNOWN_LICENSE
    return min(licenses) if len(licenses) == 1 else "other"


def _splits_table(sets: Mapping[str, list[dict]]) -> str:
    """List rows, quantiles of the statements' lengths in tokens, and fingerprint per split."""
    body = []
    for name, rows in sets.items():
        lengths = np.quantile([len(tokenize(row["prompt"])) for row in rows], QUANTILES)
        body.append((name, len(rows), *map(round, lengths), f"`{hash_rows(rows)[:16]}`"))
    quantiles = [f"tokens {quantile:.0%}" for quantile in QUANTILES]
    return markdown_table(("split", "rows", *quantiles, "SHA-256 begins"), body)


def _sources_table(rows: list[dict], licenses: Mapping[str, str]) -> str:
    """Count rows per source, with its licence."""
    counts = sorted(Counter(row["source"] for row in rows).items())
    body = [(name, licenses.get(name, UNKNOWN_LICENSE), number) for name, number in counts]
    return markdown_table(("source", "license", "rows"), body)


def _composition_table(rows: list[dict]) -> str:
    """Count rows per domain, topic and level."""
    counts = Counter((row["domain"], row["topic"], row["level"]) for row in rows)
    levels = sorted({level for *_, level in counts})
    kinds = sorted({(domain, topic) for domain, topic, _ in counts})
    body = [(*kind, *(counts[(*kind, level)] for level in levels)) for kind in kinds]
    return markdown_table(("domain", "topic", *(f"level {level}" for level in levels)), body)


def _planted_table(rows: list[dict]) -> str:
    """Count the defects that were planted, per domain."""
    counts = Counter((row["domain"], row["planted"] or "none") for row in rows)
    return markdown_table(
        ("domain", "defect", "rows"), [(*kind, n) for kind, n in sorted(counts.items())]
    )


def _columns_text(rows: list[dict]) -> str:
    """Name the schema's columns and what the rows have beyond them."""
    extra = sorted({key for row in rows for key in row} - set(SCHEMA))
    text = "`" + "`, `".join(SCHEMA) + "` (see `ace_lib/problems.py`)"
    return text + (f"; beyond the schema: `{'`, `'.join(extra)}`" if extra else "") + "."
