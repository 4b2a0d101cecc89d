"""Exclusion rules, votes, tests on trial, and balance: on rows of ours and on the planted pool."""

import random
import time
from collections import Counter

import datasets
import numpy as np
import pytest

from ace_lib import balance, curate, problems, tinyworld, vote
from ace_lib.verify import shared_verifier

RULES = {rule.name: rule for rule in curate.RULES}


def excluded(prompt: str, gold: str = "7") -> str:
    return curate.apply_rules({"prompt": prompt, "gold": gold})[0]


# --- the seven rules -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_a_rule_excludes_its_own_example_with_evidence(name: str) -> None:
    found, evidence = curate.apply_rules(RULES[name].example)
    assert (found, bool(evidence)) == (name, True)


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("sub_questions", "A ball falls. (i) How far does it fall in 2 s? (ii) How fast is it?"),
        ("sub_questions", "Let n = 5.\na) Find n squared.\nb) Find n cubed."),
        ("sub_questions", "Subproblem 0: What is 2 + 3? Answer: 5. Subproblem 1: What is 5 + 3?"),
        ("multiple_choice", 'Is $f(x) = x^3$ even, odd, or neither? Enter "odd" or "even".'),
        ("multiple_choice", "Pick the sum of 2 and 3.\n(a) 4\n(b) 5\n(c) 6\n(d) 7"),
        ("proof", "Determine, with proof, the least n with 2^n > 100."),
        ("figure", "Two semicircles touch, as shown. Find the radius of the smaller one."),
        ("figure", "Count the triangles on www.example.org/a and add 3."),
        ("multiple_choice", "What is 2 + 2?\nA) 3\nB) 4\nC) 5"),
        (
            "multiple_choice",
            "Pick: $\\textbf{(A)}\\ 1\\qquad\\textbf{(B)}\\ 2\\qquad\\textbf{(C)}\\ 3$",
        ),
        ("multiple_choice", "Which of the following numbers is prime: 21, 23 or 27?"),
        ("proof", "Let n be odd. Show that $n^2 - 1$ is divisible by 8."),
        ("proof", "Find all such n and prove that there are no others."),
        ("non_english", "Найдите наименьшее натуральное число, которое делится на 12 и 18."),
        ("non_english", "Déterminer la somme des entiers qui sont compris dans les bornes 3 et 9."),
        ("non_english", "芳芳买了一本书有99页，看了90页，她还剩多少页没有看？"),
        ("figure", "Find the area of the region. [asy] draw((0,0)--(1,1)); [/asy]"),
        ("figure", "The graph below shows the price. When was it highest?"),
        ("figure", "Look at https://example.org/a.png and count the triangles in it."),
        ("brief", "Solve it."),
        ("sub_questions", "Let $f(x) = x + 2$. (1) Find $f(3)$; (2) if $f(a) = 5$, find $a$."),
        (
            "sub_questions",
            "A line has slope 3. **(a)** Find its angle. **(b)** Find where it ends.",
        ),
        ("multiple_choice", "What is 2 + 2? A: 3 B: 4 C: 5"),
        ("multiple_choice", "The sum of 2 and 2 is a) 3 b) 4 c) 5 d) 6"),
        ("proof", "(1) Prove that $AB = CD$ in every such square."),
        ("proof", "**Prove** that the number n is odd."),
        ("proof", "Can you prove that every such n is odd?"),
        ("figure", "In Figure 2, AB = 3 and BC = 4. Find AC + 2."),
        ("figure", "The graph of $y = f(x)$ is shown. Find f(2)."),
        ("figure", "<image>\nFind the length of AB if BC = 3."),
        ("figure", "\\begin{tikzpicture}\\end{tikzpicture} Find the sum of the angles."),
        ("non_english", "Trouver tous les entiers $n$ tels que $n^2+n+1$ divise $n^{2023}+1$."),
        ("non_english", "Man bestimme alle reellen Zahlen $x$, für die $x^2 \\le x$ gilt."),
        ("non_english", "Determine o menor inteiro positivo $n$ com exatamente 9 divisores."),
        ("non_english", "Wyznacz wszystkie liczby całkowite $n$ podzielne przez 5."),
        ("non_english", "Tìm tất cả các số nguyên dương $n$ sao cho $n^2+1$ chia hết cho 5."),
        ("non_english", "Να βρεθούν όλοι οι ακέραιοι $n$ ώστε να διαιρείται με το 5."),
    ],
)
def test_each_class_in_other_words(name: str, prompt: str) -> None:
    assert excluded(prompt) == name


