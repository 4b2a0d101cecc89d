"""Problem sets of the tiny world: held-out benchmarks, and a raw pool with planted defects."""

from __future__ import annotations

import copy
import functools
import random
import zlib

from ace_lib import AceError
from ace_lib.tinyworld import code_problems
from ace_lib.tinyworld.code_problems import FORMATS, make_code_problem
from ace_lib.tinyworld.math_problems import TOPICS, make_math_problem
from ace_lib.tinyworld.teacher import with_bug

DOMAIN_TOPICS = {"math": TOPICS, "code": FORMATS}
# World -> domain -> weight of every level in its pool. `mid` has longer chains, for a larger model.
WORLDS = {
    "tiny": dict.fromkeys(DOMAIN_TOPICS, {1: 1, 2: 2, 3: 2, 4: 2, 5: 2}),
    "mid": {"math": dict.fromkeys(range(2, 11), 1), "code": {3: 1, 4: 2, 5: 2}},
}
# Stand-ins, named for what they stand in for: domain, levels, number of problems.
BENCHMARKS = {
    "tiny-aime24": ("math", (2, 3, 4, 5), 100),
    "tiny-aime25": ("math", (2, 3, 4, 5), 100),
    "tiny-math500": ("math", (1, 2, 3, 4, 5), 200),
    "tiny-lcb5": ("code", (2, 3, 4, 5), 100),
    "tiny-lcb6": ("code", (2, 3, 4, 5), 100),
    "tiny-evalplus": ("code", (1, 2, 3), 100),
    "mid-aime24": ("math", (6, 7, 8, 9, 10), 200),
    "mid-aime25": ("math", (6, 7, 8, 9, 10), 200),
    "mid-math500": ("math", tuple(range(2, 11)), 500),
    "mid-lcb5": ("code", (4, 5), 200),
    "mid-lcb6": ("code", (4, 5), 200),
    "mid-evalplus": ("code", (3, 4, 5), 200),
}


def make_problem(domain: str, topic: str, level: int, rng: random.Random) -> dict:
    """Draw one problem row with a ``blueprint`` that only the teacher may read.

    The topic is for math one of the papers' four, for code "call" or "stdin". Equal states of `rng`
    give equal problems.
    """
    make = make_math_problem if domain == "math" else make_code_problem
    row = {"mode": "", "entry_point": "", "starter_code": "", "tests": [], "time_limit": 2.0}
    row |= make(topic, level, rng)
    digest = zlib.crc32(repr((row["prompt"], row["tests"])).encode())
    return {"id": f"{domain}-{topic}-{level}-{digest:08x}", **row, "source": "tinyworld"}


def benchmark(name: str) -> list[dict]:
    """Return the problems of a held-out benchmark, the same on every call.

    Raises AceError: ``name`` is not in `BENCHMARKS`.
    """
    if name not in BENCHMARKS:
        raise AceError(f"no benchmark {name!r}: one of {', '.join(BENCHMARKS)}")
    return copy.deepcopy(_benchmark_rows(name))


@functools.cache
def _benchmark_rows(name: str) -> list[dict]:
    domain, levels, size = BENCHMARKS[name]
    rng = random.Random(f"benchmark/{name}")
    rows: dict[str, dict] = {}
    while len(rows) < size:
        row = make_problem(domain, rng.choice(DOMAIN_TOPICS[domain]), rng.choice(levels), rng)
        rows.setdefault(row["prompt"], row | {"source": name})
    return list(rows.values())


def benchmarks_of(world: str) -> list[str]:
    """Names of a world's benchmarks."""
    return [name for name in BENCHMARKS if name.startswith(f"{world}-")]


