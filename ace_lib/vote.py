"""Teacher attempts as judges: majority votes on math labels, difficulty and tests of code problems.

P1 section 3.1 lets DeepSeek-R1 try a math prompt up to 8 times and keeps the prompt only when the
majority answer is right under the rule-based verifier. P1 section 3.2 grades code problems 0 to 8
by how many of 8 attempts fail, and drops problems with wrong or weak tests. All judgements are
those of `ace_lib.verify`, the verifier that later gives the rewards.
"""

import ast
import random
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import combinations

from ace_lib.prompts import final_answer, program

# `Verifier.verify`: rows in, verdicts with `.status` and `.reward` out, same order.
Judge = Callable[[Sequence[dict]], list]
CODE_COLUMNS = ("num_correct", "known_good", "surviving_mutants", "constant_passes")
SWAPPED_COMPARISONS = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
}  # fmt: skip
SWAPPED_FUNCTIONS = {"max": "min", "min": "max", "sum": "len", "len": "sum"}


# --- math ----------------------------------------------------------------------------------------


def count_votes(problems: list[dict], attempts: list[list[str]], judge: Judge) -> dict[str, list]:
    r"""Let the teacher's attempts vote on the label of each math problem.

    Two answers are one vote when the verifier finds them equal. Returns, per problem, `num_correct`
    (attempts equal to the label), `vote_answer` (the majority's answer, "" without one) and
    `vote`: "kept", "label_contradicted" (the majority has another answer) or "no_majority" (a tie,
    no answer at all, or a label that could not be judged).
    """
    ballots = [Counter(filter(None, map(final_answer, texts))) for texts in attempts]
    labelled = zip([problem["gold"] for problem in problems], ballots, strict=True)
    right = _judge_pairs({(answer, gold) for gold, ballot in labelled for answer in ballot}, judge)
    wrong = [
        [answer for answer in ballot if right[answer, problem["gold"]] is False]
        for problem, ballot in zip(problems, ballots, strict=True)
    ]
    same = _judge_pairs({(b, a) for answers in wrong for a, b in combinations(answers, 2)}, judge)
    outcomes = [
        _decide(ballot, problem["gold"], right, same)
        for problem, ballot in zip(problems, ballots, strict=True)
    ]
    names = ("num_correct", "vote_answer", "vote")
    return {name: [outcome[i] for outcome in outcomes] for i, name in enumerate(names)}


def _judge_pairs(pairs: set[tuple[str, str]], judge: Judge) -> dict[tuple[str, str], bool | None]:
    """Verify every distinct (answer, gold) once; None where the verifier could not tell."""
    ordered = sorted(pairs)
    rows = [
        {"id": str(number), "domain": "math", "response": f"\\boxed{{{answer}}}", "gold": gold}
        for number, (answer, gold) in enumerate(ordered)
    ]
    rewards = [verdict.reward for verdict in judge(rows)] if rows else []
    return {
        pair: None if reward is None else reward == 1.0
        for pair, reward in zip(ordered, rewards, strict=True)
    }


def _decide(ballot: Counter, gold: str, right: dict, same: dict) -> tuple[int, str, str]:
    """Count one problem's votes by answer equivalence; see `count_votes`."""
    groups: list[list] = []  # [answer, votes, is right]; equivalent answers share a group
    for answer, votes in ballot.items():
        verdict = right[answer, gold]
        for group in groups:
            both_right = verdict is True and group[2] is True
            if both_right or same.get((answer, group[0])):
                group[1] += votes
                break
        else:
            groups.append([answer, votes, verdict])
    num_correct = sum(votes for _, votes, is_right in groups if is_right)
    groups.sort(key=lambda group: -group[1])
    if not groups or (len(groups) > 1 and groups[0][1] == groups[1][1]) or groups[0][2] is None:
        return num_correct, "", "no_majority"
    return num_correct, groups[0][0], "kept" if groups[0][2] else "label_contradicted"


# --- code ----------------------------------------------------------------------------------------


