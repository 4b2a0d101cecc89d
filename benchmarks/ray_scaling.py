"""Verdicts per second with one and with two Ray actors, on programs that compute.

    python benchmarks/ray_scaling.py [--rows 60] [--rounds 5]

Needs two idle cores: each round has both, and the median round counts.
"""

import argparse
import time
from statistics import median

import peers

from ace_lib.verify import Verifier

PROGRAM = "n = int(input())\nprint(sum(i * i % 7 for i in range(n)))"  # about 0.15 s
ANSWER = sum(i * i % 7 for i in range(2_000_000))
ROW = {"id": 0, "domain": "code", "mode": "stdin", "entry_point": "", "program": PROGRAM,
       "tests": [{"input": "2000000\n", "output": f"{ANSWER}\n"}]}  # fmt: skip


def rows_per_second(verifier: Verifier, num_rows: int) -> float:
    """Speed of one call."""
    started = time.perf_counter()
    verdicts = verifier.verify([ROW] * num_rows)
    assert all(verdict.reward == 1.0 for verdict in verdicts), verdicts
    return num_rows / (time.perf_counter() - started)


def main() -> None:
    """Measure round by round, and keep the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rounds = []
    for _ in range(arguments.rounds):
        speeds = []
        for num_actors in (1, 2):
            with Verifier(num_actors, backend="ray") as verifier:
                verifier.verify([ROW] * 2 * num_actors)  # the actors start
                speeds.append(round(rows_per_second(verifier, arguments.rows), 2))
        rounds.append(speeds)
        print(f"one actor {speeds[0]}, two actors {speeds[1]} verdicts per second", flush=True)
    result = {
        "rows": arguments.rows,
        "verdicts_per_second_one_and_two": rounds,
        "two_to_one": round(median(two / one for one, two in rounds), 2),
    }
    peers.save("ray_scaling", result, ["ray"])


if __name__ == "__main__":
    main()