def raw_pool(num_math: int, num_code: int, seed: int, world: str = "tiny") -> list[dict]:
    """Return a raw pool as one would scrape it, defects included, in random order.

    Its rows have the extra key ``planted``: "" or the name of the row's defect.  Curation must not
    read it except to score itself. Equal seeds give equal pools of a world of `WORLDS`.
    """
    rng = random.Random(f"pool/{seed}")
    rows: list[dict] = []
    for domain, size in (("math", num_math), ("code", num_code)):
        rates = {name: rate for name, (rate, _) in DEFECTS[domain].items()}
        kinds = rng.choices(("", *rates), (1 - sum(rates.values()), *rates.values()), k=size)
        drawn = _draw_clean_problems(world, domain, size, rng)
        clean = [row for row, kind in zip(drawn, kinds, strict=True) if not kind]
        for row, kind in zip(drawn, kinds, strict=True):
            planted = copy.deepcopy(row) | {"planted": kind}
            rows.append(DEFECTS[domain][kind][1](planted, clean, rng) if kind and clean else row)
    rng.shuffle(rows)
    return [
        row | {"id": f"pool-{index:06d}"} | (_known_of_code(row) if row["mode"] else {})
        for index, row in enumerate(rows)
    ]


def _known_of_code(row: dict) -> dict:
    """What public code sets have beside a statement: bounds of the input and right programs."""
    given = (row["blueprint"], row["mode"], row["entry_point"])
    solutions = [code_problems.program(*given, functional) for functional in (False, True)]
    return {"constraints": code_problems.CONSTRAINTS[row["mode"]], "solutions": solutions}


def _draw_clean_problems(world: str, domain: str, size: int, rng: random.Random) -> list[dict]:
    """Draw problems that differ from each other and from every benchmark problem.

    So each duplicate and each leak of the pool is a planted one, and curation can be scored.
    """
    held_out = {row["prompt"] for name in benchmarks_of(world) for row in _benchmark_rows(name)}
    levels = WORLDS[world][domain]
    rows: dict[str, dict] = {}
    while len(rows) < size:
        level = rng.choices(tuple(levels), tuple(levels.values()))[0]
        row = make_problem(domain, rng.choice(DOMAIN_TOPICS[domain]), level, rng)
        if row["prompt"] not in held_out:
            rows.setdefault(row["prompt"], row | {"planted": "", "source": f"{world}world"})
    return list(rows.values())


def _sub_questions(row: dict, clean: list[dict], rng: random.Random) -> dict:
    other = rng.choice(clean)["prompt"]
    return row | {"prompt": f"(a) {row['prompt']} (b) {other}"}


def _multiple_choice(row: dict, clean: list[dict], rng: random.Random) -> dict:
    gold = int(row["gold"])
    options = [gold, gold + 1, gold + 3, gold + 10]
    rng.shuffle(options)
    listed = " ".join(map("({}) {}".format, "ABCD", options))
    return row | {"prompt": f"{row['prompt']} {listed}", "gold": "ABCD"[options.index(gold)]}


def _long_answer(row: dict, clean: list[dict], rng: random.Random) -> dict:
    terms = " + ".join(f"{rng.randint(2, 99)}x^{{{power}}}" for power in range(24, 1, -1))
    prompt = f"Expand the polynomial whose roots solve this. {row['prompt']}"
    return row | {"prompt": prompt, "gold": terms}


def _proof(row: dict, clean: list[dict], rng: random.Random) -> dict:
    return row | {"prompt": f"Prove that the result is {row['gold']}. {row['prompt']}"}


def _non_english(row: dict, clean: list[dict], rng: random.Random) -> dict:
    a, b = rng.randint(10, 99), rng.randint(10, 99)
    text = rng.choice(
        [
            f"小明有{a}个苹果，小红有{b}个苹果。他们一共有多少个苹果？",
            f"¿Cuál es la suma de los números {a} y {b}, si después se resta el número dos?",
            f"Сколько будет, если к числу {a} прибавить число {b}?",
        ]
    )
    return row | {"prompt": text, "gold": str(a + b - (2 if "suma" in text else 0))}


