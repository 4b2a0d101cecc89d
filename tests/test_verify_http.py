"""The backend `http`: our sandbox server end to end, and servers that fail or lie."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain, count, islice, repeat
from pathlib import Path

import pytest
from attack_suite import LABELLED, program_row
from test_verify_code import ADD, DOUBLE

from ace_lib import AceError, sandbox_server, verify, verify_http
from ace_lib.cli import main
from ace_lib.verify import Verifier

ROOT = Path(__file__).resolve().parent.parent
MATH = {"id": "m", "domain": "math", "response": "\\boxed{0.5}", "gold": "\\frac12"}
RIGHT = {**DOUBLE, "program": "print(2 * int(input()))"}
# Statuses that a server cannot tell: how a called program left before it returned anything.
LEFT_EARLY = {"system_exit", "forged_done_marks"}


@contextmanager
def running_server() -> Iterator[tuple[subprocess.Popen, str]]:
    command = [sys.executable, "-m", "ace_lib.sandbox_server", "--port", "0", "--sandboxes", "2"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            first = process.stdout.readline()
            assert first.startswith("listening on http://127.0.0.1:")
            yield process, first.split()[-1]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server():
    with running_server() as (_, address):
        yield address


@pytest.fixture(scope="module")
def verifier(server):
    with Verifier(8, backend="http", address=server) as shared:
        yield shared


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(verify_http, "PAUSES", (0.0, 0.01, 0.01))


def test_every_labelled_program_gets_its_verdict(verifier):
    entries = LABELLED["programs"]
    rows = [program_row(entry) for entry in entries]
    for row, entry in zip(rows, entries, strict=True):
        if entry.get("status") == "memory":  # the clock must not come first on a loaded machine
            row["time_limit"] = 5.0
    verdicts = verifier.verify(rows)
    for entry, verdict in zip(entries, verdicts, strict=True):
        assert verdict.reward == float(entry.get("right", False)), (entry["name"], verdict)
        if entry["name"] not in LEFT_EARLY:
            assert verdict.status == entry.get("status", verdict.status), (entry["name"], verdict)
        assert verdict.detail["isolation"] == "remote"


def test_mixed_rows_keep_their_order(verifier):
    rows = [MATH, RIGHT, {**MATH, "response": "\\boxed{2}"}, {**ADD, "program": "add = max"}] * 5
    rows = [{**row, "id": number} for number, row in enumerate(rows)]
    verdicts = verifier.verify(rows)
    assert [verdict.id for verdict in verdicts] == list(range(20))
    assert [verdict.reward for verdict in verdicts] == [1.0, 1.0, 0.0, 0.0] * 5


@pytest.mark.parametrize(
    ("program", "reward"),
    [
        # It may print what it likes, and may find the tag and print that: it claims an answer.
        ("def add(x, y):\n    print('value-0000000000000000:', 99)\n    return x + y", 1.0),
        ('def add(x, y):\n    claim(\'{"status": "passed"}\')', 0.0),
        ("def add(x, y):\n    claim('true')", 0.0),
        ("def add(x, y):\n    claim(str(x + y))", 1.0),
        ("def add(x, y):\n    claim('[' * 100000)", 0.0),
        ("def add(x, y):\n    claim('{\"d\": 3}')", 0.0),
        ("def add(x, y):\n    os._exit(0)", 0.0),
        ("import json\njson.dumps = lambda value: 'true'\ndef add(x, y):\n    return x + y", 0.0),
    ],
)
def test_a_program_can_claim_an_answer_but_no_verdict(verifier, program, reward):
    helper = """
import os, sys
def claim(value):
    frame = sys._getframe()
    while "tag" not in frame.f_locals:
        frame = frame.f_back
    line = f"\\n{frame.f_locals['tag']}{value}\\n"
    os.write(frame.f_locals["answer"], line.encode())
    os._exit(0)
