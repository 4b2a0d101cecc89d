"""Decontamination: planted leaks in every disguise, clean controls, and evidence that is true."""

import random

import datasets
import numpy as np
import pytest

from ace_lib import AceError, decontaminate, text, tinyworld

STATEMENT = (
    "Find the number of ordered pairs $(x, y)$ of positive integers with $\\frac{1}{x} + "
    "\\frac{1}{y} = \\frac{1}{12}$ such that x is at most 100 and y is odd."
)
SHORT = "Find gcd(84, 36)."
ITEMS = {"exam": [{"id": "e1", "prompt": STATEMENT}, {"id": "e2", "prompt": SHORT}]}
DISGUISES = [
    STATEMENT,
    STATEMENT.upper().replace("\\FRAC", "\\frac"),
    "  " + STATEMENT.replace(" ", "   ").replace(".", " .") + "\n",
    STATEMENT.replace("$(x, y)$", "\\((x, y)\\)").replace("$\\frac", "\\(\\frac"),
    STATEMENT.replace("\\frac", "\\dfrac"),
    f"Solve the following contest problem. {STATEMENT} Put your answer in a box.",
]


def overlaps(prompts: list[str], n: int = 9, same_numbers: bool = False) -> dict:
    return decontaminate.find_overlaps(prompts, decontaminate.build_index(ITEMS, n), same_numbers)


@pytest.mark.parametrize("rule", decontaminate.RULES)
@pytest.mark.parametrize("prompt", DISGUISES)
def test_a_leak_is_found_in_every_disguise(prompt: str, rule: str) -> None:
    found = overlaps([prompt])
    assert decontaminate.is_contaminated(found, rule) == [True]
    assert (found["overlap_benchmark"], found["overlap_item"]) == (["exam"], ["e1"])
    assert found["overlap_item_share"] == [1.0]


@pytest.mark.parametrize("rule", decontaminate.RULES)
@pytest.mark.parametrize(
    "prompt", [SHORT, "find  GCD(84,36)", "Find $\\gcd(84, 36)$.", "Please find gcd(84, 36) now."]
)
def test_an_item_shorter_than_n_is_found_as_a_whole(prompt: str, rule: str) -> None:
    found = overlaps([prompt])
    assert decontaminate.is_contaminated(found, rule) == [True]
    assert found["overlap_item"] == ["e2"]


def test_a_short_item_in_a_long_prompt_is_a_phrase_and_no_leak() -> None:
    prompt = "Let a and b be as follows, and explain each step: find gcd(84, 36) and lcm(84, 36)."
    assert overlaps([prompt])["overlap_item_share"] == [0.0]


@pytest.mark.parametrize("rule", decontaminate.RULES)
@pytest.mark.parametrize(
    ("prompt", "leaks"),
    [
        ("Problem 3 of 40, worth 7 points, for you and your team: find gcd(84, 36).", True),
        (f"The answer is an integer from 0 to 999. {SHORT} Show all of your steps.", True),
        (f"<p>{SHORT}</p> <p>Solve the problem above and put the answer in a box, please.", True),
        ("In 3 steps, which you explain to all of us one by one: find gcd(84, 36) + 5.", False),
        ("In 3 steps, which you explain to all of us one by one: now find gcd(84, 36).", False),
    ],
)
def test_a_short_item_that_is_a_sentence_is_found_beside_other_numbers(prompt, leaks, rule) -> None:
    assert decontaminate.is_contaminated(overlaps([prompt]), rule) == [leaks]


def test_the_matched_ngram_is_in_prompt_and_item() -> None:
    prompt = "We know that " + STATEMENT.split("such that")[0] + "none is even. How many?"
    found = overlaps([prompt])
    (ngram,) = found["overlap_ngram"]
    assert len(ngram.split()) == 9
    assert ngram in text.normalise(prompt) and ngram in text.normalise(STATEMENT)


def test_eight_shared_tokens_are_no_9_gram() -> None:
    words = [f"w{chr(97 + i)}" for i in range(20)]  # letters only: digits would be tokens too
    index = decontaminate.build_index({"b": [{"id": "0", "prompt": " ".join(words)}]}, 9)
    for shared, expected in ((8, 0.0), (9, 9 / 20)):
        prompt = " ".join(["other"] * 5 + words[:shared] + ["thing"] * 5)
        found = decontaminate.find_overlaps([prompt], index)
        assert found["overlap_item_share"] == [pytest.approx(expected)]
        assert found["overlap_prompt_share"] == [pytest.approx(expected and 9 / 19)]


def test_coverage_spares_the_boilerplate_that_any_drops() -> None:
    item = "A menu lists 3 soups, 5 mains, 4 salads. How many ways are there to take one of each?"
    prompt = "A zoo has 7 cages, 2 lakes and 9 hills. How many ways are there to take one of each?"
    index = decontaminate.build_index({"b": [{"id": "0", "prompt": item}]}, 9)
    found = decontaminate.find_overlaps([prompt], index)
    assert decontaminate.is_contaminated(found, "any") == [True]
    assert decontaminate.is_contaminated(found, "coverage", 0.7) == [False]