def _figure(row: dict, clean: list[dict], rng: random.Random) -> dict:
    return row | {"prompt": f"As shown in the figure, the numbers are marked. {row['prompt']}"}


def _brief(row: dict, clean: list[dict], rng: random.Random) -> dict:
    return row | {"prompt": rng.choice(["Find x.", "Compute.", "What is y?", "Solve it."])}


def _duplicate(row: dict, clean: list[dict], rng: random.Random) -> dict:
    return copy.deepcopy(rng.choice(clean)) | {"planted": "duplicate"}


def _near_duplicate(row: dict, clean: list[dict], rng: random.Random) -> dict:
    other = copy.deepcopy(
        max(rng.sample(clean, min(3, len(clean))), key=lambda row: len(row["prompt"]))
    )
    prompt = rng.choice(["Please answer: {}", "{} Show your work.", "Here is a task. {}"])
    return other | {"prompt": prompt.format(other["prompt"]), "planted": "near_duplicate"}


def _leak_verbatim(row: dict, clean: list[dict], rng: random.Random) -> dict:
    world = row["source"].removesuffix("world")
    names = [name for name in benchmarks_of(world) if BENCHMARKS[name][0] == row["domain"]]
    leaked = copy.deepcopy(rng.choice(_benchmark_rows(rng.choice(names))))
    return leaked | {"planted": row["planted"], "source": row["source"]}


def _leak_edited(row: dict, clean: list[dict], rng: random.Random) -> dict:
    leaked = _leak_verbatim(row, clean, rng)
    prompt = leaked["prompt"]
    form = rng.choice(["  {}", "{} Answer with care.", "Question from a contest: {}"])
    shout = rng.random() < 0.3 and row["domain"] == "math"
    return leaked | {"prompt": form.format(prompt.upper() if shout else prompt)}


def _wrong_label(row: dict, clean: list[dict], rng: random.Random) -> dict:
    return row | {"gold": str(int(row["gold"]) + rng.choice((-3, -1, 1, 2, 7)))}


def _weak_tests(row: dict, clean: list[dict], rng: random.Random) -> dict:
    """Keep the one test that tells the least: most wrong programs pass it."""
    wrong = [with_bug(row["blueprint"], rng) for _ in range(6)]

    def misses(test: dict) -> int:
        given = test["input"]
        numbers = given[0] if row["mode"] == "call" else [int(word) for word in given.split()]
        truth = code_problems.run_task(row["blueprint"], numbers)
        return sum(code_problems.run_task(task, numbers) == truth for task in wrong)

    return row | {"tests": [max(row["tests"], key=misses)]}


def _wrong_tests(row: dict, clean: list[dict], rng: random.Random) -> dict:
    tests = copy.deepcopy(row["tests"])
    for test in tests:
        output = test["output"]
        if isinstance(output, int):
            test["output"] = output + 1
        elif isinstance(output, list):
            test["output"] = [*output, 7]
        else:
            test["output"] = f"{output.strip()} 7\n"
    return row | {"tests": tests}


_REPEATS = {
    "duplicate": (0.03, _duplicate),
    "near_duplicate": (0.03, _near_duplicate),
    "leak_verbatim": (0.02, _leak_verbatim),
    "leak_edited": (0.02, _leak_edited),
}
# Share of the raw pool that gets each defect (ours), and what plants it.
DEFECTS = {
    "math": {
        "sub_questions": (0.02, _sub_questions),
        "multiple_choice": (0.02, _multiple_choice),
        "long_answer": (0.02, _long_answer),
        "proof": (0.02, _proof),
        "non_english": (0.02, _non_english),
        "figure": (0.02, _figure),
        "brief": (0.02, _brief),
        **_REPEATS,
        "wrong_label": (0.03, _wrong_label),
    },
    "code": {**_REPEATS, "weak_tests": (0.03, _weak_tests), "wrong_tests": (0.03, _wrong_tests)},
}
