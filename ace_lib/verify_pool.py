"""A pool of verifier workers that are replaced when they die or hang, and those of this machine.

No row is lost with its worker: it is judged again by another. Dying says little about the row, for
the machine may be short of memory or somebody may kill processes, so a row is given up only when
five workers died at it, or two hung.
"""

import json
import math
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ace_lib.sandbox import SandboxUnavailable
from ace_lib.verify_worker import LENGTH

_MATH_SECONDS = 120.0  # a worker silent for longer is broken; the worker's own limits are tight
CHUNK_ROWS = {"math": 32, "code": 4}  # rows handed over at a time
_DIED, _HUNG, _TOO_MUCH = 1, 3, 5  # what an unfinished row counts for, and when it is given up
_BARREN_WORKERS = 25  # that many in a row died before their first verdict: the pool is broken
_PACKAGE_ROOT = str(Path(__file__).parent.parent)
_START = "import sys; sys.path.insert(0, {root!r}); from ace_lib.verify_worker import main; main()"


class WorkerProcess:
    """One worker; `ace_lib.verify_ray.RayWorker` has the same methods and attributes.

    Attributes:
        pending: rows sent and not answered yet; no more are sent before all are.
        num_answered: rows answered since the start.
        deadline: when it must be broken (`time.monotonic`) unless it has answered.
    """

    def __init__(self, modes: Sequence[str]) -> None:
        # Only what a dynamically linked interpreter may need passes from our environment.
        environment = {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}
        command = [sys.executable, "-I", "-c", _START.format(root=_PACKAGE_ROOT), *modes]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
        self.replies = self._process.stdout.fileno()
        self.pending: list[int] = []
        self.num_answered = 0
        self._buffer = bytearray()

    def send(self, chunk: list[int], rows: Sequence[dict]) -> None:
        """Hand over rows; the worker must answer each in the time its limits allow."""
        self.pending, self._seconds = list(chunk), [longest_seconds(rows[i]) for i in chunk]
        data = json.dumps([rows[i] for i in chunk]).encode()
        with suppress(BrokenPipeError):  # it died: `receive` finds out
            self._process.stdin.write(LENGTH.pack(len(data)) + data)
            self._process.stdin.flush()
        self.deadline = time.monotonic() + self._seconds[0]

    def receive(self, results: list) -> bool:
        """Store the replies that have come; False when the worker is gone.

        Raises SandboxUnavailable: the worker refuses to run programs on this machine.
        """
        data = os.read(self.replies, 1 << 20)
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            end = LENGTH.size + LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                break
            reply = json.loads(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
            if "refused" in reply:
                raise SandboxUnavailable(reply["refused"])
            results[self.pending.pop(0)] = reply
            self.num_answered += 1
            self._seconds.pop(0)
            self.deadline = time.monotonic() + (self._seconds[0] if self._seconds else 0.0)
        return bool(data)

    def close(self) -> None:
        """Kill the process; its sandbox dies with it."""
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        with suppress(BrokenPipeError):  # rows that it died before it took
            self._process.stdin.close()


class WorkerPool:
    """Workers that judge rows together. Not for several threads at a time."""

    def __init__(self, num_workers: int, chunk_rows: dict[str, int]) -> None:
        self._num_workers, self._chunk_rows = num_workers, chunk_rows
        self._workers: list[WorkerProcess] = []

    def judge(self, rows: Sequence[dict]) -> list[dict]:
        """Verdicts (dicts without the id) of checked rows, in their order.

        Raises SandboxUnavailable: a machine cannot isolate programs.
        """
        batch = _Batch(rows, self._num_workers, self._chunk_rows)
        try:
            while len(self._workers) < min(self._num_workers, len(batch.chunks)):
                self._workers.append(self._start_worker())
            while batch.chunks or any(worker.pending for worker in self._workers):
                for worker in self._workers:
                    if batch.chunks and not worker.pending:
                        worker.send(batch.chunks.pop(0), rows)
                self._collect(batch)
        except BaseException:  # an interrupt or a refusal: replies still under way belong to nobody
            self.close()
            raise
        return batch.results

    def close(self) -> None:
        """End the workers; the next `judge` starts new ones."""
        for worker in self._workers:
            worker.close()
        self._workers = []

    def _start_worker(self) -> WorkerProcess:
        raise NotImplementedError

    def _with_news(self, workers: list[WorkerProcess]) -> list[WorkerProcess]:
        """Those that have answered or died; waits a second at most."""
        raise NotImplementedError

    def _collect(self, batch: "_Batch") -> None:
        """Take finished rows from the workers; replace those that died or hang."""
        busy = [worker for worker in self._workers if worker.pending]
        with_news = self._with_news(busy)
        for worker in busy:
            has_news = worker in with_news
            if worker.receive(batch.results) if has_news else time.monotonic() < worker.deadline:
                continue
            batch.take_back(worker.pending, _DIED if has_news else _HUNG, worker.num_answered)
            worker.close()
            self._workers[self._workers.index(worker)] = self._start_worker()


class LocalPool(WorkerPool):
    """Worker processes on this machine.

    `isolated` runs each test of a program in a process of its own, `unsafe` runs programs without
    isolation (`ace_lib.unsafe_subprocess`).
    """

    def __init__(self, num_workers: int, isolated: bool, unsafe: bool = False) -> None:
        super().__init__(num_workers, CHUNK_ROWS)
        self._modes = ["isolated"] * isolated + ["unsafe"] * unsafe

    def _start_worker(self) -> WorkerProcess:
        return WorkerProcess(self._modes)

    def _with_news(self, workers: list[WorkerProcess]) -> list[WorkerProcess]:
        poll = select.poll()
        for worker in workers:
            poll.register(worker.replies, select.POLLIN)
        ready = {fd for fd, _ in poll.poll(1000)}
        return [worker for worker in workers if worker.replies in ready]


class _Batch:
    """Rows on their way to verdicts: what waits, what came, and what went wrong with which row."""

    def __init__(self, rows: Sequence[dict], num_workers: int, most: dict[str, int]) -> None:
        self.results: list[dict | None] = [None] * len(rows)
        self.chunks = chunk_rows(rows, num_workers, most)
        self._trouble: dict[int, int] = {}
        self._num_barren = 0

    def take_back(self, chunk: list[int], weight: int, num_answered: int) -> None:
        """A worker is gone that had answered so many rows, and was at the first of `chunk`."""
        self._num_barren = 0 if num_answered else self._num_barren + 1
        if self._num_barren >= _BARREN_WORKERS:
            waiting = [index for other in self.chunks for index in other]
            self._give_up(chunk + waiting, "the worker processes die at their start")
            self.chunks = []
            return
        if chunk:
            self._trouble[chunk[0]] = self._trouble.get(chunk[0], 0) + weight
            if self._trouble[chunk[0]] >= _TOO_MUCH:
                self._give_up(chunk[:1], "the worker process died or hung at this row every time")
                chunk = chunk[1:]
        self.chunks[:0] = [[index] for index in chunk]

    def _give_up(self, indices: list[int], reason: str) -> None:
        for index in indices:
            self.results[index] = verifier_error(reason)


def verifier_error(reason: str) -> dict:
    """The verdict of a row about which nothing could be found out."""
    return {"status": "verifier_error", "seconds": 0.0, "detail": {"reason": reason}}


def chunk_rows(rows: Sequence[dict], num_workers: int, most: dict[str, int]) -> list[list[int]]:
    """Row numbers in same-domain groups, programs first because they take longest.

    Every worker gets equally many groups of equal size, or one would work alone at the end; `most`
    is the largest group of each domain.
    """
    chunks = []
    for domain in ("code", "math"):
        numbers = [i for i, row in enumerate(rows) if row["domain"] == domain]
        rounds = math.ceil(len(numbers) / (most[domain] * num_workers)) or 1
        size = math.ceil(len(numbers) / (rounds * num_workers)) or 1
        chunks += [numbers[i : i + size] for i in range(0, len(numbers), size)]
    return chunks


def longest_seconds(row: dict) -> float:
    """Wall seconds after which a worker that has not answered this row must be broken."""
    if row["domain"] == "math":
        return _MATH_SECONDS
    tests = row.get("tests")
    num_tests = len(tests) if isinstance(tests, list) else 0
    return 60.0 + 25.0 * float(row.get("time_limit") or 6.0) * (num_tests + 1)
