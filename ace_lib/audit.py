"""Where the verifier differs from labelled rows, by category: `ace audit FILE…`.

A labelled row is a row of `ace verify` (domain math unless it says otherwise) with a `category` and
a `label`: true for an answer that is right.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ace_lib.verify import RowError, Verdict, Verifier, check_row, read_rows

SLOW_SECONDS = 1.5


def summarize(rows: Sequence[dict], verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One line per category and one for "all".

    Columns: rows, accuracy, false_positives (wrong, but paid), false_negatives, errors (no reward),
    slow (more than `SLOW_SECONDS`), tier_1 to tier_3 (shares of rows that the math tier decided).
    """
    label = pd.Series([bool(row["label"]) for row in rows], dtype=bool)
    reward = pd.Series([verdict.reward for verdict in verdicts], dtype=float)
    seconds = pd.Series([verdict.seconds for verdict in verdicts], dtype=float)
    tier = pd.Series([verdict.detail.get("tier", 0) for verdict in verdicts], dtype=int)
    counts = pd.DataFrame(
        {
            "rows": 1,
            "accuracy": reward.eq(label),
            "false_positives": reward.eq(1) & ~label,
            "false_negatives": reward.eq(0) & label,
            "errors": reward.isna(),
            "slow": seconds > SLOW_SECONDS,
            **{f"tier_{number}": tier == number for number in (1, 2, 3)},
        },
        index=label.index,
    ).astype(int)
    table = counts.groupby([row["category"] for row in rows]).sum()
    table.loc["all"] = counts.sum()
    shares = ["accuracy", "tier_1", "tier_2", "tier_3"]
    table[shares] = table[shares].div(table["rows"], axis=0)
    return table


def check_labelled(row: object, where: str) -> None:
    """Raise RowError unless `row` is a labelled row; sets its domain if it has none."""
    if isinstance(row, dict):
        row.setdefault("domain", "math")
    check_row(row, where)
    if not isinstance(row.get("label"), bool):
        raise RowError(f"{where}: label is {row.get('label')!r}: must be true or false")
    if not isinstance(row.get("category"), str):
        raise RowError(f"{where}: category is {row.get('category')!r}: must be text")


def print_audit(files: Sequence[Path], num_workers: int | None, as_json: bool) -> None:
    """`ace audit FILE…`: prints the table and the rows where label and verdict differ.

    Raises RowError: a row is malformed, or there is none.
    """
    rows = [row for path in files for row in read_rows(path, check_labelled)]
    if not rows:
        raise RowError("no labelled rows to audit")
    with Verifier(num_workers, isolated=True) as verifier:
        verdicts = verifier.verify(rows)
    table = summarize(rows, verdicts)
    mistakes = [
        {"id": row["id"], "label": row["label"], "status": verdict.status, **verdict.detail}
        for row, verdict in zip(rows, verdicts, strict=True)
        if verdict.reward != row["label"]
    ]
    if as_json:
        print(json.dumps({"categories": table.to_dict("index"), "mistakes": mistakes}, indent=1))
    else:
        shown = [json.dumps(mistake, ensure_ascii=False) for mistake in mistakes]
        print(table.to_string(float_format="{:.3f}".format), *shown, sep="\n")
