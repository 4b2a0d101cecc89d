"""One schema for math and code problems, and the loaders that bring other layouts to it.

A problem is a plain dict, so that `json`, `datasets` and a notebook reader all see the same thing:

    id, domain ("math" | "code"), prompt (bare statement), gold (math answer, "" for code),
    mode ("" | "stdin" | "call"), entry_point, starter_code,
    tests ([{"input", "output"}]; for "call" the input is the list of arguments),
    time_limit (seconds per test), topic, level, source

Extra keys are allowed and kept; curation reads `verified` (the source vouches for the answer) and
`response` and, of code problems, `solutions` (programs that should be right) and `constraints` (of
the input, where the statement has none). Layouts of other data sets are translated by
`ace_lib.adapters`.
"""

import errno
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
# Characters; ours: no statement is that long, and one that is slows every later step.
LARGEST_PROMPT = 100_000
# Half a surrogate pair, which no file can hold, and the mark of bytes that were no text.
BROKEN_TEXT = re.compile("[\ud800-\udfff\ufffd]")


class ProblemFileError(AceError):
    """A problem file or source cannot be used; the message names the place, cause and fix."""


class ProblemWarning(UserWarning):
    """Some rows of a source were left out; the message says how many and why."""


class ProblemList(list):
    """The loaded rows; `skipped` has one {"row", "id", "reason"} for each row left out.

    `origin` says what was read: the file, or the hub's data set with its commit.
    """

    def __init__(self, rows: Iterable[dict] = (), skipped: Iterable[dict] = (), origin: str = ""):
        """Keep `rows` as the list and the others beside it."""
        super().__init__(rows)
        self.skipped, self.origin = list(skipped), origin


def make_problem_row(**fields: object) -> dict:
    """Return a full problem row: the schema's defaults overlaid with `fields`."""
    row = SCHEMA | {"tests": []} | fields
    return row | {"time_limit": float(row["time_limit"]), "level": int(row["level"])}


def find_defect(row: dict, prompts_only: bool = False) -> str:
    """Say in one phrase why `row` cannot be used as a problem; "" when it can.

    A `response`, as SFT sets have it, stands for an answer or tests; with `prompts_only` neither is
    needed.
    """
    missing = [key for key in ("id", "domain", "prompt") if not str(row.get(key, "")).strip()]
    if missing:
        return f"{' and '.join(missing)} missing or empty"
    if len(row["prompt"]) > LARGEST_PROMPT:
        return f"prompt of {len(row['prompt'])} characters, more than {LARGEST_PROMPT}"
    if broken := BROKEN_TEXT.search(f"{row['prompt']}{row.get('gold', '')}"):
        return f"broken encoding: the text holds {broken.group()!r}"
    if row["domain"] not in ("math", "code"):
        return f"domain is {row['domain']!r}, expected 'math' or 'code'"
    if prompts_only or row.get("response"):
        return ""
    if row["domain"] == "math":
        return "" if str(row.get("gold", "")).strip() else "the answer is empty"
    if row.get("tests_defect"):
        return row["tests_defect"]
    if row.get("mode") not in ("stdin", "call"):
        return f"mode is {row.get('mode')!r}, expected 'stdin' or 'call'"
    if row["mode"] == "call" and not row.get("entry_point"):
        return "mode is 'call' but entry_point is empty"
    return "" if row.get("tests") else "no usable test"


# --- JSONL files ---------------------------------------------------------------------------------


def iterate_jsonl(
    path: str | Path, malformed: list[dict] | None = None
) -> Iterator[tuple[int, dict]]:
    """Yield (line number from 1, object) for each line of a JSONL or JSONL.gz file.

    Malformed lines go to `malformed` as {"row", "id", "reason"}. Raises ProblemFileError for a
    missing or truncated file and, without `malformed`, for the first malformed line, naming file,
    line, reason and fix.
    """
    path, number = Path(path), 0
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            for number, raw in enumerate(stream, start=1):
                if not raw.strip():
                    continue
                try:
                    row = _parse_line(path, number, raw)
                except ProblemFileError as error:
                    if malformed is None:
                        raise
                    malformed.append({"row": number, "id": "", "reason": str(error)})
                else:
                    yield number, row
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
            f"{path}: not a gzip file after line {number} ({error}). Fetch it again, or rename it "
            "without .gz if it was never compressed."
        ) from error
    except OSError as error:
        raise ProblemFileError(f"{path}: cannot be read ({error.strerror or error}).") from error


def _parse_line(path: Path, number: int, raw: bytes) -> dict:
    """Decode one line, turning every failure into a ProblemFileError."""
    try:
        value = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        raise ProblemFileError(
            f"{path}, line {number}: not UTF-8 (byte {error.start}). Convert the file to UTF-8."
        ) from error
    except (ValueError, RecursionError) as error:  # also an integer that is too long
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
    # A lone surrogate, which UTF-8 cannot hold, becomes its JSON escape: it is read back as it was.
    texts = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    lines = (text.encode(errors="backslashreplace") for text in texts)
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
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
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


def load(source: str | Path, limit: int | None = None, prompts_only: bool = False) -> ProblemList:
    """Load problems from a known source, a bundled set, a file or the Hugging Face hub.

    `source` is a name of `sources.SOURCES` ("math500", or "math500=copy.parquet" for a copy of it),
    "tiny-…" (see `tinyworld.BENCHMARKS`), a path (JSONL, JSONL.gz, Parquet), or
    "hub:owner/name#config@revision:split" (config, revision and split may be left out).
    With `limit`, that many rows are drawn, always the same, in their original order; `prompts_only`
    also takes rows without an answer or tests. Rows that cannot be used are listed in `.skipped`
    and announced by one ProblemWarning.
    Raises ProblemFileError when nothing usable is found, ids repeat or a file cannot be read.
    """
    from ace_lib import sources

    name = str(source)
    problems = sources.read(name, prompts_only)
    repeated = [i for i, n in Counter(problem["id"] for problem in problems).items() if n > 1]
    if repeated:  # verdicts and resumed samples are keyed by id
        raise ProblemFileError(
            f"{name}: id {repeated[0]!r} occurs twice. Give every problem its own id, "
            "or drop the id column to have them numbered."
        )
    first, count = next(iter(problems.skipped), None), len(problems.skipped)
    if not problems:
        reason = f"row {first['row']}: {first['reason']}" if first else "the source is empty"
        raise ProblemFileError(f"{name}: no usable problem ({reason}).")
    if first:
        warnings.warn(
            f"{name}: {count} of {len(problems) + count} rows left out; first: row {first['row']} "
            f"({first['id']}): {first['reason']}. All in `.skipped`.",
            ProblemWarning,
            stacklevel=2,
        )
    if limit is not None and limit < len(problems):
        chosen = sorted(random.Random(0).sample(range(len(problems)), limit))
        return ProblemList([problems[i] for i in chosen], problems.skipped, problems.origin)
    return problems
