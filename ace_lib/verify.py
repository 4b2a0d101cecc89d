"""One verifier for reward, evaluation, the teacher's vote and `ace verify`.

    with Verifier(num_workers=2) as verifier:
        verdicts = verifier.verify(rows)

Rows are judged in worker processes that are exec'ed, watched and replaced; the caller's process
only moves JSON. Works from any thread, in a notebook and beside a loaded model. A failure of the
verifier is `verifier_error` with reward None: never 0, never right (P1 section 3.3; TRL leaves a
reward of None out of the group).
"""

import argparse
import atexit
import gzip
import json
import os
import select
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ace_lib import AceError
from ace_lib.verify_pool import WorkerProcess

STATUSES = (
    "passed", "wrong_answer", "runtime_error", "timeout", "memory", "output_limit", "no_answer",
    "invalid_problem", "verifier_error",
)  # fmt: skip
NO_REWARD = ("invalid_problem", "verifier_error")
_CHUNK_ROWS = {"math": 32, "code": 4}


class RowError(AceError):
    """A row to verify is malformed; the text says which and why."""


@dataclass
class Verdict:
    """The judgement of one response."""

    id: str
    status: str  # one of STATUSES
    reward: float | None  # 1.0 passed, 0.0 any failure of the response, None: nothing is known
    seconds: float
    detail: dict = field(default_factory=dict)


def reward_of(status: str) -> float | None:
    """1.0 for `passed`, None for what says nothing about the response, else 0.0."""
    return None if status in NO_REWARD else float(status == "passed")


