"""One schema for math and code problems, and the loaders that bring other layouts to it.

A problem is a plain dict, so that `json`, `datasets` and a notebook reader all see the same thing:

    id, domain ("math" | "code"), prompt (bare statement), gold (math answer, "" for code),
    mode ("" | "stdin" | "call"), entry_point, starter_code,
    tests ([{"input", "output"}]; for "call" the input is the list of arguments),
    time_limit (seconds per test), topic, level, source

Extra keys are allowed and kept. Layouts of other data sets are translated by `ace_lib.adapters`.
"""

import gzip
import json
import os
import random
import re
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from ace_lib import AceError

SCHEMA: dict[str, object] = {
    "id": "",
    "domain": "math",
    "prompt": "",
    "gold": "",
    "mode": "",
    "entry_point": "",
    "starter_code": "",
    "tests": [],
    "time_limit": 6.0,
    "topic": "",
    "level": 0,
    "source": "",
}
HUB_NAME = re.compile(
    r"^hub:(?P<name>[\w.-]+/[\w.-]+)(#(?P<config>[\w.-]+))?(@(?P<revision>[\w./-]+))?(:(?P<split>.+))?$"
)


class ProblemFileError(AceError):
    """A problem file or source cannot be used; the message names the place, cause and fix."""


class ProblemWarning(UserWarning):
    """Some rows of a source were left out; the message says how many and why."""


class ProblemList(list):
    """The loaded rows, and in `skipped` one {"row", "id", "reason"} for each row left out."""

    def __init__(self, rows: Iterable[dict] = (), skipped: Iterable[dict] = ()):
        """Keep `rows` as the list and `skipped` beside it."""
        super().__init__(rows)
        self.skipped = list(skipped)


def make_problem_row(**fields: object) -> dict:
    """Return a full problem row: the schema's defaults overlaid with `fields`."""
    row = SCHEMA | {"tests": []} | fields
    return row | {"time_limit": float(row["time_limit"]), "level": int(row["level"])}


def find_defect(row: dict) -> str:
    """Say in one phrase why `row` cannot be used as a problem; "" when it can."""
    missing = [key for key in ("id", "domain", "prompt") if not str(row.get(key, "")).strip()]
    if missing:
        return f"{' and '.join(missing)} missing or empty"
    if row["domain"] == "math":
        return "" if str(row.get("gold", "")).strip() else "the answer is empty"
    if row["domain"] != "code":
        return f"domain is {row['domain']!r}, expected 'math' or 'code'"
    if row.get("mode") not in ("stdin", "call"):
        return f"mode is {row.get('mode')!r}, expected 'stdin' or 'call'"
    if row["mode"] == "call" and not row.get("entry_point"):
        return "mode is 'call' but entry_point is empty"
    return "" if row.get("tests") else "no usable test"


# --- JSONL files ---------------------------------------------------------------------------------


def iterate_jsonl(path: str | Path) -> Iterator[tuple[int, dict]]:
    """Yield (line number from 1, object) for each line of a JSONL or JSONL.gz file.

    Raises ProblemFileError for a missing, truncated or badly encoded file and for the first
    malformed line, naming file, line, reason and fix.
    """
    path, number = Path(path), 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                if raw.strip():
                    yield number, _parse_line(path, number, raw)
    except FileNotFoundError as error:
        raise ProblemFileError(
            f"{path}: no such file. Check the path (relative paths start at {Path.cwd()}), "
            "or run the notebook that writes it."
        ) from error
    except EOFError as error:
        raise ProblemFileError(
            f"{path}: the gzip stream ends in the middle, after line {number}. "
            "The copy or download was cut off; fetch the file again."
        ) from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ProblemFileError(
            f"{path}: not a gzip file ({error}). Rename it without .gz, or compress it."
        ) from error
    except OSError as error:
        raise ProblemFileError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _parse_line(path: Path, number: int, raw: bytes) -> dict:
    """Decode one line, turning every failure into a ProblemFileError."""
    try:
        value = json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProblemFileError(
            f"{path}, line {number}: not UTF-8 (byte {error.start}). Convert the file to UTF-8."
        ) from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise ProblemFileError(
            f"{path}, line {number}: not JSON ({error}). "
            "Every line must be one complete JSON object; correct or delete this line."
        ) from error
    if not isinstance(value, dict):
        raise ProblemFileError(
            f"{path}, line {number}: a JSON {type(value).__name__}, expected an object {{…}}."
        )
    return value


def read_jsonl(path: str | Path) -> list[dict]:
    """Read all objects of a JSONL(.gz) file; errors as in `iterate_jsonl`."""
    return [row for _, row in iterate_jsonl(path)]