def test_same_numbers_tell_siblings_of_one_template_apart() -> None:
    item = "A club has 12 players. How many pairs of players are there in it?"
    prompts = [item.replace("12", "13"), f"Please answer: {item}"]
    index = decontaminate.build_index({"b": [{"id": "0", "prompt": item}]}, 9)
    loose = decontaminate.find_overlaps(prompts, index)
    strict = decontaminate.find_overlaps(prompts, index, same_numbers=True)
    assert decontaminate.is_contaminated(loose, "coverage", 0.5) == [True, True]
    assert decontaminate.is_contaminated(strict, "coverage", 0.5) == [False, True]


def test_overlaps_agree_with_a_count_by_hand_on_random_texts() -> None:
    rng = random.Random(0)

    def sentence() -> str:
        return " ".join(rng.choices("abcd", k=rng.randint(1, 14)))

    items = [{"id": str(i), "prompt": sentence()} for i in range(30)]
    prompts = [sentence() for _ in range(200)]
    index = decontaminate.build_index({"b": items}, 4)
    found = decontaminate.find_overlaps(prompts, index)

    def grams(tokens: list[str]) -> set[tuple]:
        return {tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)}

    for prompt, share in zip(prompts, found["overlap_item_share"], strict=True):
        tokens = prompt.split()
        long_hit = any(grams(tokens) & grams(item["prompt"].split()) for item in items)
        short_hit = any(
            (len(tokens) < 8 and covered(item["prompt"].split(), tokens) >= 0.5)
            or (item["prompt"].count(" ") == 2 and f"{prompt} ".startswith(f"{item['prompt']} "))
            for item in items
            if len(item["prompt"].split()) < 4
        )
        assert (share > 0) == (long_hit or short_hit)


def covered(item: list[str], tokens: list[str]) -> float:
    """Share of `tokens` under occurrences of `item`."""
    marked = set()
    for start in range(len(tokens) - len(item) + 1):
        if tokens[start : start + len(item)] == item:
            marked |= set(range(start, start + len(item)))
    return len(marked) / len(tokens)


def test_batches_of_both_domains_keep_their_rows_apart() -> None:
    code = "Write a function that returns the sum of the squares of all even numbers in a list xs."
    indexes = {
        "math": decontaminate.build_index(ITEMS, 9),
        "code": decontaminate.build_index({"lcb": [{"id": "c", "prompt": code}]}, 14),
    }
    columns = {"prompt": [code, STATEMENT, STATEMENT], "domain": ["code", "code", "math"]}
    marked = decontaminate.mark_contaminated(columns, indexes, "any", 0.5, False)
    assert marked["contaminated"] == [True, False, True]
    assert marked["overlap_benchmark"] == ["lcb", "", "exam"]
    parts = [
        decontaminate.mark_contaminated(
            {name: [values[i]] for name, values in columns.items()}, indexes, "any", 0.5, False
        )
        for i in range(3)
    ]
    assert marked == {name: [part[name][0] for part in parts] for name in marked}


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_map_gives_the_same_rows_in_batches_of_any_size(batch_size: int) -> None:
    pool = tinyworld.raw_pool(60, 0, seed=5)
    columns = {name: [row[name] for row in pool] for name in ("prompt", "domain")}
    exam = {"tiny-aime24": tinyworld.benchmark("tiny-aime24")}
    arguments = {
        "indexes": {"math": decontaminate.build_index(exam)},
        "rule": "any",
        "coverage": 0.5,
        "same_numbers": False,
    }
    mapped = datasets.Dataset.from_dict(columns).map(
        decontaminate.mark_contaminated, batched=True, batch_size=batch_size, fn_kwargs=arguments
    )
    whole = decontaminate.mark_contaminated(columns, **arguments)
    assert any(whole["contaminated"])
    assert {name: mapped[name][:] for name in whole} == whole


def test_planted_leaks_are_found_and_innocent_rows_kept() -> None:
    pool = tinyworld.raw_pool(600, 300, seed=11)
    benchmarks = {name: tinyworld.benchmark(name) for name in tinyworld.BENCHMARKS}
    index = decontaminate.build_index(benchmarks, 9)
    found = decontaminate.find_overlaps([row["prompt"] for row in pool], index, same_numbers=True)
    flags = decontaminate.is_contaminated(found, "coverage", 0.95)
    leaks = [flag for flag, row in zip(flags, pool, strict=True) if "leak" in row["planted"]]
    clean = [flag for flag, row in zip(flags, pool, strict=True) if not row["planted"]]
    assert len(leaks) >= 20
    assert np.mean(leaks) >= 0.99
    assert np.mean(clean) <= 0.01