@pytest.mark.parametrize(
    "prompt",
    [
        "Let f(a) = a + 1. Find f(a) + f(b) when (a)(b) = 12 and a = 3.",
        "A TV show that lasts 2 hours is shown 3 times. How long is that in total?",
        "Find the greatest common divisor of 84 and 36.",
        "Her card needs to show that she passed 3 of 7 exams. How many more does she need?",
        "What is the smallest prime factor of 91?",
        "Point A is 3 km from B. C lies between them, 1 km from A. How far is C from B?",
        "Compute $\\sin 60^\\circ$.",
        "José and Zoë have 12 crêpes. Die rolls decide who eats them. What is the chance of a 6?",
        "How many different images does the point (1, 2) have under these 4 rotations?",
        "Find all $\\theta$ with $\\cos\\theta = \\frac12$ and $0 \\le \\theta < 2\\pi$.",
        "Let f satisfy (i) $f(1) = 1$ and (ii) $f(2n) = n f(n)$. What is $f(8)$?",
        "How many n have (a) n even, (b) n prime, (c) n < 9, and (d) n + 1 odd, if n may be any "
        "positive integer that is written with at most two digits in base ten?",
        "Simplify $\\sqrt{245}$.",
        "If $0\\le x\\le y\\le z$, $x\\le 1$, $z\\le 2$: find the largest $x + y + z$.",
        "Rows 1 and 2 are shown below. Find row 3. \\begin{array}{cc} 1 & 1 \\end{array}",
        "Skaters draw a figure 8 in 9 seconds. How long do they take for 4 of them?",
        "Find n such that (1) n is odd, (2) n is prime, and (3) n is less than 4 and above 2.",
        "What is the least n? a) When divided by 2, the remainder is 1. b) When divided by 3, the "
        "remainder is 2. c) When divided by 4, the remainder is 3. d) n is positive.",
        "Jim sold the figures that he had collected for 15 dollars. How many were there?",
    ],
)
def test_innocent_prompts_stay(prompt: str) -> None:
    assert curate.apply_rules({"prompt": prompt, "gold": "\\frac{\\pi}{3}"}) == ("", "")


@pytest.mark.parametrize(
    "piece",
    [
        "(a) x ",
        "(A) ",
        "A. b ",
        "[asy]",
        "| ",
        "1) ? ",
        "\\le ",
        "\\[ ",
        "$",
        " a) b",
        "*(1) ? ",
        "graph of ",
    ],
)
def test_a_prompt_of_nothing_but_labels_takes_no_time(piece: str) -> None:
    start = time.process_time()
    excluded(piece * (20_000 // len(piece)))
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("interactive", "Ask at most 9 queries. Do not forget to flush the output after each."),
        ("several_answers", "Return the pairs that sum to n. You may return them in any order."),
        ("several_answers", "If several paths have that length, you may print any of these."),
        ("picture", "The board: \\includegraphics{board}. Print the number of free cells."),
        ("", "In one step choose any of the stones, in any order. Print the number of steps."),
        ("", "Print YES if there is a path between any two cells, in any case."),
        ("", "A flush beats a straight. If there are multiple winners, print the smallest name."),
    ],
)
def test_code_problems_without_one_answer_go(name: str, prompt: str) -> None:
    assert curate.apply_rules({"prompt": prompt}, curate.CODE_RULES)[0] == name


@pytest.mark.parametrize("rule", curate.CODE_RULES, ids=lambda rule: rule.name)
def test_a_code_rule_excludes_its_own_example(rule: curate.Rule) -> None:
    assert curate.apply_rules(rule.example, curate.CODE_RULES)[0] == rule.name


def test_a_drawing_with_labelled_points_is_a_figure_and_no_choice() -> None:
    drawing = "[asy] label(A,(A)); dot(B,(B)); dot(C,(C)); [/asy]"
    assert excluded(f"Find the angle at the point A of this triangle. {drawing}") == "figure"


def test_planted_defects_are_found_by_their_own_rule() -> None:
    pool = tinyworld.raw_pool(1500, 200, seed=5)
    columns = {name: [row[name] for row in pool] for name in ("prompt", "gold", "domain")}
    marked = curate.mark_excluded(columns)["excluded_by"]
    innocent = [row["planted"] == "" for row in pool]
    for name in RULES:
        planted = [row["planted"] == name for row in pool]
        score = curate.score_filter([m == name for m in marked], planted, innocent)
        assert score["planted"] >= 10
        assert score["precision"] >= 0.95 and score["recall"] >= 0.95, (name, score)


