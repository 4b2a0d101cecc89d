"""A JSONL.gz that grows while a job runs and survives its end at any moment.

Every append is a gzip member of its own, so that only the last one can be torn.
"""

import gzip
import json
from collections.abc import Sequence
from pathlib import Path


def append_rows(path: Path, rows: Sequence[dict]) -> None:
    """Append rows as one gzip member, whole or torn at the end."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    with path.open("ab") as file:
        file.write(gzip.compress(text.encode()))


def read_rows(path: Path) -> list[dict]:
    """Return the whole rows of a store; a torn end is left out."""
    rows = []
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            for line in file:
                rows.append(json.loads(line))
    except (EOFError, gzip.BadGzipFile, json.JSONDecodeError):
        pass  # the job was killed while writing its last batch: what came before is whole
    return rows


def reopen(path: Path) -> list[dict]:
    """Return the rows of a store to go on with, [] when there is none; a torn end is cut off."""
    if not path.exists():
        return []
    rows = read_rows(path)
    partial = path.with_name(f".{path.name}.partial")
    partial.unlink(missing_ok=True)
    append_rows(partial, rows)
    partial.replace(path)
    return rows
