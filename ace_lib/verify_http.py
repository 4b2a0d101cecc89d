"""Programs run on a remote sandbox server, judged here: the backend `http`.

The server speaks SandboxFusion's API (`POST /run_code`); ours is `ace_lib.sandbox_server`. It gets
the program and one test's input; expected outputs and comparers stay here, so it can lie only
about what a program printed. Math never leaves this machine. A server that cannot be reached or
answers nonsense gives `verifier_error`, never a reward.

Differences from the local sandbox: the server keeps the limits with its own clocks (ours as well
as here), its Python decides, and the order of a printed set may change from run to run.
SandboxFusion's own server stops a program that prints more than about 128 KiB.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from ace_lib import MAX_INT_DIGITS, AceError, program_driver
from ace_lib.sandbox_child import PRELUDE_SOURCE, RECURSION_LIMIT
from ace_lib.sandbox_session import IDLE_FACTOR, Limits, Outcome, SandboxError, Usage
from ace_lib.verify_code import verify_code
from ace_lib.verify_pool import LocalPool
from ace_lib.verify_worker import guarded

NUM_REQUESTS = 16  # programs under way at a time
PAUSES = (0.0, 0.3, 1.0, 4.0)  # seconds before each attempt of a request
_QUEUE_SECONDS = 30.0  # how long a request may wait at the server for its turn
_MAX_REPLY = 40 * 2**20
_DRIVER = Path(program_driver.__file__).read_text(encoding="utf-8")
_ENDINGS = {-24: "timeout", 152: "timeout", -9: "memory", 137: "memory"}  # by return code
_ERRORS = {"MemoryError": "memory", "OutputLimitError": "output_limit"}  # by name


class HttpPool:
    """Judges rows with programs on a server; threads wait for it.

    Args:
        address: `http://host:port` or `https://host:port`.
        num_requests: programs under way at a time, by default 16.

    Raises:
        AceError: no address, or one of another form.
    """

    def __init__(self, address: str | None, num_requests: int | None) -> None:
        self._server = Server(address)
        self._num_requests = num_requests or NUM_REQUESTS
        self._math = LocalPool(len(os.sched_getaffinity(0)), isolated=False)

    def judge(self, rows: Sequence[dict]) -> list[dict]:
        """Verdicts of checked rows, in their order."""
        self._server.stopped.clear()
        threads = ThreadPoolExecutor(self._num_requests)
        try:
            code = [row for row in rows if row["domain"] == "code"]
            programs = threads.map(lambda row: guarded(row, self._judge_program), code)
            answers = iter(self._math.judge([row for row in rows if row["domain"] == "math"]))
            return [next(programs if row["domain"] == "code" else answers) for row in rows]
        except BaseException:  # an interrupt: what is under way belongs to nobody
            self._server.stopped.set()
            raise
        finally:
            threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """End the workers for math; the next `judge` starts new ones."""
        self._math.close()

    def _judge_program(self, row: dict) -> tuple[str, dict]:
        with closing(RemoteSandbox(self._server)) as box:
            return verify_code(row, box, isolated=True)


class Server:
    """Where the server is, and whether it has been answering."""

    def __init__(self, address: str | None) -> None:
        parts = urlsplit(address or "")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise AceError(
                f"the backend 'http' needs the server's address as http://127.0.0.1:8080, "
                f"not {address!r}"
            )
        self.address = address.rstrip("/")
        self.path = parts.path.rstrip("/") + "/run_code"
        self.stopped = threading.Event()
        self.num_failures = 0  # requests in a row that no attempt got answered
        self._host = parts.netloc
        self._connection = HTTPSConnection if parts.scheme == "https" else HTTPConnection

    def connection(self) -> HTTPConnection:
        """A connection, opened at its first request."""
        return self._connection(self._host)


class RemoteSandbox:
    """Stands where `ace_lib.sandbox.Sandbox` would in `verify_code`, for one row."""

    isolation = "remote"

    def __init__(self, server: Server) -> None:
        self._server, self._connection = server, server.connection()

    def open(
        self, program: str, entry_point: str, num_tests: int, limits: Limits
    ) -> "RemoteSession":
        """A session; nothing is sent before its test is run."""
        return RemoteSession(self, program, entry_point, limits)

    @property
    def checkers(self) -> NoReturn:
        """Where a problem's own checker would run: nowhere, for it reads expected outputs.

        Raises SandboxError: always.
        """
        raise SandboxError("the backend 'http' runs no checker: it would see expected outputs")

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def run(self, request: dict) -> dict:
        """The server's `run_result` for a request. Raises SandboxError: every attempt failed."""
        server, failure = self._server, None
        # A single attempt once the server has been failing.
        for pause in PAUSES if server.num_failures < NUM_REQUESTS else PAUSES[:1]:
            if server.stopped.wait(pause):
                break
            try:
                result = _run_result(self._post(request))
            except _NoAnswer as error:
                self._connection.close()
                failure = error
                if error.final:
                    break
            else:
                server.num_failures = 0
                return result
        else:
            server.num_failures += 1
        raise SandboxError(f"{server.address}: {failure or 'stopped'}")

    def _post(self, request: dict) -> bytes:
        """The body of the server's reply; _NoAnswer when there is none, or one of a failure."""
        self._connection.timeout = request["run_timeout"] + _QUEUE_SECONDS
        deadline = time.monotonic() + self._connection.timeout
        headers = {"Content-Type": "application/json"}
        try:
            self._connection.request(
                "POST", self._server.path, json.dumps(request).encode(), headers
            )
            with self._connection.getresponse() as response:
                data = bytearray()
                while part := response.read1(1 << 20):
                    data += part
                    if len(data) > _MAX_REPLY or time.monotonic() > deadline:
                        raise _NoAnswer("the reply is too long or too slow")
        except (OSError, HTTPException, ValueError) as error:
            raise _NoAnswer(f"{type(error).__name__}: {error}") from error
        if response.status != 200:
            # Nothing will be better next time, unless the server is busy or broken.
            final = response.status < 500 and response.status != 429
            raise _NoAnswer(f"HTTP status {response.status}: {bytes(data[:200])!r}", final)
        return bytes(data)