def test_rules_run_through_datasets_each_on_its_domain() -> None:
    rows = [
        problems.make_problem_row(id="a", **RULES["proof"].example),
        problems.make_problem_row(id="b", domain="code", prompt="Prove it."),
    ]
    table = datasets.Dataset.from_dict(problems.to_columns(rows))
    for batch_size in (1, 1000):
        marked = table.map(curate.mark_excluded, batched=True, batch_size=batch_size)
        assert marked["excluded_by"][:] == ["proof", ""]


def test_scores_count_only_innocent_rows_as_false_alarms() -> None:
    flagged = [True, True, True, False]
    planted = [True, False, False, True]
    innocent = [False, True, False, False]
    score = curate.score_filter(flagged, planted, innocent)
    assert score == {
        "planted": 2,
        "found": 1,
        "false_alarms": 1,
        "precision": 0.5,
        "recall": 0.5,
    }
    nothing = curate.score_filter([False], [False], [True])
    assert (nothing["precision"], nothing["recall"]) == (None, None)


# --- votes ---------------------------------------------------------------------------------------


def boxed(*answers: str) -> list[str]:
    return [f"<think>\nhm\n</think>\n\\boxed{{{answer}}}" if answer else "…" for answer in answers]


@pytest.mark.parametrize(
    ("gold", "answers", "expected"),
    [
        ("1/2", ["0.5", "\\frac{1}{2}", "3", "3", "\\frac{2}{4}"], ("kept", 3)),
        ("7", ["8", "8", "7"], ("label_contradicted", 1)),
        ("7", ["1/3", "\\frac13", "7"], ("label_contradicted", 1)),
        ("7", ["7", "8"], ("no_majority", 1)),
        ("7", ["", ""], ("no_majority", 0)),
        ("7", ["7", "", ""], ("kept", 1)),
    ],
)
def test_the_majority_is_counted_by_equivalence(gold: str, answers: list, expected: tuple) -> None:
    row = {"id": "x", "domain": "math", "prompt": "?", "gold": gold}
    found = vote.count_votes([row], [boxed(*answers)], shared_verifier().verify)
    assert (found["vote"][0], found["num_correct"][0]) == expected


def test_a_label_that_cannot_be_judged_is_no_majority() -> None:
    from ace_lib.verify import Verdict

    def judge(rows: list[dict]) -> list[Verdict]:
        return [Verdict(row["id"], "verifier_error", None, 0.0) for row in rows]

    row = {"id": "x", "domain": "math", "prompt": "?", "gold": "7"}
    found = vote.count_votes([row], [boxed("7", "7", "7")], judge)
    assert (found["vote"], found["num_correct"]) == (["no_majority"], [0])


def test_wrong_labels_of_the_pool_are_contradicted() -> None:
    pool = tinyworld.raw_pool(500, 0, seed=7)
    rows = [row for row in pool if row["planted"] in ("", "wrong_label")]
    attempts = [tinyworld.teacher_responses(row, 8, 0) for row in rows]
    votes = vote.count_votes(rows, attempts, shared_verifier().verify)["vote"]
    outcomes = Counter((row["planted"], v) for row, v in zip(rows, votes, strict=True))
    assert outcomes["wrong_label", "kept"] == 0
    assert outcomes["", "label_contradicted"] <= 0.01 * len(rows)
    assert outcomes["", "kept"] >= 0.97 * sum(n for (p, _), n in outcomes.items() if not p)


# --- code problems -------------------------------------------------------------------------------

LARGEST = "def f(xs):\n    return max(xs) if xs else 0\n"


def code_problem(*tests: tuple[list, object], solution: str = LARGEST) -> dict:
    return problems.make_problem_row(
        id="c",
        domain="code",
        prompt="Return the largest number, 0 if there is none.",
        mode="call",
        entry_point="f",
        tests=[{"input": [xs], "output": output} for xs, output in tests],
        time_limit=2,
        solutions=[solution],
    )


def answered(*programs: str) -> list[str]:
    return [f"<think>\n</think>\n```python\n{text}```" for text in programs]


