"""A week of verdicts in an hour: rows of all kinds, workers killed at random, nothing may be lost.

    python benchmarks/soak.py [--rows 200000] [--workers 2] [--json soak.json]

In the first half a worker, a sandbox or a math judge is killed in each batch; in the second half
none is, so that a worker which grows would show. Every row has one right verdict. Exit status 1
when a row was lost, out of order or judged otherwise, or when memory or descriptors grew.
"""

import argparse
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from statistics import median

import psutil

from ace_lib.verify import Verifier, reward_of

GROWTH = 1.1  # more than a tenth in the quiet half is growth
_DOUBLE = {"mode": "stdin", "entry_point": "",
           "tests": [{"input": f"{n}\n", "output": f"{2 * n}\n"} for n in (1, 7, 40)]}  # fmt: skip
_ADD = {"mode": "call", "entry_point": "add",
        "tests": [{"input": [n, [n]], "output": [n, n]} for n in (1, 7, 40)]}  # fmt: skip
_HUNGRY = {"time_limit": 0.3, "memory_mb": 256}
_KINDS = {  # weight, status, row; @N@ becomes the number of the row
    "number": (30, "passed", {"response": "so \\boxed{@N@}", "gold": "@N@"}),
    "fraction": (6, "passed", {"response": "\\boxed{@N@.5}", "gold": "@N@\\frac12"}),
    "radical": (3, "passed", {"response": "\\boxed{@N@\\sqrt8}", "gold": "2\\cdot@N@\\sqrt{2}"}),
    "other number": (8, "wrong_answer", {"response": "\\boxed{@N@1}", "gold": "@N@"}),
    "tower": (1, "wrong_answer", {"response": "\\boxed{9^{9^{@N@}}}", "gold": "5"}),
    "no box": (2, "no_answer", {"response": "it is @N@", "gold": "@N@"}),
    "no gold": (1, "invalid_problem", {"response": "\\boxed{@N@}", "gold": ""}),
    "reads": (20, "passed", _DOUBLE | {"program": "n = @N@\nprint(2 * int(input()))"}),
    "returns": (14, "passed", _ADD | {"program": "def add(x, y):\n    return x, y[0]  # @N@"}),
    "prints other": (5, "wrong_answer", _DOUBLE | {"program": "print(@N@, input())"}),
    "raises": (3, "runtime_error", _ADD | {"program": "def add(x, y):\n    return x[@N@]"}),
    "exits": (1, "runtime_error", _DOUBLE | {"program": "import os\nos._exit(1 + @N@ % 9)"}),
    "crashes": (1, "runtime_error", _DOUBLE | {"program": "import os\nos.abort()  # @N@"}),
    "loops": (0.2, "timeout", _DOUBLE | _HUNGRY | {"program": "while True:\n    @N@"}),
    "eats": (0.5, "memory", _DOUBLE | _HUNGRY | {"program": "x = [@N@] * 10**9"}),
    "floods": (0.2, "output_limit", _DOUBLE | {"program": "print('@N@' * 10**7)"}),
    "no program": (2, "no_answer", _DOUBLE | {"response": "print(@N@)"}),
    "no tests": (1, "invalid_problem", _ADD | {"tests": [], "program": "@N@"}),
}


def make_rows(start: int, count: int, generator: random.Random) -> tuple[list[dict], list[str]]:
    """Rows `start`, `start + 1`, … of random kinds, and the right status of each."""
    weights = [weight for weight, _, _ in _KINDS.values()]
    kinds = generator.choices(list(_KINDS), weights, k=count)
    rows, statuses = [], []
    for number, kind in enumerate(kinds, start=start):
        _, status, content = _KINDS[kind]
        answer = "program" if "program" in content else "response"
        filled = {name: content[name].replace("@N@", str(number + 2))
                  for name in (answer, "gold") if name in content}  # fmt: skip
        domain = "math" if "gold" in content else "code"
        rows.append({"id": number, "domain": domain, **content, **filled})
        statuses.append(status)
    return rows, statuses


def helper_processes() -> list[psutil.Process]:
    """Workers, and their sandboxes and math judges; not the untrusted programs below them."""
    workers = psutil.Process().children()
    return workers + [helper for worker in workers for helper in _children(worker)]


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children()
    except psutil.NoSuchProcess:
        return []


def kill_one(kills: Counter, generator: random.Random) -> None:
    """Kill a worker, a sandbox or a math judge."""
    with suppress(psutil.NoSuchProcess, IndexError):  # it ended by itself, or none has started
        victim = generator.choice(helper_processes())
        is_worker = victim.ppid() == os.getpid()
        victim.kill()
        kills["workers" if is_worker else "their helpers"] += 1


def footprint() -> dict[str, float]:
    """Resident MB and open descriptors of this process, and of its helpers together."""
    own, helpers = psutil.Process(), helper_processes()
    return {
        "own_mb": own.memory_info().rss / 2**20,
        "own_descriptors": own.num_fds(),
        "helpers": len(helpers),
        "helpers_mb": sum(helper.memory_info().rss for helper in helpers) / 2**20,
        "helpers_descriptors": sum(helper.num_fds() for helper in helpers),
    }


def growth(samples: list[dict[str, float]]) -> dict[str, float]:
    """How many times larger each number is in the last third of the samples than in the first."""
    third = -(-len(samples) // 3)
    return {
        name: round(median(sample[name] for sample in samples[-third:])
                    / median(sample[name] for sample in samples[:third]), 3)
        for name in samples[0]
    }  # fmt: skip


def soak(num_rows: int, num_workers: int, seed: int = 0) -> dict:
    """Judge the rows in batches and say how it went."""
    generator, kills = random.Random(seed), Counter()
    size = max(50, num_rows // 200)
    verdicts, lost, disorder, wrong, samples = Counter(), 0, 0, [], []
    started = time.monotonic()
    seconds = 0.0  # that the batch before took
    with Verifier(num_workers) as verifier:
        for start in range(0, num_rows, size):
            rows, statuses = make_rows(start, min(size, num_rows - start), generator)
            moment = generator.uniform(0.0, seconds)
            killer = threading.Timer(moment, kill_one, (kills, random.Random(start)))
            if start < num_rows // 2:
                killer.start()
            else:
                samples.append(footprint())
            batch_started = time.monotonic()
            judged = verifier.verify(rows)
            seconds = time.monotonic() - batch_started
            killer.cancel()
            lost += len(rows) - len(judged)
            for row, status, verdict in zip(rows, statuses, judged, strict=False):
                disorder += verdict.id != row["id"]
                verdicts[verdict.status] += 1
                if verdict.status != status or verdict.reward != reward_of(status):
                    wrong.append({"row": row, "status": verdict.status, "detail": verdict.detail})
    return {
        "rows": num_rows, "seconds": round(time.monotonic() - started, 1), "kills": dict(kills),
        "lost": lost, "out_of_order": disorder, "judged_otherwise": len(wrong),
        "examples": wrong[:5], "verdicts": dict(verdicts), "growth": growth(samples),
        "first": samples[0], "last": samples[-1],
    }  # fmt: skip


def main() -> int:
    """Soak, print what came of it and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=Path, help="write the result here")
    arguments = parser.parse_args()
    result = soak(arguments.rows, arguments.workers)
    text = json.dumps(result, indent=1)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    failures = result["lost"] + result["out_of_order"] + result["judged_otherwise"]
    return int(failures > 0 or max(result["growth"].values()) > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