BOILERPLATE = "How many ways are there to take one of each kind when order does not matter?"
WRAPPERS = [
    "Solve the following contest problem. {} Put your final answer in a box.",
    "Question: {}\nAnswer:",
    "{}\n\nPlease reason step by step, and check all of your work before you answer.",
    "You are a careful assistant who explains every step and checks all work. The task:\n{}",
]
EDITS = {
    "verbatim": lambda text: text,
    "case": lambda text: text.upper().replace("\\FRAC", "\\frac"),
    "spacing": lambda text: "\n " + text.replace(" ", "  \t").replace(".", " ."),
    "delimiters": lambda text: text.replace("$", "\\(", 1).replace("$", "\\)", 1),
    "dfrac": lambda text: text.replace("\\frac", "\\dfrac"),
} | {f"wrapper {i}": wrapper.format for i, wrapper in enumerate(WRAPPERS)}


def random_statements(num_rows: int, num_words: range, seed: int) -> list[str]:
    """Statements of made-up words, numbers and one fraction; every third ends in boilerplate."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("aeioulnrst", k=rng.randint(2, 11))) for _ in range(2000)]
    rows = []
    for row in range(num_rows):
        body = rng.choices(words, k=rng.choice(num_words) - 2)
        fraction = f"$\\frac{{{rng.randint(2, 99)}}}{{{rng.randint(2, 99)}}}$"
        end = f". {BOILERPLATE}" if row % 3 == 0 and num_words.start > 9 else "."
        rows.append(" ".join(["Find", *body, fraction]) + end)
    return rows


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("num_words", [range(3, 6), range(12, 60)], ids=["short", "long"])
def test_disguised_leaks_are_found(num_words: range, edit: str) -> None:
    items = random_statements(600, num_words, seed=1)
    rows = [{"id": str(i), "prompt": item} for i, item in enumerate(items)]
    index = decontaminate.build_index({"exam": rows})
    assert (np.diff(index.table.starts) < 9).all() == (num_words.start == 3)
    found = decontaminate.find_overlaps([EDITS[edit](item) for item in items], index)
    for rule in decontaminate.RULES:
        assert np.mean(decontaminate.is_contaminated(found, rule)) >= 0.99
    assert np.mean([item == str(i) for i, item in enumerate(found["overlap_item"])]) >= 0.99


def test_clean_prompts_with_shared_boilerplate_are_kept_under_coverage() -> None:
    texts = random_statements(600, range(3, 6), seed=1) + random_statements(600, range(25, 60), 2)
    rows = [{"id": str(i), "prompt": text} for i, text in enumerate(texts)]
    index = decontaminate.build_index({"exam": rows})
    clean = random_statements(3000, range(25, 60), seed=3)
    found = decontaminate.find_overlaps(clean, index)
    assert np.mean(decontaminate.is_contaminated(found, "any")) > 0.3
    assert np.mean(decontaminate.is_contaminated(found, "coverage")) <= 0.01


def test_two_words_begin_many_innocent_sentences() -> None:
    index = decontaminate.build_index({"exam": [{"id": "0", "prompt": "Find x."}]})
    prompts = ["Let y be a real number with twice the value of its square. Find x.", "Find $x$"]
    found = decontaminate.find_overlaps(prompts, index)
    assert decontaminate.is_contaminated(found, "any") == [False, True]


def test_the_index_takes_sixteen_bytes_per_ngram() -> None:
    texts = random_statements(3000, range(12, 60), seed=1)
    index = decontaminate.build_index(
        {"exam": [{"id": str(i), "prompt": text} for i, text in enumerate(texts)]}
    )
    size = index.table.keys.nbytes + index.table.values.nbytes
    assert size <= 16 * (len(index.table.keys) + 8 * len(texts))
    assert index.table.filter.nbytes + index.table.buckets.nbytes <= 8 << 20


def test_impossible_settings_say_what_is_possible() -> None:
    with pytest.raises(AceError, match="at least 1"):
        decontaminate.build_index(ITEMS, 0)
    with pytest.raises(AceError, match="no items in empty"):
        decontaminate.build_index(ITEMS | {"empty": []})
    with pytest.raises(AceError, match="'most' is unknown"):
        decontaminate.is_contaminated(overlaps([SHORT]), "most")
    with pytest.raises(AceError, match="no benchmark index for domain code"):
        columns = {"prompt": ["x"], "domain": ["code"]}
        decontaminate.mark_contaminated(columns, {}, "any", 0.5, False)
    with pytest.raises(AceError, match="coverage is 0"):
        decontaminate.is_contaminated(overlaps([SHORT]), "coverage", 0)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_an_item_without_a_token_matches_nothing(n: int) -> None:
    words = "one two three four five six seven eight"
    rows = [{"id": "void", "prompt": "(…)"}, {"id": "long", "prompt": f"{words} nine ten"}]
    index = decontaminate.build_index({"b": rows}, n)
    prompts = [f"so {words} and then more words than half of it all", "(…)", "", words]
    found = decontaminate.find_overlaps(prompts, index)
    assert found["overlap_item"] == (["", "", "", ""] if n == 9 else ["long", "", "", "long"])


def test_no_prompts_give_no_rows() -> None:
    assert overlaps([])["overlap_item"] == []
    assert overlaps([""])["overlap_item_share"] == [0.0]