GOOD_TESTS = [([], 0), ([3], 3), ([1, 5, 2], 5), ([-4, -2], -2)]


@pytest.mark.parametrize(
    ("problem", "programs", "fault"),
    [
        (code_problem(*GOOD_TESTS), [LARGEST], ""),
        (code_problem(([3], 3)), [LARGEST], "weak_tests"),
        (code_problem(([3], 3), ([3, 1], 3)), [LARGEST], "weak_tests"),
        (code_problem(([3], 4), ([5], 6)), [LARGEST], "wrong_tests"),
        (code_problem(*GOOD_TESTS, solution=""), [LARGEST, LARGEST, "def f(xs): return 1\n"], ""),
        (code_problem(*GOOD_TESTS), ["def f(xs): return 1\n"], "never_solved"),
        (code_problem(*GOOD_TESTS), [], "never_solved"),
        (code_problem(*GOOD_TESTS, solution="def f(xs): return 9\n"), [LARGEST], ""),
    ],
)
def test_tests_are_tried_with_good_and_broken_programs(problem, programs, fault) -> None:
    checks = vote.check_code_problems(
        [problem], [answered(*programs)], shared_verifier().verify, num_mutants=4, seed=0
    )
    assert vote.judge_tests(checks)["test_fault"] == [fault]


def test_difficulty_is_the_number_of_attempts_that_pass() -> None:
    programs = [LARGEST, "def f(xs): return xs[0]\n", LARGEST, "def f(: syntax error\n"]
    attempts = [*answered(*programs), "no program"]
    checks = vote.check_code_problems(
        [code_problem(*GOOD_TESTS)], [attempts], shared_verifier().verify, 0, 0
    )
    assert checks["num_correct"] == [2]


def test_mutants_are_distinct_broken_in_one_place_and_seeded() -> None:
    mutants = vote.make_mutants(LARGEST, 10, random.Random(0))
    assert sorted(mutants) == sorted(
        [
            "def f(xs):\n    return min(xs) if xs else 0",
            "def f(xs):\n    return max(xs) if xs else 1",
            "def f(xs):\n    return max(xs)",
        ]
    )
    assert vote.make_mutants(LARGEST, 2, random.Random(1)) == vote.make_mutants(
        LARGEST, 2, random.Random(1)
    )
    assert len(vote.make_mutants(LARGEST, 2, random.Random(1))) == 2
    assert vote.make_mutants("not python (", 2, random.Random(0)) == []
    filtered = vote.make_mutants("ys = [x * 2 for x in xs if x > 3]", 10, random.Random(0))
    assert "ys = [x * 2 for x in xs]" in filtered
    assert "ys = [x * 2 for x in xs if x <= 3]" in filtered


# --- balance -------------------------------------------------------------------------------------


def test_thinning_has_three_bands_and_knows_no_order() -> None:
    lengths = [100, 250, 350, 900] * 500
    names = [f"p{i}" for i in range(len(lengths))]
    keep = balance.thin_short(lengths, names, 200, 400, 0.5, seed=3)
    shares = {
        n: np.mean([k for k, m in zip(keep, lengths, strict=True) if m == n]) for n in lengths
    }
    assert (shares[100], shares[900]) == (0, 1)
    assert 0.44 < shares[250] < 0.56
    backwards = balance.thin_short(lengths[::-1], names[::-1], 200, 400, 0.5, seed=3)
    assert backwards[::-1] == keep
    assert balance.thin_short(lengths, names, 200, 400, 0.5, seed=4) != keep
    with pytest.raises(ValueError, match="above"):
        balance.thin_short([1], ["a"], 400, 200, 0.5, 0)


def test_every_prefix_of_the_nested_order_has_the_same_make_up() -> None:
    strata = ["a"] * 60 + ["b"] * 30 + ["c"] * 10
    order = balance.nested_order(strata, seed=0)
    assert sorted(order) == list(range(100))
    for size in (10, 25, 50, 75):
        counts = Counter(strata[i] for i in order[:size])
        for name, share in (("a", 0.6), ("b", 0.3), ("c", 0.1)):
            assert abs(counts[name] - share * size) <= 1
    assert order != balance.nested_order(strata, seed=1)


def test_length_bands_hold_equally_many() -> None:
    assert balance.length_bands([], 4) == []
    bands = balance.length_bands(list(range(100)), 4)
    assert Counter(bands) == {0: 25, 1: 25, 2: 25, 3: 25}
