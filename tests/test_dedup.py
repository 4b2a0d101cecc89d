"""Deduplication: copies, disguised copies, look-alikes, and MinHash against exact Jaccard."""

import numpy as np
import pytest

from ace_lib import dedup, tinyworld

BASE = "A train leaves at 9 and drives 80 km in the first hour and 60 km in the second hour."


def kinds(prompts: list[str], least: float = 0.9) -> list[str]:
    return dedup.find_duplicates(prompts, ["1"] * len(prompts), least)["duplicate_kind"]


@pytest.mark.parametrize(
    ("other", "kind"),
    [
        (BASE, "exact"),
        (BASE.upper() + "  ", "exact"),
        (BASE.replace("80 km", "$80$ km"), "exact"),
        (f"Please answer: {BASE}", "near"),
        (f"{BASE} Show your work.", "near"),
        (BASE.replace("80", "81"), ""),
        ("An entirely different question about 9 boats, 80 cars and 60 planes.", ""),
    ],
)
def test_copies_are_told_from_look_alikes(other: str, kind: str) -> None:
    assert kinds([BASE, other]) == ["", kind]


def test_a_phrase_is_no_copy_of_the_statement_that_holds_it() -> None:
    assert kinds(["Compute.", "Write a function compute(xs) that returns the sum."], 0.5) == [
        "",
        "",
    ]


def test_of_near_copies_the_shortest_stays_and_of_exact_ones_the_first() -> None:
    found = dedup.find_duplicates([f"Task: {BASE}", BASE, BASE, f"{BASE} Hurry."], ["1"] * 4, 0.9)
    assert found["duplicate_of"] == [1, -1, 1, 1]
    assert found["duplicate_kind"] == ["near", "", "exact", "near"]


def test_conflicting_answers_are_flagged_on_the_whole_cluster() -> None:
    prompts = [BASE, f"Task: {BASE}", "What is 3 + 4?", "what is 3 + 4"]
    found = dedup.find_duplicates(prompts, ["140", "130", "7", " 7 "], 0.9)
    assert found["conflicting_answers"] == [True, True, False, False]


def test_a_reworded_copy_is_near_by_its_shingles() -> None:
    other = BASE.replace("A train", "One train")
    alike = dedup.similarity(BASE, other)
    assert 0.8 < alike < 1
    assert kinds([BASE, other], alike - 0.01) == ["", "near"]
    assert kinds([BASE, other], alike + 0.01) == ["", ""]


def test_minhash_estimates_the_jaccard_similarity() -> None:
    words = [f"{a}{b}" for a in "abcdefghij" for b in "klmnopqrst"]
    left, right = " ".join(words[:80]), " ".join(words[20:])
    a, b = dedup.minhash_signatures([left, right], num_hashes=2048)
    exact = 58 / (78 + 78 - 58)  # 3-shingles: 78 each, 58 shared
    assert dedup.similarity(left, right) == pytest.approx(exact)
    assert np.mean(a == b) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 2048))


def test_signatures_do_not_depend_on_the_batch_and_short_prompts_have_one() -> None:
    prompts = ["", "x", "Find x.", BASE]
    together = dedup.minhash_signatures(prompts)
    alone = np.concatenate([dedup.minhash_signatures([prompt]) for prompt in prompts])
    assert np.array_equal(together, alone)
    assert dedup.minhash_signatures([]).shape == (0, dedup.NUM_HASHES)


def test_candidates_miss_no_similar_pair_of_the_pool() -> None:
    prompts = [row["prompt"] for row in tinyworld.raw_pool(150, 80, seed=3)]
    found = dedup.candidate_pairs(prompts, dedup.minhash_signatures(prompts))
    numbers = [dedup.numbers_of(prompt) for prompt in prompts]
    wanted = {
        (i, j)
        for i in range(len(prompts))
        for j in range(i + 1, len(prompts))
        if numbers[i] == numbers[j] and dedup.similarity(prompts[i], prompts[j]) >= 0.9
    }
    assert wanted and wanted <= found


def test_an_empty_collection_is_no_trouble() -> None:
    assert dedup.find_duplicates([], [], 0.9)["duplicate_of"] == []
