r"""How much faster is the kit's math verifier than math-verify alone, in one process?

    python benchmarks/verify_speed.py [--rows 1000] [--rounds 7]

Responses as RL has them: nine in ten answers are plain numbers, one in ten is LaTeX of the labelled
set; four in ten are wrong. Both graders take turns in one run with their caches emptied, and CPU
time counts, so that a busy machine hits both alike. Writes benchmarks/results/verify_speed.json.
"""

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import math_verify
from sympy.core.cache import clear_cache

from ace_lib import prompts, provenance, verify_math
from ace_lib.math_judge import MathJudge

FOLDER = Path(__file__).parent
LABELLED = FOLDER.parent / "notebooks" / "data" / "verifier_answers.jsonl"
LATEX_SHARE, WRONG_SHARE = 0.1, 0.4
LEFT_OUT = ("hostile", "extraction", "integral and sum (math-verify decides)")
RESPONSE = "<think>\nLet n be what we look for. {}\n</think>\n\nThe final answer is \\boxed{{{}}}."


def make_rows(num_rows: int) -> list[dict]:
    """Rows with `gold` and `response`, the same at every call."""
    rng = random.Random(0)
    labelled = [json.loads(line) for line in LABELLED.read_text(encoding="utf-8").splitlines()]
    latex = [
        (row["gold"], prompts.final_answer(row["response"])) for row in labelled
        if "\\" in row["gold"] and row["category"] not in LEFT_OUT
    ]  # fmt: skip
    rows = []
    for _ in range(num_rows):
        number = rng.randrange(100_000)
        pair = str(number), str(number + (rng.random() < WRONG_SHARE))
        gold, answer = rng.choice(latex) if rng.random() < LATEX_SHARE else pair
        rows.append({"gold": gold, "response": RESPONSE.format("So 2 + 3 = 5. " * 20, answer)})
    return rows


def by_math_verify(rows: list[dict]) -> None:
    """Without its time limits, which only slow it down; on the part that the kit reads."""
    clear_cache()
    for row in rows:
        gold = math_verify.parse(f"\\boxed{{{row['gold']}}}", parsing_timeout=None)
        answer = prompts.answer_part(row["response"])
        answer = math_verify.parse(answer, parsing_timeout=None)
        math_verify.verify(gold, answer, timeout_seconds=None)


def cpu_seconds(grade: Callable[[list[dict]], None], rows: list[dict]) -> float:
    """CPU time of one round."""
    started = time.process_time()
    grade(rows)
    return time.process_time() - started


def main() -> None:
    """Print and keep the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    rows, judge = make_rows(arguments.rows), MathJudge()

    def by_kit(rows: list[dict]) -> None:
        verify_math.parsed.cache_clear()
        for row in rows:
            verify_math.verify_math(row, judge)

    graders = {"kit": by_kit, "math-verify": by_math_verify}
    for grade in graders.values():
        grade(rows[:100])
    seconds = {name: [] for name in graders}
    for _ in range(arguments.rounds):
        for name, grade in graders.items():
            seconds[name].append(cpu_seconds(grade, rows))
    judge.close()
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    result = {
        "cpu_microseconds_per_verdict": {
            name: round(1e6 * median / len(rows), 1) for name, median in medians.items()
        },
        "ratio": round(medians["math-verify"] / medians["kit"], 1),
        "rows": arguments.rows, "rounds": arguments.rounds, "latex_share": LATEX_SHARE,
        "math_verify": version("math-verify"), "hardware": provenance.hardware(),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    target = FOLDER / "results" / "verify_speed.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
