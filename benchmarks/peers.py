"""What the curation benchmarks share: turns, CPU time, medians, and a JSON file of the result."""

import json
import platform
import re
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from ace_lib.tables import read_rows

RESULTS = Path(__file__).with_name("results")
TURN_SECONDS = 2
"""A machine that others share is slower at times for seconds: what takes less is repeated."""


def read_statements(files: list[str]) -> list[str]:
    return [row.statement for name in files for row in read_rows(name) if row.statement]


def take_turns(ways: dict[str, Callable[[], object]], repeats: int) -> dict[str, dict]:
    """CPU seconds of every way: one after the other, `repeats` rounds, so that noise hits all.

    A way is repeated in its turn for `TURN_SECONDS`, and the turn's figure is the mean.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start, runs = time.process_time(), 0
            while time.process_time() < start + TURN_SECONDS:
                way()
                runs += 1
            seconds[name].append((time.process_time() - start) / runs)
            print(f"{name:24} {seconds[name][-1]:9.3f} s, mean of {runs}", flush=True)
    return {
        name: {"median_s": statistics.median(values), "all_s": values}
        for name, values in seconds.items()
    }


def ratios(timed: dict[str, dict]) -> dict[str, float]:
    """How many times longer than ours the others take, by medians."""
    ours = timed["ours"]["median_s"]
    return {
        name: round(seconds["median_s"] / ours, 1)
        for name, seconds in timed.items()
        if not name.startswith("ours")
    }


def save(name: str, result: dict, packages: list[str]) -> None:
    """Write `result` with the hardware and the peers' versions, and show it."""
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    result["machine"] = {
        "cpu": cpu[1] if cpu else platform.machine(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
