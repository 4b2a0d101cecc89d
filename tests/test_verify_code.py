"""Code verdicts: every labelled program, limits, the trust line, and how the pool fails."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from attack_suite import LABELLED, program_row

from ace_lib import AceError, rl
from ace_lib.code_compare import text_equal, value_equal
from ace_lib.sandbox import Sandbox
from ace_lib.sandbox_session import Limits, SandboxError
from ace_lib.verify import RowError, Verifier, verify_responses
from ace_lib.verify_pool import chunk_rows

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are isolated by Linux")
DOUBLE = {"id": "double", "domain": "code", **LABELLED["problems"]["double"]}
ADD = {"id": "add", "domain": "code", **LABELLED["problems"]["add"]}


@pytest.fixture(scope="module")
def verifier():
    with Verifier(num_workers=2) as shared:
        yield shared


@pytest.fixture
def box():
    with Sandbox() as one:
        yield one


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"tests": []}, "no tests"),
        ({"tests": None}, "no tests"),
        ({"tests": [{"input": "1"}]}, "no input and output"),
        ({"tests": [{"input": 1, "output": "2"}]}, "must be text"),
        ({"mode": "other"}, "mode"),
        ({"mode": "call", "entry_point": ""}, "entry_point"),
        ({"mode": "call", "entry_point": "f", "tests": [{"input": 3, "output": 3}]}, "list"),
        ({"mode": "call", "entry_point": "f", "tests": [{"input": "{", "output": "1"}]}, "test 0"),
        ({"comparer": "guess"}, "comparer"),
    ],
)
def test_a_problem_that_cannot_be_judged_gives_no_reward(verifier, change, reason):
    [verdict] = verifier.verify([{**DOUBLE, "program": "print(6)", **change}])
    assert (verdict.status, verdict.reward) == ("invalid_problem", None)
    assert reason in verdict.detail["reason"]


def test_a_response_without_a_program_is_no_answer(verifier):
    for response in ("print(6)", "<think>\n```python\nprint(6)\n```", "```\nprint(6)\n```"):
        [verdict] = verifier.verify([{**DOUBLE, "response": response}])
        assert (verdict.status, verdict.reward) == ("no_answer", 0.0)


def test_a_malformed_row_is_refused_by_name(verifier):
    for row in ({}, {"id": "x", "domain": "art"}, {**DOUBLE}, {**DOUBLE, "program": 3}):
        with pytest.raises(RowError, match="row 1"):
            verifier.verify([{**DOUBLE, "program": "pass"}, row])


def test_livecodebench_tests_in_text(verifier):
    tests = [{"input": '[1, 2]\n"a"', "output": '["a", 2]'}]
    row = {**ADD, "tests": tests, "program": "def add(x, y):\n    return [y, x[1]]"}
    assert verifier.verify([row])[0].status == "passed"


def test_comparers():
    assert text_equal("1.0 2\n3 \n", "1 2.00\n3") and not text_equal("1 2", "1\n2")
    assert not text_equal("1.0", "1", "exact") and text_equal("0.3000000001", "0.3", "float")
    assert not text_equal("1e999999999", "5") and text_equal("nope", "nope")
    assert value_equal([1, (2)], [1, 2]) and not value_equal({1: 2}, {"1": 2})
    assert value_equal(0.1 + 0.2, 0.3, "float") and not value_equal(0.1 + 0.2, 0.3)
    assert value_equal(True, 1) and not value_equal(True, 1, "exact")


def test_the_child_sees_one_input_at_a_time_and_no_expected_output(box):
    spy = (
        "import gc, os\nfound = [os.pread(fd, 10**6, 0) for fd in range(3, 20) if is_file(fd)]\n"
        "print(int(input()) * 2, b''.join(found))"
    )
    helper = "import os, stat\ndef is_file(fd):\n    try:\n        return stat.S_ISREG(os.fstat(fd).st_mode)\n    except OSError:\n        return False\n"  # noqa: E501
    session = box.open(helper + spy, "", 2)
    first = session.run(b"11\n").output
    second = session.run(b"22\n").output
    session.close()
    assert b"11" in first and b"22\\n" not in first
    assert b"22" in second and b"11\\n" not in second


def test_cpu_limit_counts_cpu_and_idle_programs_end_too(box):
    limits = Limits(cpu_seconds=0.3)
    for program, floor in (("while True: pass", 0.3), ("import time; time.sleep(9)", 0.9)):
        session = box.open(program, "", 1, limits)
        started = time.monotonic()
        assert session.run(b"").status == "timeout"
        assert floor <= time.monotonic() - started < 20 * floor
        session.close()


def test_the_limit_is_per_test_not_per_program(verifier):
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    tests = DOUBLE["tests"] * 2
    row = {**DOUBLE, "tests": tests, "time_limit": 0.6, "program": busy + "print(int(input()) * 2)"}
    assert verifier.verify([row])[0].status == "passed"


def test_a_function_reads_nothing_and_may_print_as_much_as_it_likes(verifier):
    program = (
        "import sys\ndef add(a, b):\n    print('x' * 2**25 + sys.stdin.read())\n    return a + b"
    )
    [verdict] = verifier.verify([{**ADD, "program": program}])
    assert verdict.status == "passed", verdict


def test_inputs_and_values_of_any_size_come_through(verifier):
    """Small ones travel with the marks and the others in files, within one process."""
    texts = ["x" * size for size in (0, 70_000, *range(470, 482), *range(4084, 4096), 3)]
    tests = [{"input": [text], "output": text} for text in texts]
    row = {**ADD, "entry_point": "f", "tests": tests, "program": "def f(x):\n    return x"}
    wrong = {**row, "program": "def f(x):\n    return x[:4090]"}
    verdicts = verifier.verify([row, {**row, "tests": tests[::-1]}, wrong])
    assert [v.status for v in verdicts] == ["passed", "passed", "wrong_answer"], verdicts


def test_an_exit_is_no_value_not_even_that_of_the_test_before(verifier):
    program = "def f(x):\n    x or exit(0)\n    return 'a' * 9000"
    tests = [{"input": [x], "output": "a" * 9000} for x in (1, 0)]
    [verdict] = verifier.verify([{**ADD, "entry_point": "f", "tests": tests, "program": program}])
    assert (verdict.status, verdict.detail["test"]) == ("runtime_error", 1)


def test_a_program_that_ends_itself_or_hides_is_judged_by_its_end(verifier):
    silent = "import os, time\nfor fd in range(3, 30):\n    try:\n        os.close(fd)\n"
    silent += "    except OSError:\n        pass\ntime.sleep(0.2)\n"
    printed = "import os\nprint(int(input()) * 2, flush=True)\n"
    programs = [printed + silent + "os._exit(0)", printed + "os._exit(3)", silent + "while 1: pass"]
    rows = [{**DOUBLE, "time_limit": 0.3, "program": program} for program in programs]
    statuses = [verdict.status for verdict in verifier.verify(rows)]
    assert statuses == ["passed", "runtime_error", "timeout"]


def test_state_of_earlier_tests_does_not_fail_a_right_program(verifier):
    once = "import sys\nif 'mark' in sys.modules: raise ValueError\nsys.modules['mark'] = sys\n"
    row = {**DOUBLE, "program": once + "print(int(input()) * 2)"}
    assert verifier.verify([row])[0].status == "passed"


def test_order_and_determinism(verifier):
    programs = ["print(int(input()) * 2)", "print(1)", "1/0", "print({'b', 'a', 'c'})"]
    rows = [{**DOUBLE, "id": str(i), "program": programs[i % 4]} for i in range(40)]
    first, second = verifier.verify(rows), verifier.verify(rows)
    assert [v.id for v in first] == [str(i) for i in range(40)]
    for one, other in zip(first, second, strict=True):
        one.detail.pop("usage"), other.detail.pop("usage")
        assert (one.status, one.detail) == (other.status, other.detail)


CHECKER = """
def check(input, output, expected):
    a, b = map(int, output.split())
    return a + b == int(input) and len(expected) > 0
