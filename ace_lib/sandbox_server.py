"""A sandbox server that speaks SandboxFusion's `POST /run_code`, for the backend `http`.

    python -m ace_lib.sandbox_server [--host 127.0.0.1] [--port 8080] [--sandboxes N]

Programs run in `ace_lib.sandbox.Sandbox`: no network, no files, limits on CPU time and memory. For
machines that cannot isolate programs themselves (run it in a Linux container or on another
machine), and for tests. Anyone who can reach the port can run programs, so it listens on this
machine alone unless told otherwise; between machines put it behind what authenticates.

What differs from SandboxFusion: `language` is `python`, no files, and the optional field
`cpu_timeout` (seconds on the CPU clock) is what ends a program that computes; one that idles ends
after three times that. Without the field it is a third of `run_timeout`.
"""

import argparse
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ace_lib.sandbox import Sandbox, SandboxUnavailable
from ace_lib.sandbox_session import IDLE_FACTOR, Limits, Outcome, SandboxError

MAX_REQUEST = 64 * 2**20  # bytes
MAX_SECONDS, MAX_MEMORY_MB = 300.0, 16_384
_FIELDS = {  # name: (type, default, most)
    "code": (str, None, None),
    "language": (str, None, None),
    "stdin": (str, "", None),
    "run_timeout": (float, 10.0, MAX_SECONDS),
    "cpu_timeout": (float, 0.0, MAX_SECONDS),
    "memory_limit_MB": (int, Limits.memory_bytes >> 20, MAX_MEMORY_MB),
}


class BadRequest(Exception):
    """A request that cannot be served; the text says why."""


class SandboxServer(ThreadingHTTPServer):
    """Takes requests in threads and runs their programs in a few sandboxes.

    Raises:
        SandboxUnavailable: this machine cannot isolate programs.
    """

    daemon_threads = True

    def __init__(self, address: tuple[str, int], num_sandboxes: int) -> None:
        # The kernel ends a sandbox with the thread that started it, so threads own them, and stay.
        self._runners = ThreadPoolExecutor(num_sandboxes)
        self._own = threading.local()
        Sandbox().close()
        super().__init__(address, Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no news."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def run(self, fields: dict) -> dict:
        """SandboxFusion's response to a checked request; waits for a free sandbox."""
        return self._runners.submit(self._run, fields).result()

    def _run(self, fields: dict) -> dict:
        limits = Limits(
            cpu_seconds=fields["cpu_timeout"] or fields["run_timeout"] / IDLE_FACTOR,
            memory_bytes=fields["memory_limit_MB"] << 20,
        )
        started = time.monotonic()
        box = getattr(self._own, "box", None)
        try:
            box = self._own.box = box or Sandbox()
            session = box.open(fields["code"], "", 1, limits)
            try:
                outcome = session.run(fields["stdin"].encode(errors="replace"))
            finally:
                session.close()
        except (SandboxError, SandboxUnavailable) as error:
            if box is not None:
                box.close()
            self._own.box = None
            return {"status": "SandboxError", "message": str(error), "run_result": None}
        return _response(outcome, time.monotonic() - started)


def _response(outcome: Outcome, seconds: float) -> dict:
    done, late = outcome.status == "done", outcome.status == "timeout"
    detail = outcome.detail
    if outcome.status == "output_limit":
        detail = f"OutputLimitError: {detail}"
    if outcome.status == "memory" and not detail.startswith("MemoryError"):
        detail = f"MemoryError: {detail}"
    return {
        "status": "Success" if done else "Failed",
        "message": "",
        "compile_result": None,
        "run_result": {
            "status": "TimeLimitExceeded" if late else "Finished",
            "execution_time": seconds,
            "return_code": None if late else int(not done),
            "stdout": outcome.output.decode(errors="replace"),
            "stderr": detail,
        },
        "files": {},
    }


class Handler(BaseHTTPRequestHandler):
    """`POST /run_code` and `GET /v1/ping`."""

    protocol_version = "HTTP/1.1"
    timeout = 120.0  # seconds of silence on a connection
    disable_nagle_algorithm = True  # or head and body of a reply wait 40 ms for each other

    def do_GET(self) -> None:  # noqa: N802 (the name is http.server's)
        """Say that the server is there."""
        found = self.path == "/v1/ping"
        self._reply(200 if found else 404, "pong" if found else {"detail": "not found"})

    def do_POST(self) -> None:  # noqa: N802
        """Run a program."""
        try:
            fields = self._fields()
        except BadRequest as error:
            # The rest of the request may be unread: the connection is of no more use.
            self.close_connection = True
            self._reply(422, {"detail": str(error)})
            return
        self._reply(200, self.server.run(fields))

    def _fields(self) -> dict:
        """The checked request.

        Raises:
            BadRequest: it is not one we can serve.
        """
        if self.path != "/run_code":
            raise BadRequest(f"no such path {self.path[:100]}: use /run_code")
        # Pages in a browser may send text to any port, but not JSON.
        if self.headers.get_content_type() != "application/json":
            raise BadRequest("the content type must be application/json")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MAX_REQUEST:
            raise BadRequest(f"Content-Length must be given, and at most {MAX_REQUEST}")
        try:
            request = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError) as error:
            raise BadRequest(f"not JSON: {error}") from error
        return check_request(request)

    def _reply(self, status: int, content: object) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        """Thousands of requests a minute are not worth a line each."""


def check_request(request: object) -> dict:
    """The fields we use, with their defaults.

    Raises:
        BadRequest: a field is missing, of a wrong type or out of range, or is not supported.
    """
    if not isinstance(request, dict):
        raise BadRequest("not a JSON object")
    fields = {}
    for name, (kind, default, most) in _FIELDS.items():
        value = request.get(name, default)
        value = default if value in (None, -1) else value  # -1: SandboxFusion's "no limit"
        accepted = (int, float) if kind is float else kind
        if not isinstance(value, accepted) or isinstance(value, bool):
            raise BadRequest(f"{name} must be of type {kind.__name__}")
        if most and not 0 <= value <= most:
            raise BadRequest(f"{name} must be between 0 and {most}")
        fields[name] = value
    if fields["language"] != "python" or request.get("files") or request.get("fetch_files"):
        raise BadRequest("only language 'python' without files is supported")
    return fields


def main() -> int:
    """Serve until interrupted; the first line printed says where."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0 opens it to every machine")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one")
    parser.add_argument("--sandboxes", type=int, default=os.cpu_count(), help="programs at a time")
    arguments = parser.parse_args()
    try:
        server = SandboxServer((arguments.host, arguments.port), arguments.sandboxes)
    except (SandboxUnavailable, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    host, port = server.server_address[:2]
    print(f"listening on http://{host}:{port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
