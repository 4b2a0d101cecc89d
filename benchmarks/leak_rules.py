"""What do the rules `any` and `coverage` find of planted leaks, and what do clean prompts pay?

    python benchmarks/leak_rules.py --candidates F... --benchmarks F...

A leak is a benchmark item in a disguise. Clean is a candidate that holds no item as a whole by
letters and digits alone, which is another measure than the rules' own: public training sets do hold
benchmark items (MMLU took some from MATH), and to remove these is no error.
"""

import argparse
import re
from pathlib import Path

import numpy as np
import peers

from ace_lib import decontaminate

DISGUISES = {
    "verbatim": lambda text: text,
    "case": lambda text: re.sub(
        r"(\\[a-zA-Z]+)|[a-z]+", lambda match: match[1] or match[0].upper(), text
    ),
    "spacing": lambda text: "\n " + text.replace(" ", " \t ").replace(".", " ."),
    "delimiters": lambda text: re.sub(r"\$([^$]+)\$", r"\\(\1\\)", text),
    "dfrac": lambda text: text.replace("\\frac", "\\dfrac"),
    "instructions": "Solve the following problem. {}\n\nPut your final answer in a box.".format,
}
LEAST_CHARACTERS = 20
"""Of an item that a clean candidate must not hold; "find x" is in many."""


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9]", "", text.lower())


def holds_item(candidates: list[str], items: list[str]) -> np.ndarray:
    keys: dict[str, set[str]] = {}
    for item in filter(lambda key: len(key) >= LEAST_CHARACTERS, map(plain, items)):
        keys.setdefault(item[:LEAST_CHARACTERS], set()).add(item)

    def holds(text: str) -> bool:
        starts = range(len(text) - LEAST_CHARACTERS + 1)
        found = ((i, key) for i in starts for key in keys.get(text[i : i + LEAST_CHARACTERS], ()))
        return any(text.startswith(key, i) for i, key in found)

    return np.array([holds(plain(text)) for text in candidates])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", nargs="+", required=True)
    parser.add_argument("--benchmarks", nargs="+", required=True)
    arguments = parser.parse_args()
    candidates = peers.read_statements(arguments.candidates)
    benchmarks = {
        Path(name).name.split(".")[0]: [
            {"id": str(i), "prompt": text} for i, text in enumerate(peers.read_statements([name]))
        ]
        for name in arguments.benchmarks
    }
    index = decontaminate.build_index(benchmarks)
    items = [row["prompt"] for rows in benchmarks.values() for row in rows]
    counts = np.diff(index.table.starts)
    short = counts < index.table.n

    def share(flags: list[bool], chosen: np.ndarray) -> float:
        return round(float(np.mean(np.array(flags)[chosen])), 5)

    def recall(flags: list[bool]) -> dict[str, float]:
        told = counts > 0  # an item without a token says nothing
        return {"all": share(flags, told), "under_9_tokens": share(flags, told & short)}

    clean = ~holds_item(candidates, items)
    result = {
        "candidates": len(candidates),
        "clean_candidates": int(clean.sum()),
        "benchmark_items": len(items),
        "items_under_9_tokens": int(short.sum()),
    }
    found = decontaminate.find_overlaps(candidates, index)
    planted = {
        name: decontaminate.find_overlaps(list(map(edit, items)), index)
        for name, edit in DISGUISES.items()
    }
    for rule in decontaminate.RULES:
        flags = decontaminate.is_contaminated(found, rule)
        result[rule] = {
            "clean_kept": round(1 - share(flags, clean), 5),
            "all_kept": round(1 - float(np.mean(flags)), 5),
            "holders_found": share(flags, ~clean),
            "recall": {
                name: recall(decontaminate.is_contaminated(columns, rule))
                for name, columns in planted.items()
            },
        }
    peers.save("leak_rules", result, ["numpy"])


if __name__ == "__main__":
    main()