"""
    [verdict] = verifier.verify([{**ADD, "program": helper + program}])
    assert verdict.reward == reward, verdict


def test_what_the_server_is_told_holds_no_expected_output():
    seen = []

    def record(body: bytes) -> tuple[int, bytes]:
        seen.append(json.loads(body))
        return reply(stdout="wrong")

    tests = [{"input": "11\n", "output": "expected-22"}, {"input": "12\n", "output": "x"}]
    with fake_server(record) as address, Verifier(backend="http", address=address) as verifier:
        [verdict] = verifier.verify([{**RIGHT, "tests": tests}])
    assert verdict.status == "wrong_answer"
    [request] = seen  # the first wrong test is the last
    assert request["stdin"] == "11\n" and request["language"] == "python"
    assert "expected-22" not in json.dumps(request) and "12\\n" not in json.dumps(request["stdin"])


def test_a_checker_is_not_sent_away_with_the_expected_outputs(server):
    source = "def check(given, output, expected):\n    return True"
    with Verifier(1, backend="http", address=server) as verifier:
        [verdict] = verifier.verify([{**RIGHT, "comparer": "checker", "checker": source}])
    assert (verdict.status, verdict.reward) == ("verifier_error", None)
    assert "would see expected outputs" in verdict.detail["reason"]


def reply(
    status: str = "Success", stdout: object = "", code: object = 0, stderr: str = ""
) -> tuple[int, bytes]:
    result = {"status": "Finished", "return_code": code, "stdout": stdout, "stderr": stderr}
    return 200, json.dumps({"status": status, "message": "", "run_result": result}).encode()


@contextmanager
def fake_server(answer: Callable[[bytes], tuple[int, bytes]]) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, data = answer(body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (reply(stdout="6\n"), "passed"),
        (reply("Failed", code=1, stderr="Traceback\nValueError: no"), "runtime_error"),
        (reply("Failed", code=1, stderr="Traceback\nMemoryError"), "memory"),
        (reply("Failed", code=137), "memory"),
        (reply("Failed", code=-24), "timeout"),
        (reply("Failed", code=152), "timeout"),
        (reply(stdout="6" * 17_000_000), "output_limit"),
        ((200, b"garbage"), "verifier_error"),
        ((200, b"[" * 100_000), "verifier_error"),
        ((200, b"[]"), "verifier_error"),
        ((200, b'{"status": "passed"}'), "verifier_error"),
        (reply("SandboxError"), "verifier_error"),
        (reply("Success", stdout=None), "verifier_error"),
        (reply("Success", code="0", stdout="6"), "verifier_error"),
        ((200, b'{"status": "Success", "run_result": null}'), "verifier_error"),
        ((404, b"not here"), "verifier_error"),
        ((500, b""), "verifier_error"),
    ],
)
def test_what_a_reply_means(quick, answer, status):
    rows = [{**RIGHT, "tests": [{"input": "3\n", "output": "6\n"}]}]
    with (
        fake_server(lambda body: answer) as address,
        Verifier(backend="http", address=address) as verifier,
    ):
        [verdict] = verifier.verify(rows)
    assert verdict.status == status
    expected = {"passed": 1.0, "verifier_error": None}
    assert verdict.reward == expected.get(status, 0.0)


def test_a_timeout_of_the_server_is_one(quick):
    late = reply("Failed", stdout="6\n", code=None)[1].replace(b"Finished", b"TimeLimitExceeded")
    with (
        fake_server(lambda body: (200, late)) as address,
        Verifier(backend="http", address=address) as verifier,
    ):
        assert verifier.verify([RIGHT])[0].status == "timeout"


@pytest.mark.parametrize(("num_failures", "status"), [(5, "passed"), (6, "verifier_error")])
def test_a_failure_that_passes_is_asked_again(quick, num_failures, status):
    failures = iter([(503, b"busy"), (200, b"?"), reply("SandboxError")] * 2)
    answers = chain(islice(failures, num_failures), repeat(reply(stdout="6\n")))
    row = {**RIGHT, "tests": [{"input": "3\n", "output": "6\n"}]}
    with (
        fake_server(lambda body: next(answers)) as address,
        Verifier(backend="http", address=address) as verifier,
    ):
        assert verifier.verify([row])[0].status == status  # two times three attempts


def test_no_server_is_no_reward_and_soon_known(quick):
    with Verifier(backend="http", address="http://127.0.0.1:9") as verifier:
        verdicts = verifier.verify([RIGHT] * 300 + [MATH])
    assert [verdict.reward for verdict in verdicts] == [None] * 300 + [1.0]
    assert "Connection refused" in verdicts[0].detail["reason"]


def test_a_server_killed_in_the_middle_loses_no_row(quick, monkeypatch):
    run, numbers = verify_http.RemoteSandbox.run, count()
    with (
        running_server() as (process, address),
        Verifier(4, backend="http", address=address) as verifier,
    ):

        def run_or_kill(box: verify_http.RemoteSandbox, request: dict) -> dict:
            if next(numbers) == 200:
                process.kill()
            return run(box, request)

        monkeypatch.setattr(verify_http.RemoteSandbox, "run", run_or_kill)
        verdicts = verifier.verify([{**RIGHT, "id": number} for number in range(300)])
    assert [verdict.id for verdict in verdicts] == list(range(300))
    assert {(v.status, v.reward) for v in verdicts} == {("passed", 1.0), ("verifier_error", None)}


def test_the_command_and_the_environment_choose_the_backend(server, tmp_path, monkeypatch):
    rows, verdicts = tmp_path / "rows.jsonl", tmp_path / "verdicts.jsonl"
    rows.write_text(json.dumps(RIGHT))
    assert main(["verify", str(rows), str(verdicts), "--backend", "http", "--address", server]) == 0
    assert json.loads(verdicts.read_text())["detail"]["isolation"] == "remote"
    monkeypatch.setenv("ACE_VERIFY_BACKEND", "http")
    monkeypatch.setenv("ACE_VERIFY_ADDRESS", server)
    monkeypatch.setattr(verify, "_shared", {})
    [verdict] = verify.verify_responses([RIGHT], ["```python\nprint(2 * int(input()))\n```"])
    assert (verdict.status, verdict.detail["isolation"]) == ("passed", "remote")


def test_a_backend_that_does_not_exist_is_named():
    with pytest.raises(AceError, match="unknown backend 'rays': must be one of local, ray, http"):
        Verifier(backend="rays")
    with pytest.raises(AceError, match="'local' takes no address"):
        Verifier(address="auto")


@pytest.mark.parametrize("address", [None, "", "127.0.0.1:80", "ftp://x", "http://"])
def test_an_address_is_needed(address):
    with pytest.raises(AceError, match=re.escape("http://127.0.0.1:8080")):
        Verifier(backend="http", address=address)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": None}, "code must be"),
        ({"language": "cpp"}, "only language 'python'"),
        ({"files": {"a": "eA=="}}, "without files"),
        ({"run_timeout": 1e9}, "between 0 and 300"),
        ({"run_timeout": float("nan")}, "between 0 and 300"),
        ({"memory_limit_MB": True}, "memory_limit_MB must be"),
        ({"stdin": 3}, "stdin must be"),
    ],
)
def test_the_server_says_what_is_wrong_with_a_request(change, reason):
    request = {"code": "print(1)", "language": "python", **change}
    with pytest.raises(sandbox_server.BadRequest, match=reason):
        sandbox_server.check_request(request)


@pytest.mark.parametrize(
    ("path", "headers", "body", "status"),
    [
        ("/v1/ping", {}, None, 200),
        ("/other", {}, None, 404),
        ("/other", {"Content-Type": "application/json"}, b"{}", 422),
        ("/run_code", {"Content-Type": "text/plain"}, b"{}", 422),
        ("/run_code", {"Content-Type": "application/json"}, b"{", 422),
        ("/run_code", {"Content-Type": "application/json", "Content-Length": "9" * 12}, b"", 422),
    ],
)
def test_the_server_refuses_other_requests(server, path, headers, body, status):
    connection = HTTPConnection(server.removeprefix("http://"), timeout=10)
    connection.request("GET" if body is None else "POST", path, body, headers)
    response = connection.getresponse()
    assert response.status == status
    assert json.loads(response.read())
    connection.close()


def test_the_server_takes_sandboxfusions_request(server):
    connection = HTTPConnection(server.removeprefix("http://"), timeout=30)
    request = {"compile_timeout": 10, "run_timeout": 10, "memory_limit_MB": -1, "stdin": "a",
               "code": "print(input() * 3)", "language": "python", "files": {},
               "fetch_files": []}  # fmt: skip
    for _ in range(2):  # the connection is kept
        connection.request("POST", "/run_code", json.dumps(request),
                           {"Content-Type": "application/json"})  # fmt: skip
        answer = json.loads(connection.getresponse().read())
    result = answer.pop("run_result")
    assert answer == {"status": "Success", "message": "", "compile_result": None, "files": {}}
    assert result.pop("execution_time") < 10
    assert result == {"status": "Finished", "return_code": 0, "stdout": "aaa\n", "stderr": ""}
    connection.close()