"""
SPLIT = {
    "id": "split", "domain": "code", "mode": "stdin", "comparer": "checker", "checker": CHECKER,
    "tests": [{"input": "7\n", "output": "3 4\n"}, {"input": "2\n", "output": "1 1\n"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("program", "checker", "status"),
    [
        ("n = int(input())\nprint(n - 1, 1)", CHECKER, "passed"),
        ("n = int(input())\nprint(7, 0)", CHECKER, "wrong_answer"),
        ("print('no number')", CHECKER, "invalid_problem"),  # a checker must bear any output
        ("print(1)", "def check(input, output, expected):\n    return 1", "invalid_problem"),
        ("print(1)", "def check(", "invalid_problem"),
        ("print(1)", "def check(*a):\n    import os\n    os._exit(0)", "invalid_problem"),
        ("print(1)", "print(input())", "invalid_problem"),
        ("print(1)", None, "invalid_problem"),
        ("print('x' * 10**7)", "def check(*a):\n    return False", "wrong_answer"),
    ],
)
def test_a_checker_decides_by_a_bool_and_fails_at_the_problems_cost(
    verifier, program, checker, status
):
    [verdict] = verifier.verify([{**SPLIT, "program": program, "checker": checker}])
    assert verdict.status == status, verdict
    assert (verdict.detail["comparer"], verdict.reward is None) == (
        "checker", status == "invalid_problem")  # fmt: skip


def test_a_checker_of_a_function_sees_json(verifier):
    checker = (
        "import json\ndef check(given, value, expected):\n    return value == '{\"a\": [1, 2]}'"
    )
    row = {**ADD, "comparer": "checker", "checker": checker}
    [right, wrong] = verifier.verify(
        [
            {**row, "program": f"def add(x, y):\n    return {value}"}
            for value in ("{'a': (1, 2)}", "3")
        ]
    )
    assert (right.status, wrong.status) == ("passed", "wrong_answer")


def test_a_verdict_says_what_failed_and_what_it_cost(verifier):
    [verdict] = verifier.verify([{**DOUBLE, "program": "n = int(input())\nprint(2 * abs(n))"}])
    usage = verdict.detail.pop("usage")
    isolation = verdict.detail.pop("isolation")
    assert verdict.detail == {"comparer": "livecodebench", "test": 1, "output": "8\n"}
    assert isolation.endswith("+seccomp")
    assert 0 < usage["cpu_seconds"] < 1 and 0 < usage["wall_seconds"] < 60
    assert 1 < usage["max_rss_mb"] < 200


def test_the_unsafe_backend_judges_alike_and_says_what_it_is(capfd):
    names = ("input", "solution_class", "tuple_result", "fast_io", "off_by_one", "no_entry_point",
             "always_equal", "exit_zero_call", "memory_at_once", "output_flood", "sleep",
             "busy_loop")  # fmt: skip
    entries = [entry for entry in LABELLED["programs"] if entry["name"] in names]
    with Verifier(backend="unsafe", num_workers=4) as pool:
        verdicts = pool.verify([program_row(entry) for entry in entries])
    assert "run as you, with your files" in capfd.readouterr().err
    for entry, verdict in zip(entries, verdicts, strict=True):
        assert verdict.reward == float(entry.get("right", False)), (entry["name"], verdict)
        assert verdict.status == entry.get("status", verdict.status), (entry["name"], verdict)
        assert verdict.detail["isolation"] == "none"


def test_rewards_of_rl_never_come_from_the_unsafe_backend(monkeypatch, tmp_path):
    monkeypatch.setenv("ACE_VERIFY_BACKEND", "unsafe")
    job = rl.GRPOJob("n", "model", str(tmp_path), "rows", 1, 1, 2, 8, 1.0, 1e-6)
    with pytest.raises(AceError, match="RL takes no rewards from ACE_VERIFY_BACKEND=unsafe"):
        rl.train(job, print)


def test_neither_load_nor_sixteen_at_once_change_a_verdict():
    burn = "import time\nend = time.process_time() + {}\nwhile time.process_time() < end: pass\n"
    programs = [burn.format(0.15) + "print(int(input()) * 2)", burn.format(1), "print(1)"]
    rows = [{**DOUBLE, "tests": DOUBLE["tests"][:1], "time_limit": 0.4, "program": program}
            for program in programs]  # fmt: skip
    with Verifier(num_workers=1) as pool:
        idle = [(v.status, v.detail.get("test")) for v in pool.verify(rows)]
    assert idle == [("passed", None), ("timeout", 0), ("wrong_answer", 0)]
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(4)]
    try:
        with Verifier(num_workers=16) as pool:
            verdicts = pool.verify([rows[0]] * 16 + rows[1:] * 4)
    finally:
        for process in spinning:
            process.kill()
            process.wait()
    loaded = [(v.status, v.detail.get("test")) for v in verdicts]
    assert loaded == [idle[0]] * 16 + idle[1:] * 4


def test_verify_from_several_threads():
    problems, found = [DOUBLE] * 8, {}
    response = "<think>\nx\n</think>\n```python\nprint(int(input()) * 2)\n```"

    def judge(number: int) -> None:
        found[number] = [v.reward for v in verify_responses(problems, [response] * 8)]

    threads = [threading.Thread(target=judge, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {n: [1.0] * 8 for n in range(4)}


def test_every_worker_gets_equally_many_rows():
    chunks = chunk_rows([DOUBLE] * 60, 2, {"code": 16, "math": 64})
    assert [len(chunk) for chunk in chunks] == [15] * 4
    assert sum(chunks, []) == list(range(60))


@pytest.mark.parametrize(("processes", "workers"), [("1", 4), ("2", 2), ("8", 1)])
def test_training_processes_share_the_cores_of_their_machine(monkeypatch, processes, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)  # as torchrun gives it
    with Verifier() as pool:
        pool.verify([{**DOUBLE, "program": "print(int(input()) * 2)"}] * 100)
        assert len(pool._backend._workers) == workers


def test_a_killed_worker_loses_no_row():
    rows = [{**DOUBLE, "id": str(i), "program": "print(int(input()) * 2)"} for i in range(200)]
    with Verifier(num_workers=2) as pool:
        pool.verify(rows[:2])
        victim = pool._backend._workers[0]._process.pid
        killer = threading.Timer(0.1, os.kill, (victim, signal.SIGKILL))
        killer.start()
        verdicts = pool.verify(rows)
        killer.join()
    assert [v.id for v in verdicts] == [r["id"] for r in rows]
    assert {v.status for v in verdicts} == {"passed"}


def test_a_worker_that_always_dies_is_a_verifier_error(monkeypatch):
    monkeypatch.setattr("ace_lib.verify_pool._START", "import sys; sys.stdin.buffer.read(4)")
    with Verifier(num_workers=1) as pool:
        verdicts = pool.verify([{**DOUBLE, "program": "pass"}] * 3)
    assert [(v.status, v.reward) for v in verdicts] == [("verifier_error", None)] * 3


def test_a_dead_zygote_is_an_error_and_not_a_verdict(box):
    session = box.open("print(1)", "", 2)
    assert session.run(b"").output == b"1\n"
    box._process.kill()
    box._process.wait()
    with pytest.raises(SandboxError):
        box.open("print(1)", "", 1)
    with pytest.raises(SandboxError):
        while time.sleep(0.01) is None:  # the kernel takes a moment to end the child, too
            session.run(b"")


def test_no_process_survives_the_verifier():
    with Verifier(num_workers=1) as pool:
        pool.verify([{**DOUBLE, "program": "print(int(input()) * 2)"}])
        worker = pool._backend._workers[0]._process.pid
        children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
        assert children
    deadline = time.monotonic() + 10
    while any(map(runs, children)):
        assert time.monotonic() < deadline, "the zygote outlives its supervisor"
        time.sleep(0.05)


def runs(pid: str) -> bool:
    """Whether a process is there and no zombie (in a container nobody may reap it)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_verdict_costs_milliseconds():
    rows = [{**DOUBLE, "program": "print(int(input()) * 2)"}] * 100
    with Verifier(num_workers=1) as pool:
        pool.verify(rows[:1])
        seconds = sorted(v.seconds for v in pool.verify(rows))
    assert seconds[len(seconds) // 2] < 0.05  # about 0.004 alone; the machine may be loaded
