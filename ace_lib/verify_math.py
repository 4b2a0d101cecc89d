"""Judge a math answer against a gold answer (placeholder tier 1)."""

import re
from fractions import Fraction

from ace_lib import prompts
from ace_lib.math_judge import MathJudge


def verify_math(row: dict, judge: MathJudge) -> tuple[str, dict]:
    """Status and detail of a math row (`response`, `gold`)."""
    gold = str(row["gold"]).strip()
    if not gold:
        return "invalid_problem", {"reason": "the gold answer is empty"}
    if prompts.answer_part(row["response"]) is None:
        return "wrong_answer", {"reason": "the think block is never closed"}
    answer = prompts.final_answer(row["response"])
    if answer is None:
        return "no_answer", {"reason": "no box after </think>"}
    a, b = _number(gold), _number(answer)
    if answer == gold or (a is not None and a == b):
        return "passed", {"tier": 1, "answer": answer[:200]}
    if a is not None and b is not None:
        return "wrong_answer", {"tier": 1, "answer": answer[:200]}
    reply = judge.ask(gold, answer)
    status = {"equal": "passed", "different": "wrong_answer", "timeout": "timeout"}
    return status.get(reply, "invalid_problem"), {"tier": 3, "answer": answer[:200]}


def _number(text: str) -> Fraction | None:
    text = text.strip().strip("$").replace(",", "")
    text = re.sub(r"^(-?)\\[dt]?frac\{(\d{1,100})\}\{(\d{1,100})\}$", r"\1\2/\3", text)
    if not re.fullmatch(r"[+-]?(\d{1,300}(\.\d{0,300})?|\.\d{1,300})(/\d{1,300})?", text):
        return None
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None