class Verifier:
    """A pool of worker processes. Thread-safe: calls from several threads take turns.

    Args:
        num_workers: processes; by default one per usable core.
        isolated: run each test of a program in a process of its own (evaluation, audits).
    """

    def __init__(self, num_workers: int | None = None, isolated: bool = False) -> None:
        if num_workers is not None and num_workers < 1:
            raise AceError(f"{num_workers} workers: must be at least 1")
        self._num_workers = num_workers or len(os.sched_getaffinity(0))
        self._isolated = isolated
        self._workers: list[WorkerProcess] = []
        self._turn = threading.Lock()

    def __enter__(self) -> "Verifier":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the workers; the next `verify` starts new ones."""
        with self._turn:
            for worker in self._workers:
                worker.close()
            self._workers = []

    def verify(self, rows: Sequence[dict]) -> list[Verdict]:
        """Judge rows (see `check_row`); the verdicts are in the same order.

        Raises:
            RowError: a row is malformed.
            SandboxUnavailable: this machine cannot isolate programs; the text has the fix.
        """
        for index, row in enumerate(rows):
            check_row(row, f"row {index}")
        with self._turn:
            results = self._dispatch(rows)
        return [
            Verdict(id=row["id"], reward=reward_of(result["status"]), **result)
            for row, result in zip(rows, results, strict=True)
        ]

    def _dispatch(self, rows: Sequence[dict]) -> list[dict]:
        """Keep every worker busy with chunks of rows until all are judged."""
        results: list[dict | None] = [None] * len(rows)
        chunks = _chunks(rows, self._num_workers)
        failures: dict[int, int] = {}
        while len(self._workers) < min(self._num_workers, len(chunks)):
            self._workers.append(WorkerProcess(self._isolated))
        try:
            while chunks or any(worker.pending for worker in self._workers):
                for worker in self._workers:
                    if chunks and not worker.pending:
                        worker.send(chunks.pop(0), rows)
                lost = _collect(self._workers, results)
                for chunk in lost:
                    self._retry(chunk, chunks, failures, results)
        except BaseException:  # an interrupt or a refusal: replies still under way belong to nobody
            for worker in self._workers:
                worker.close()
            self._workers = []
            raise
        return results

    def _retry(self, chunk: list[int], chunks: list, failures: dict, results: list) -> None:
        """A worker died or hung at the first row of `chunk`: that row gets one more chance."""
        first = chunk[0]
        failures[first] = failures.get(first, 0) + 1
        if failures[first] >= 2:
            reason = "the worker process died or hung twice on this row"
            results[first] = {"status": "verifier_error", "seconds": 0.0,
                              "detail": {"reason": reason}}  # fmt: skip
            chunk = chunk[1:]
        chunks[:0] = [[index] for index in chunk]


def _chunks(rows: Sequence[dict], num_workers: int) -> list[list[int]]:
    """Row numbers in small same-domain groups, programs first because they take longest."""
    chunks = []
    for domain in ("code", "math"):
        numbers = [i for i, row in enumerate(rows) if row["domain"] == domain]
        size = max(1, min(_CHUNK_ROWS[domain], -(-len(numbers) // num_workers)))
        chunks += [numbers[i : i + size] for i in range(0, len(numbers), size)]
    return chunks


def _collect(workers: list[WorkerProcess], results: list) -> list[list[int]]:
    """Take finished rows from the workers; returns the unfinished chunks of failed workers."""
    poll = select.poll()
    busy = {worker.replies: worker for worker in workers if worker.pending}
    for replies in busy:
        poll.register(replies, select.POLLIN)
    ready = {fd for fd, _ in poll.poll(1000)}
    lost = []
    for fd, worker in busy.items():
        alive = worker.receive(results) if fd in ready else time.monotonic() < worker.deadline
        if not alive:
            lost.append(worker.pending)
            worker.restart()
    return [chunk for chunk in lost if chunk]


def check_row(row: object, where: str) -> None:
    """Raise RowError unless `row` is `{"id","domain":"math","response","gold"}` or
    `{"id","domain":"code","response" or "program","mode","entry_point","tests"}`.

    Tests that are empty or make no sense are not malformed: their verdict is `invalid_problem`.
    """
    if not isinstance(row, dict):
        raise RowError(f"{where}: not a JSON object")
    domain = row.get("domain")
    if domain not in ("math", "code"):
        raise RowError(f"{where}: domain is {domain!r}: must be 'math' or 'code'")
    answers = ("response",) if domain == "math" else ("response", "program")
    if not any(isinstance(row.get(name), str) for name in answers):
        raise RowError(f"{where}: no text in {' or '.join(answers)}")
    needed = ("id", "gold") if domain == "math" else ("id", "mode", "tests")
    for name in needed:
        if name not in row:
            raise RowError(f"{where}: {name!r} is missing")
    for name in ("time_limit", "memory_mb"):
        value = row.get(name)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6
        ):
            raise RowError(f"{where}: {name} is {value!r}: must be a positive number")


_shared: dict[int, Verifier] = {}


def shared_verifier() -> Verifier:
    """The verifier of this process (one per process id: a forked child makes its own)."""
    if os.getpid() not in _shared:
        _shared[os.getpid()] = Verifier()
        atexit.register(_shared[os.getpid()].close)
    return _shared[os.getpid()]


def verify_responses(problems: Sequence[dict], responses: Sequence[str]) -> list[Verdict]:
    """Judge one response per problem row, with the shared verifier of this process.

    Args:
        problems: problem rows (`ace_lib.problems`), one per response.
        responses: full responses; see `ace_lib.prompts.full_response`.
    """
    names = ("id", "domain", "gold", "mode", "entry_point", "tests", "time_limit", "memory_mb",
             "comparer")  # fmt: skip
    rows = [
        {**{name: problem[name] for name in names if name in problem}, "response": response}
        for problem, response in zip(problems, responses, strict=True)
    ]
    return shared_verifier().verify(rows)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `ace verify`."""
    parser.add_argument("input", type=Path, metavar="IN.jsonl[.gz]", help="rows to judge")
    parser.add_argument("output", type=Path, metavar="OUT.jsonl[.gz]", help="where verdicts go")
    parser.add_argument("--workers", type=int, default=None, help="processes (default: one a core)")
    parser.add_argument("--isolated", action="store_true", help="a process for every test")


def run_command(arguments: argparse.Namespace) -> int:
    """`ace verify IN OUT`: one verdict per row, same order; OUT appears only when complete."""
    try:
        rows = list(read_rows(arguments.input))
        with (
            _atomic_text(arguments.output) as out,
            Verifier(arguments.workers, arguments.isolated) as verifier,
        ):
            for start in range(0, len(rows), 4096):
                for verdict in verifier.verify(rows[start : start + 4096]):
                    out.write(json.dumps(asdict(verdict)) + "\n")
    except (AceError, OSError) as error:
        print(f"ace verify: {error}", file=sys.stderr)
        return 1
    return 0


def read_rows(path: Path, check: Callable[[object, str], None] = check_row) -> Iterator[dict]:
    """The rows of a JSONL(.gz) file, each passed to `check` with its place.

    Raises:
        RowError: a line is no JSON, or `check` says so.
    """
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RowError(f"{path}, line {number}: not JSON ({error})") from error
        check(row, f"{path}, line {number}")
        yield row


def _lines(path: Path) -> Iterable[str]:
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            yield from lines
    except (EOFError, UnicodeDecodeError, gzip.BadGzipFile) as error:
        raise RowError(f"{path}: cannot be read as text ({error})") from error


@contextmanager
def _atomic_text(path: Path) -> Iterator[object]:
    """A text file that takes its name only when the block ends without an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(name, "wt", encoding="utf-8") as out:
            yield out
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
