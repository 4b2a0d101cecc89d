"""Rows of JSONL, JSONL.gz and Parquet files as they are, and the statement that each holds.

`ace_lib.problems` translates known layouts; here a row keeps every column, whatever it means.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ace_lib.adapters import ID_COLUMNS, PROMPT_COLUMNS
from ace_lib.problems import ProblemFileError, iterate_jsonl, write_jsonl, written_whole

STATEMENT_COLUMNS = (*PROMPT_COLUMNS, "text", "question_content", "instruction")
SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which no file can hold."""


@dataclass(frozen=True)
class Row:
    """One row of a file: `number` counts from 1, `data` has all its columns."""

    file: str
    number: int
    data: dict
    statement: str
    problem: str  # why there is no statement; "" when there is one

    @property
    def place(self) -> dict:
        """Where the row stands: file, row and id (the row's number where it has none)."""
        found = (self.data[name] for name in ID_COLUMNS if self.data.get(name) is not None)
        return {"file": self.file, "row": self.number, "id": next(found, self.number)}


def read_rows(path: str | Path, column: str = "") -> Iterator[Row]:
    """Yield every row of a file with its statement, from `column` or the first known one.

    A row whose statement is missing, empty, broken or no text says so in `problem`. Raises
    ProblemFileError
    for a file that cannot be read, a malformed line, and a first row without the column.
    """
    for number, data in raw_rows(Path(path)):
        if number == 1 or not column:
            column = _find_column(path, data, column)
        text = data.get(column)
        usable = isinstance(text, str) and text.strip()
        problem = "" if usable else f"{column!r} is {'empty' if column in data else 'missing'}"
        if not usable and text and not isinstance(text, str):
            problem = f"{column!r} is a {type(text).__name__}, not text"
        elif usable and (broken := SURROGATE.search(text)):
            problem = f"broken encoding: {column!r} holds {broken.group()!r}"
        yield Row(str(path), number, data, "" if problem else text, problem)


def _find_column(path: str | Path, data: dict, column: str) -> str:
    """Choose the column of the statements from the first row, in capital letters or not."""
    names = (column,) if column else STATEMENT_COLUMNS
    spelled = {str(name) if column else str(name).lower(): name for name in data}
    found = [spelled[name] for name in names if name in spelled]
    if not found:
        raise ProblemFileError(
            f"{path}: no column {' or '.join(names)} in the first row, which has "
            f"{', '.join(map(str, data)) or 'none'}; name the statements with --column (of "
            "benchmarks: --benchmark-column)."
        )
    return found[0]


def raw_rows(path: Path, malformed: list[dict] | None = None) -> Iterator[tuple[int, dict]]:
    """Yield (number from 1, row) of a JSONL, JSONL.gz or Parquet file; see `iterate_jsonl`."""
    if path.suffix != ".parquet":
        yield from iterate_jsonl(path, malformed)
        return
    import pyarrow.parquet

    try:
        batches = pyarrow.parquet.ParquetFile(path).iter_batches(1024)
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)
    except (pyarrow.ArrowException, OSError) as error:
        raise ProblemFileError(f"{path}: no readable Parquet file ({error}).") from error


def write_rows(path: str | Path, rows: Iterable[dict]) -> Path:
    """Write `rows` as Parquet, JSONL.gz or JSONL, as the name says; all of it or nothing.

    Raises ProblemFileError when the file cannot be written or a value does not fit its format.
    """
    import pyarrow.parquet

    path = Path(path)
    try:
        if path.suffix != ".parquet":
            return write_jsonl(path, rows)
        with written_whole(path) as handle:
            rows = list(rows)
            names = dict.fromkeys(name for row in rows for name in row)
            columns = {name: [row.get(name) for row in rows] for name in names}
            pyarrow.parquet.write_table(pyarrow.table(columns), handle)
    except (pyarrow.ArrowException, TypeError, UnicodeEncodeError) as error:
        raise ProblemFileError(f"{path}: a row does not fit this format ({error}).") from error
    return path