def write_jsonl(path: str | Path, rows: Iterable[dict]) -> Path:
    """Write `rows` as JSONL, gzipped when the name ends in .gz; all of it or nothing.

    The same rows give the same bytes (no time stamp in the gzip header), so that hashes of data
    files can decide whether a run is up to date. Raises ProblemFileError when the disk is full or
    the folder cannot be written.
    """
    path = Path(path)
    lines = ((json.dumps(row, ensure_ascii=False) + "\n").encode() for row in rows)
    with written_whole(path) as handle:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=handle, mtime=0) as packed:
                packed.writelines(lines)
        else:
            handle.writelines(lines)
    return path


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """Open a binary file that takes its name only when the block ends without an error.

    Raises ProblemFileError when the disk is full or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as handle:
            temporary = Path(handle.name)
            yield handle
        temporary.chmod(0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise ProblemFileError(
            f"{path}: cannot be written ({error.strerror or error}). Free some disk space or "
            "choose a folder that you may write to; nothing was left half-written."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


# --- columns for datasets and TRL ----------------------------------------------------------------


def to_columns(rows: list[dict]) -> dict[str, list]:
    """Turn rows into columns for Arrow: `tests` becomes JSON text, missing values become None.

    Test inputs mix strings, numbers and nested lists, which no Arrow type holds.
    """
    keys = list(dict.fromkeys([*SCHEMA, *(key for row in rows for key in row)]))
    columns = {key: [row.get(key) for row in rows] for key in keys}
    columns["tests"] = [json.dumps(tests or []) for tests in columns["tests"]]
    return columns


# --- loading -------------------------------------------------------------------------------------


def load(source: str | Path, limit: int | None = None, seed: int = 0) -> ProblemList:
    """Load problems from a bundled name, a JSONL(.gz) path or the Hugging Face hub.

    `source` is "tiny-…" (see `tinyworld.BENCHMARKS`), a path, or
    "hub:owner/name#config@revision:split" (config, revision and split may be left out).
    With `limit`, that many rows are drawn with `seed`, in their original order. Rows that cannot
    be used are listed in `.skipped` and announced by one ProblemWarning.
    Raises ProblemFileError when nothing usable is found, ids repeat or the layout is unknown.
    """
    from ace_lib import adapters

    name = str(source)
    problems = adapters.adapt_rows(_raw_rows(name), source_name=_short_name(name))
    repeated = [i for i, n in Counter(problem["id"] for problem in problems).items() if n > 1]
    if repeated:  # verdicts and resumed samples are keyed by id
        raise ProblemFileError(
            f"{name}: id {repeated[0]!r} occurs twice. Give every problem its own id, "
            "or drop the id column to have them numbered."
        )
    if not problems:
        reason = problems.skipped[0]["reason"] if problems.skipped else "the source is empty"
        raise ProblemFileError(f"{name}: no usable problem ({reason}).")
    if problems.skipped:
        first, count = problems.skipped[0], len(problems.skipped)
        warnings.warn(
            f"{name}: {count} of {len(problems) + count} rows left out; first: row {first['row']} "
            f"({first['id']}): {first['reason']}. All in `.skipped`.",
            ProblemWarning,
            stacklevel=2,
        )
    if limit is not None and limit < len(problems):
        chosen = sorted(random.Random(seed).sample(range(len(problems)), limit))
        return ProblemList([problems[index] for index in chosen], problems.skipped)
    return problems


def _raw_rows(name: str) -> Iterable[tuple[int, dict]]:
    """Fetch (row number from 1, raw row) from wherever `name` points."""
    if name.startswith("hub:"):
        return enumerate(_hub_rows(name), start=1)
    if name.startswith("tiny-"):
        from ace_lib import tinyworld

        if name not in tinyworld.BENCHMARKS:
            known = ", ".join(tinyworld.BENCHMARKS)
            raise ProblemFileError(f"{name}: no such bundled set. Bundled: {known}.")
        return enumerate(tinyworld.benchmark(name), start=1)
    return iterate_jsonl(name)


def _hub_rows(name: str) -> Iterable[dict]:
    """Read a split of a hub data set; `datasets` is imported only when it is needed."""
    match = HUB_NAME.match(name)
    if match is None:
        raise ProblemFileError(
            f"{name}: not a hub source. Write hub:owner/name#config@revision:split, "
            "for example hub:openai/gsm8k#main:test."
        )
    import datasets

    try:
        return datasets.load_dataset(
            match["name"], match["config"], revision=match["revision"],
            split=match["split"] or "train",
        )  # fmt: skip
    except Exception as error:  # the hub client raises many unrelated types
        raise ProblemFileError(
            f"{name}: cannot be loaded ({type(error).__name__}: {str(error).splitlines()[0]}). "
            "Check name, config, revision and split; without a network give a JSONL path instead."
        ) from error


def _short_name(name: str) -> str:
    """Name a source for ids: the file's or data set's bare name."""
    if name.startswith("hub:"):
        return HUB_NAME.match(name)["name"].split("/")[1]
    return Path(name).name.removesuffix(".gz").removesuffix(".jsonl")
