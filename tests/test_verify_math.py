"""Math verdicts: the labelled answers, hostile input, and what a failure of the verifier is."""

import json
from pathlib import Path

import pytest

from ace_lib.math_judge import MathJudge, MathJudgeError
from ace_lib.verify import Verifier
from ace_lib.verify_math import judge_here, verify_math

ANSWERS = Path(__file__).parent.parent / "notebooks" / "data" / "verifier_answers.jsonl"


def row(gold: str, answer: str, **extra: object) -> dict:
    return {"id": answer[:20], "domain": "math", "response": f"\\boxed{{{answer}}}", "gold": gold}


@pytest.fixture(scope="module")
def verifier():
    with Verifier(num_workers=2) as shared:
        yield shared


def labelled() -> list[dict]:
    return [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]


def test_the_labelled_answers_cover_the_policy():
    rows = labelled()
    assert len(rows) >= 300
    assert len({(r["gold"], r["response"]) for r in rows}) == len(rows)
    for category in {r["category"] for r in rows} - {"hostile", "hedge"}:
        assert {r["label"] for r in rows if r["category"] == category} == {True, False}, category


def test_every_labelled_answer_gets_its_verdict(verifier):
    rows = labelled()
    verdicts = verifier.verify(
        [{"id": r["id"], "domain": "math", "response": r["response"], "gold": r["gold"]}
         for r in rows]
    )  # fmt: skip
    wrong = [
        (r["gold"], r["response"], verdict.status)
        for r, verdict in zip(rows, verdicts, strict=True)
        if verdict.reward != float(r["label"])
    ]
    assert not wrong


@pytest.mark.parametrize("gold", ["", "   ", "$$", "\\boxed{}", "\\text{ }", None])
def test_an_empty_gold_is_an_invalid_problem(gold):
    status, detail = verify_math(row(gold, "5"), MathJudge())
    assert status == "invalid_problem" and "empty" in detail["reason"]


@pytest.mark.parametrize(
    "gold", ["\\frac{1}{", "(1,2", "5 +", "???", "x^", "12 34", "\\unknown{5}"]
)
def test_a_gold_without_a_parse_is_an_invalid_problem(verifier, gold):
    [verdict] = verifier.verify([row(gold, "5")])
    assert verdict.status == "invalid_problem" and "gold" in verdict.detail["reason"]


@pytest.mark.parametrize(
    "gold", ["the second one", "\\text{Ann and Bob}", "f(x)=ax, where a>0 is odd"]
)
def test_a_gold_in_words_is_a_gold(gold):
    assert judge_here(gold, "5")[0] == "wrong_answer"
    assert judge_here(gold, f" {gold}.")[0] == "passed"


def test_a_failing_judge_is_no_verdict(monkeypatch):
    judge = MathJudge()
    monkeypatch.setattr("ace_lib.math_judge._START", "raise SystemExit")
    with pytest.raises(MathJudgeError):
        judge.ask("1", "2")
    judge.close()


def test_the_judge_survives_a_kill_between_questions():
    judge = MathJudge()
    assert judge.ask("\\frac12", "\\int_0^1 x\\,dx") == "equal"
    judge._process.kill()
    with pytest.raises(MathJudgeError):
        judge.ask("1", "2")
    assert judge.ask("\\frac12", "\\int_0^1 x\\,dx") == "equal"
    judge.close()


@pytest.mark.parametrize(
    ("gold", "answer", "same"),
    [
        ("\\lfloor\\sqrt{n-1}\\rfloor", "\\lfloor\\sqrt{n-6}\\rfloor", False),
        ("I(0)e^{-t}", "I(0)e^{t}", False),
        ("x_{\\max}+1", "1+x_{\\max}", True),
        ("2\\cdot3^{20}", "3^{20}\\cdot2", True),
        ("10^{5000}", "10^{5000}+1", False),
        ("9^{9^{9}}", "9^{9^{9}}+0", False),  # too large to compute: only the same form is equal
        ("0", "10^{-50}", False),
        ("\\frac{\\pi}{2}", "\\arcsin 1", True),
    ],
)
def test_values_are_compared_exactly(gold, answer, same):
    assert judge_here(gold, answer)[0] == ("passed" if same else "wrong_answer")