class _NoAnswer(Exception):
    """An attempt failed; `final` when another would fail, too."""

    def __init__(self, reason: str, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


def _run_result(body: bytes) -> dict:
    """The part of a reply that says how the program ended; _NoAnswer when it makes no sense."""
    try:
        reply = json.loads(body)
        result = reply["run_result"]
        known = reply["status"] in ("Success", "Failed") and isinstance(result["stdout"], str)
        finished = result["status"] == "Finished" and type(result["return_code"]) is int
        known = known and (finished or result["status"] == "TimeLimitExceeded")
    except (ValueError, TypeError, KeyError, RecursionError):
        known = False
    if not known:
        raise _NoAnswer(f"the sandbox failed: {body[:200].decode(errors='replace')}")
    return result


class RemoteSession:
    """One program and one test on the server."""

    def __init__(self, box: RemoteSandbox, program: str, entry_point: str, limits: Limits) -> None:
        self.alive = False  # no process waits there for another test
        self._box, self._program, self._entry_point = box, program, entry_point
        self._limits = limits
        self.usage = Usage()  # the server does not say

    def run(self, test_input: bytes) -> Outcome:
        """Run the program on one input: what it printed, or the value it returned, as bytes.

        Raises SandboxError: the server failed; nothing is known about the program.
        """
        limits, tag = self._limits, f"value-{secrets.token_hex(8)}:"
        own_limits = (limits.cpu_seconds, RECURSION_LIMIT, MAX_INT_DIGITS)
        arguments = (self._program, self._entry_point, PRELUDE_SOURCE, own_limits, tag)
        request = {
            "code": f"{_DRIVER}\n\ndrive{arguments!r}\n",
            "language": "python",
            "stdin": test_input.decode(),
            "run_timeout": IDLE_FACTOR * limits.cpu_seconds,  # on the wall clock
            "cpu_timeout": limits.cpu_seconds,  # an extension of our server
            "memory_limit_MB": limits.memory_bytes >> 20,
        }
        outcome = _outcome(self._box.run(request), limits)
        return _value_of(outcome, tag.encode()) if self._entry_point else outcome

    def close(self) -> None:
        """Nothing is held."""


def _outcome(result: dict, limits: Limits) -> Outcome:
    if result["status"] == "TimeLimitExceeded":
        return Outcome("timeout", detail="the server's time limit")
    output, code = result["stdout"].encode(errors="replace"), result["return_code"]
    if len(output) >= limits.output_bytes:
        return Outcome("output_limit", detail=f"more than {limits.output_bytes} bytes")
    if code == 0:
        return Outcome("done", output)
    last = (str(result.get("stderr") or "").strip().splitlines() or [f"exit code {code}"])[-1]
    status = _ENDINGS.get(code) or _ERRORS.get(last.partition(":")[0], "runtime_error")
    return Outcome(status, detail=last)


def _value_of(outcome: Outcome, tag: bytes) -> Outcome:
    """The value in the last line that starts with `tag`; whoever wrote it claims it, no more."""
    if outcome.status != "done":
        return outcome
    values = [line for line in outcome.output.split(b"\n") if line.startswith(tag)]
    if not values:
        return Outcome("runtime_error", detail="the program ended before it returned a value")
    return Outcome("done", values[-1][len(tag) :])
