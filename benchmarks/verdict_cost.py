"""CPU milliseconds per code verdict of ten trivial tests: supervisor, zygote and children together.

    python benchmarks/verdict_cost.py [verdicts]

CPU time, not wall time: other work on the machine disturbs it little.
"""

import os
import sys
import time
from pathlib import Path

from ace_lib.sandbox import Sandbox
from ace_lib.verify_code import verify_code

CALL = {
    "mode": "call",
    "entry_point": "add",
    "program": "def add(a, b):\n    return a + b\n",
    "tests": [{"input": [i, 2 * i], "output": 3 * i} for i in range(10)],
}
STDIN = {
    "mode": "stdin",
    "program": "a, b = map(int, input().split())\nprint(a + b)\n",
    "tests": [{"input": f"{i} {2 * i}\n", "output": f"{3 * i}\n"} for i in range(10)],
}


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
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def measure(row: dict, isolated: bool, num_verdicts: int) -> float:
    """CPU milliseconds per verdict."""
    with Sandbox() as sandbox:
        for _ in range(20):
            verify_code(row, sandbox, isolated)
        started = cpu_seconds()
        for _ in range(num_verdicts):
            status, detail = verify_code(row, sandbox, isolated)
            assert status == "passed", (status, detail)
        return 1000 * (cpu_seconds() - started) / num_verdicts


def main() -> None:
    """Print one line per mode and way of running."""
    num_verdicts = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with Sandbox() as sandbox:
        print(f"isolation: {sandbox.isolation}; CPU-ms per verdict of 10 tests:")
    for isolated in (False, True):
        for row in (CALL, STDIN):
            number = num_verdicts // (5 if isolated else 1)
            cost = measure(row, isolated, number)
            print(f"  {'isolated' if isolated else 'shared':8} {row['mode']:5} {cost:6.2f}")


if __name__ == "__main__":
    main()