def check_code_problems(
    problems: list[dict], attempts: list[list[str]], judge: Judge, num_mutants: int, seed: int
) -> dict[str, list]:
    """Run the attempts and deliberately broken programs on each code problem's tests.

    The known-good program is the first of the problem's `solutions`; where it has none, the program
    that most attempts agree on, letter by letter. Known-wrong are mutants of it, and a program that
    gives the same answer to every input. Returns per problem `num_correct` (attempts that pass),
    `known_good` (its status, "" without one), `surviving_mutants` (the share of mutants that the
    tests let pass) and `constant_passes`.
    """
    programs = [[program(text) for text in texts] for texts in attempts]
    known_good = [
        next(iter(problem.get("solutions", ())), "") or _consensus(texts)
        for problem, texts in zip(problems, programs, strict=True)
    ]
    mutants = [
        make_mutants(good, num_mutants, random.Random(f"{seed}/{problem['id']}")) if good else []
        for problem, good in zip(problems, known_good, strict=True)
    ]
    wanted = [
        (number, text)
        for number, parts in enumerate(zip(programs, known_good, mutants, strict=True))
        for text in dict.fromkeys([*filter(None, parts[0]), *filter(None, [parts[1]]), *parts[2]])
    ]
    names = ("id", "mode", "entry_point", "tests", "time_limit")
    rows = [
        {name: problems[number][name] for name in names} | {"domain": "code", "program": text}
        for number, text in wanted
    ]
    verdicts = dict(zip(wanted, judge(rows), strict=True))

    def num_passed(number: int, texts: list) -> int:
        return sum(verdicts[number, text].status == "passed" for text in texts if text)

    return {
        "num_correct": [num_passed(number, texts) for number, texts in enumerate(programs)],
        "known_good": [
            verdicts[number, good].status if good else "" for number, good in enumerate(known_good)
        ],
        "surviving_mutants": [
            num_passed(number, texts) / max(1, len(texts)) for number, texts in enumerate(mutants)
        ],
        "constant_passes": [
            all(test["output"] == problem["tests"][0]["output"] for test in problem["tests"])
            for problem in problems
        ],
    }


def judge_tests(columns: dict[str, list]) -> dict[str, list]:
    """Name each code problem's fault from the columns of `check_code_problems`.

    `test_fault` is "wrong_tests" (the known-good program fails, and no attempt passes either: one
    that does shows that the "known-good" one was not), "weak_tests" (all mutants or the constant
    program pass), "never_solved" (no attempt passes; P1 drops its level 8) or "".
    """
    faults = []
    for num_correct, known_good, surviving, constant in zip(
        *(columns[name] for name in CODE_COLUMNS), strict=True
    ):
        if known_good not in ("", "passed", "verifier_error") and not num_correct:
            faults.append("wrong_tests")
        elif constant or surviving == 1.0:
            faults.append("weak_tests")
        else:
            faults.append("" if num_correct else "never_solved")
    return {"test_fault": faults}


def _consensus(programs: list[str | None]) -> str | None:
    """Return the program written by strictly more attempts than any other, None on a tie."""
    ranked = Counter(filter(None, programs)).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


class _Mutator(ast.NodeTransformer):
    """Rewrite the `target`-th place of a program that can be broken in one step."""

    def __init__(self, target: int):
        self.target, self.places = target, 0

    def visit(self, node: ast.AST) -> ast.AST:  # noqa: D102
        self.generic_visit(node)
        broken = _broken(node)
        self.places += broken is not None
        return broken if broken is not None and self.places - 1 == self.target else node


def _broken(node: ast.AST) -> ast.AST | None:
    """A wrong form of a node, None where there is nothing to break."""
    match node:
        case ast.Compare(left, [operator, *others], comparators):
            swapped = SWAPPED_COMPARISONS.get(type(operator))
            return swapped and ast.Compare(left, [swapped(), *others], comparators)
        case ast.comprehension(target, iterated, [_, *_], is_async):
            return ast.comprehension(target, iterated, [], is_async)
        case ast.IfExp():
            return node.body
        case ast.Call(ast.Name(name)) if name in SWAPPED_FUNCTIONS:
            other = ast.Name(SWAPPED_FUNCTIONS[name], ast.Load())
            return ast.Call(other, node.args, node.keywords)
        case ast.BinOp(left, operator, right):
            other = ast.Sub() if isinstance(operator, ast.Add) else ast.Add()
            return ast.BinOp(left, other, right)
        case ast.Constant(int(value)) if not isinstance(value, bool):
            return ast.Constant(value + 1)
    return None


def make_mutants(source: str, number: int, rng: random.Random) -> list[str]:
    """Break a program in up to `number` different places, one place per mutant.

    A comparison is turned round, a filter or the edge case of a conditional dropped, a function
    swapped, an operator or a constant changed. Returns [] when `source` cannot be parsed.
    """
    counter = _Mutator(-1)
    try:
        counter.visit(ast.parse(source))
    except (SyntaxError, ValueError, RecursionError):
        return []
    places = rng.sample(range(counter.places), min(number, counter.places))
    texts = [ast.unparse(_Mutator(place).visit(ast.parse(source))) for place in sorted(places)]
    return list(dict.fromkeys(text for text in texts if text != ast.unparse(ast.parse(source))))
