"""The attack suite: no forged pass, no effect on the host, no refused right program.

As root and as an ordinary user, with and without namespaces, with and without Landlock.
"""

import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from attack_suite import LABELLED

from ace_lib import sandbox
from ace_lib.sandbox import Sandbox, SandboxUnavailable

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are isolated by Linux")
KIT = Path(__file__).parents[1]
SECRET = Path("/tmp/ace-attack-secret")
ORDINARY = 23_456  # a user id that owns nothing here
ENTRIES = {entry["name"]: entry for entry in LABELLED["programs"]}


def as_user(user: int, command: list[str], hold: str) -> list[str]:
    """Let a user run Python and the kit where they are, even below folders closed to all but root.

    In mounts of its own, seen by nobody else, such a folder becomes one that shows only these.
    """
    shown = list(dict.fromkeys((sys.base_prefix, sys.prefix, str(KIT))))
    parents = (parent for folder in shown for parent in reversed(Path(folder).parents))
    closed = dict.fromkeys(str(parent) for parent in parents if not parent.stat().st_mode & 0o001)
    command = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command]
    if not closed:
        return command
    own_mounts = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*own_mounts, "true"], check=False).returncode:
        pytest.skip(f"root may not mount here, and ordinary users cannot read {[*closed]}")
    held = [(f"{hold}/{number}", folder) for number, folder in enumerate(shown)]
    lines = [["mkdir", *(place for place, _ in held)]]
    lines += [["mount", "--bind", folder, place] for place, folder in held]
    lines += [["mount", "-t", "tmpfs", "-o", "mode=755", "none", folder] for folder in closed]
    for place, folder in held:
        lines += [["mkdir", "-p", folder], ["mount", "--bind", place, folder]]
    script = "\n".join(map(shlex.join, [*lines, ["exec", *command]]))
    return [*own_mounts, "sh", "-ec", script]


def judge(user: int, *arguments: str) -> dict:
    """What the attack suite prints when a user runs it."""
    environment = {**os.environ, "PYTHONPATH": str(KIT), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(KIT / "tests/attack_suite.py"), *arguments]
    with tempfile.TemporaryDirectory() as hold:
        if user != os.geteuid():
            command = as_user(user, command, hold)
        finished = subprocess.run(
            command, env=environment, cwd="/", text=True, capture_output=True, check=False
        )
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


@pytest.fixture(params=["root", "ordinary"])
def user(request):
    if request.param == "ordinary":
        return os.geteuid() or ORDINARY
    if os.geteuid() != 0:
        pytest.skip("only root can run it as root")
    return 0


def host_state() -> dict[str, object]:
    """What attacks would change on the host."""
    status = SECRET.stat()
    folders = map(Path, ("/", "/tmp", "/dev/shm", "/var/tmp"))
    return {
        "secret": (SECRET.read_text(), status.st_mode, status.st_mtime_ns, status.st_uid),
        "files": [path for folder in folders for path in folder.glob("ace-attack-canary*")],
        "name": socket.gethostname(),
        "sockets": "ace-attack" in Path("/proc/net/unix").read_text(),
        "keys": "ace-attack" in Path("/proc/keys").read_text(),
        "priority": os.getpriority(os.PRIO_PROCESS, 0),
    }


@pytest.fixture
def host(user):
    SECRET.write_text("planted-5cfa0d")
    os.chown(SECRET, user, -1)
    before = host_state()
    yield
    assert host_state() == before
    SECRET.unlink()


@pytest.mark.parametrize(
    ("mode", "refused"),
    [("shared", ""), ("isolated", ""), ("shared", "namespaces"), ("shared", "landlock")],
)
def test_no_attack_passes_and_no_right_program_is_refused(host, user, mode, refused):
    answer = judge(user, mode, *refused.split())
    if refused == "landlock" and "refused" in answer:
        pytest.skip("this machine gives that user no namespaces")
    for verdict in answer["verdicts"]:
        entry = ENTRIES[verdict["id"]]
        assert verdict["reward"] == float(entry.get("right", False)), verdict
        assert verdict["status"] == entry.get("status", verdict["status"]), verdict
        isolation = verdict["detail"]["isolation"].split("+")
        assert "seccomp" in isolation and len(isolation) >= 2 and refused not in isolation
        assert "planted-5cfa0d" not in json.dumps(verdict)
    assert len(answer["verdicts"]) == len(ENTRIES) or refused


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (("namespaces", "landlock"), "Linux >= 5.13 with `landlock`"),
        (("seccomp",), "CONFIG_SECCOMP_FILTER is needed"),
    ],
)
def test_too_little_isolation_is_refused_with_its_fix(user, refused, reason):
    answer = judge(user, "shared", *refused)
    assert reason in answer["refused"] and "--backend http" in answer["refused"]


@pytest.mark.parametrize(
    "weaker",
    [
        "sandbox_locks.lock_process = lambda: 'namespaces+landlock+seccomp'",
        "sandbox_locks.prepare_child_filter = lambda: lambda: None",
        "ENVIRONMENT = dict(SECRET='1')",
    ],
)
def test_the_self_test_fails_closed(monkeypatch, tmp_path, weaker):
    start = f"; import ace_lib.sandbox_zygote as zygote; zygote.{weaker}; main()"
    monkeypatch.setattr(sandbox, "_START", sandbox._START.replace("; main()", start))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match="self-test failed"):
        Sandbox()
    assert not list(tmp_path.iterdir())


def test_there_are_enough_programs():
    kinds = Counter(entry["category"] for entry in LABELLED["programs"])
    assert kinds["right"] >= 40
    assert kinds.total() - kinds["right"] - kinds["wrong"] >= 100
    assert len(ENTRIES) == kinds.total()
