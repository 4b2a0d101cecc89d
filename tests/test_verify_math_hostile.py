"""Hostile answers: each gets a wrong verdict within 1.5 seconds, from a thread, without effects."""

import os
import threading
import time
from pathlib import Path

import pytest

from ace_lib.verify import Verifier
from ace_lib.verify_math import judge_here

SECONDS = 1.5 * max(1.0, 2 * os.getloadavg()[0] / os.cpu_count())  # CPU limits count
TRACE = Path("/tmp/ace-hostile-answer")
NOT_PAID = {"wrong_answer", "timeout", "no_answer"}
TOUCH = f"open('{TRACE}', 'w')"
INTEGRAL = "\\int_0^1 x\\,dx"

TOWERS = [
    "9^{9^{9}}", "9^{9^{9^{9^9}}}", "10^{10^{10}}", "10**10**10", "2^{2^{2^{2^{2^{2}}}}}",
    "e^{e^{e^{e^e}}}", "((((9!)!)!)!)!", "5" + "!" * 100, "100000!", "(10^{10})!", "(10^9)^{10^9}",
    "(0.1)^{10^{10}}", "\\left(\\frac{3}{2}\\right)^{10^{8}}", "x^" * 900 + "x", "9^{-9^{9^9}}",
    "i^{10^{10^{10}}}", "\\pi^{\\pi^{\\pi^{\\pi^\\pi}}}", "2^{1/1000000007}",
    "7^{777777777}-7^{777777776}",
    "\\exp(\\exp(\\exp(10)))", "1e999999999", "1e-999999999", "1e400", "0^{-1}", "0^0",
]  # fmt: skip
FUNCTIONS = [
    "\\binom{10^{9}}{5*10^8}", "\\binom{10^9}{5\\cdot10^8}", "\\binom{-1}{10^{9}}",
    "\\sin(10^{10^{9}})", "\\tan(\\frac{\\pi}{2})", "\\ln(\\ln(\\ln(0)))", "\\log_1 5", "\\log_0 0",
    "\\gcd(10^{5000}, 6^{5000})", "\\gcd(\\pi, 2)", "\\max()", "\\lfloor 10^{10^{10}}\\pi\\rfloor",
    "\\sqrt[10^{9}]{2}", "\\sqrt[0]{2}", "\\sqrt" * 300 + "2", "\\sqrt{" * 60 + "2" + "}" * 60,
    "\\sqrt{" * 900 + "2" + "}" * 900, "\\arcsin(10^{100})", "\\cosh(10^{30})", "f(f(f(f(5))))",
    "\\sin^{-1}^{-1} 2", "|" * 999 + "x", "\\infty-\\infty", "\\frac{\\infty}{\\infty}", "nan",
    "inf", "-inf", "NaN+5", "\\frac{0}{0}", "\\frac{1}{0}", "5/0",
]  # fmt: skip
LONG = [
    "1" * 100_000, "0." + "3" * 100_000, "x" * 1_000_000, "5 " * 500_000, " " * 1_000_000 + "6",
    "5" + "0" * 1_000_000, "1/" * 900 + "1", "1," * 900 + "1", "1+" * 990 + "1", "-" * 1500 + "1",
    "\\{" + "1," * 900 + "1\\}", "(" + "5," * 900 + "5)", "\\pm" * 500 + "1", "\\pm 1" * 300,
    "\\pm1, " * 200 + "\\pm2", "x+" * 900 + "5", "(x+1)" * 390, "(x+1)^{100000}", "(x+y+z)^{500}",
    "\\begin{pmatrix}" + "1&" * 400 + "1\\end{pmatrix}",
    "\\begin{pmatrix}" + ("1&" * 20 + "1\\\\") * 40 + "\\end{pmatrix}",
    "\\begin{pmatrix}" + "1&" * 40_000 + "1\\end{pmatrix}", "1_{10^9}", "1" * 300 + "_{36}",
    "Z" * 300 + "_{36}", "\\text{or }" * 200 + "5", "a_{" * 300 + "5" + "}" * 300, "5:" * 900 + "5",
    "5=" * 600 + "6", "5<" * 600 + "x", "\\cup".join(["[0,1]"] * 300),
]  # fmt: skip
NESTED = [
    "{" * 5000 + "6" + "}" * 5000, "(" * 900 + "6" + ")" * 900, "(" * 900, ")" * 900,
    "[" * 900 + "6" + "]" * 900, "\\{" * 400 + "5" + "\\}" * 400, "{" * 100_000, "}" * 100_000,
    "\\frac{1}{" * 200 + "2" + "}" * 200, "\\frac" * 900, "\\dfrac{5}" * 200, "\\left(" * 300,
    "\\text{" * 300 + "6" + "}" * 300, "\\boxed{" * 3000 + "6" + "}" * 3000, "\\text" * 400,
    "\\overline{" * 200 + "5" + "}" * 200, "\\begin{array}{" * 100, "\\begin{pmatrix}" * 100,
    "_" * 1000, "^" * 1000, "5^", "5_", "\\", "\\\\\\", "\\frac{", "|", "$" * 1001, "&" * 1000,
]  # fmt: skip
CODE = [
    f"__import__('os').system('touch {TRACE}')", f"exec(\"{TOUCH}\")", f"eval(\"{TOUCH}\")", TOUCH,
    f"lambda: {TOUCH}", f"\\text{{{TOUCH}}}", f"().__class__.__base__.__subclasses__(), {TOUCH}",
    f"sympify(\"{TOUCH}\")", f"Symbol('x'); {TOUCH}", f"N({TOUCH})", f"E+{TOUCH}", f"S({TOUCH})",
    f"\\input{{{TRACE}}}", f"\\write18{{touch {TRACE}}}", "\\input{/etc/passwd}",
    "\\include{/etc/passwd}",
    "\\def\\x{\\x\\x}\\x", "\\newcommand{\\a}{\\a}\\a", "\\loop\\iftrue\\repeat",
    "\\csname end\\endcsname",
    "{0.__class__.__mro__}", "{answer.__globals__}", "%s%s%s%n", "%(gold)s", "${gold}", "`id`",
    "$(id)",
    "'; DROP TABLE answers; --", "<script>5</script>", "{{5*1}}", "../../gold", "gold", "True",
    "None",
    "lambda", "5 if True else 6", "5 or 6", "[5 for _ in range(10**9)]", "oo", "zoo", "beta",
    "gamma(5)",
]  # fmt: skip
CHARACTERS = [
    "\x00\x01", "5\x006", "\ud800", "\udfff5", "\u202e6", "\u200f6\u200e", "5\u0301\u0302",
    "\ufeff6",
    "\U0001f600", "５６", "٦", "६", "\ufdfa" * 1900, "\u0301" * 1900, "²" * 1900, "½" * 900,
    "√" * 900,
    "⁻¹⁰", "₅", "\x1b[31m6\x1b[0m", "\r\n6", "5\n\n6", "\t6", "\x7f6", "\u20286",
]  # fmt: skip
REGULAR_EXPRESSIONS = [
    "5" + " " * 1900 + "x", "(" + " " * 1900 + "mod", "( " * 900 + "mod", "\\text{" + "{a}" * 600,
    "1 " * 900 + "x", "12 cm" * 380, "a" * 1900 + "!", "\\text{a}" * 240, "\\," * 900 + "6",
    "~" * 1900,
    "5 " + "." * 1900 + "x", "A" + " or" * 600, "(A)" * 600, "5" + "'" * 1900, "\\dot{1}" * 280,
    "\\over" * 380, "{5\\over" * 270, "\\color{red}" * 170, "base" * 480, "11" * 150 + "base",
]  # fmt: skip
TO_THE_THIRD_TIER = [
    "\\int_0^{9^{9^9}} x^{9^{9^9}} dx", "\\sum_{n=1}^{10^{10}} n!", "\\int" * 300 + "x",
    "\\prod_{n=1}^{10^{9}} n", "\\lim_{x\\to 0} x^{x^{x^{x}}}",
    "\\sum_{n=1}^{\\infty}\\frac{1}{n^{n}}",
    "\\int_0^1 " * 30 + "x" + " dx" * 30, "\\sum_{k=1}^{9^{9^9}} 1",
    "\\int_0^1 __import__('os') dx",
    "\\sum_{n=0}^{\\infty} \\binom{10^9}{n}", "\\int_{-\\infty}^{\\infty} e^{e^{e^{x}}} dx",
]  # fmt: skip
HOSTILE = [
    *TOWERS, *FUNCTIONS, *LONG, *NESTED, *CODE, *CHARACTERS, *REGULAR_EXPRESSIONS,
    *TO_THE_THIRD_TIER,
]  # fmt: skip
GOLDS = ["25", "\\{1,2,3\\}", "x^2+1", "(1,2)"]


@pytest.fixture(scope="module")
def verifier():
    with Verifier(num_workers=1) as one:
        [verdict] = one.verify([row("\\frac12", INTEGRAL)])
        assert verdict.status == "passed"
        assert verdict.seconds < SECONDS, "loading math-verify counts against the answer"
        yield one


def row(gold: str, answer: str) -> dict:
    return {"id": answer[:20], "domain": "math", "response": f"\\boxed{{{answer}}}", "gold": gold}


def judge_in_a_thread(verifier: Verifier, rows: list[dict]) -> list[tuple[dict, str, float]]:
    """Each row in a call of its own, with its status and its wall time."""
    found = []

    def judge_all() -> None:
        for one in rows:
            started = time.monotonic()
            [verdict] = verifier.verify([one])
            found.append((one, verdict.status, time.monotonic() - started))

    thread = threading.Thread(target=judge_all)
    thread.start()
    thread.join(timeout=len(rows) * SECONDS)
    assert not thread.is_alive(), f"hangs at {rows[len(found)]['id']}"
    return found


@pytest.mark.parametrize(
    "answers",
    [TOWERS, FUNCTIONS, LONG, NESTED, CODE, CHARACTERS, REGULAR_EXPRESSIONS, TO_THE_THIRD_TIER],
    ids="towers functions long nested code characters expressions third_tier".split(),
)
def test_a_hostile_answer_is_wrong_soon(verifier, answers):
    rows = [row(GOLDS[i % len(GOLDS)], answer) for i, answer in enumerate(answers)]
    for one, status, seconds in judge_in_a_thread(verifier, rows):
        assert status in NOT_PAID, (one["gold"], one["id"], status)
        assert seconds < SECONDS, (one["gold"], one["id"], seconds)
    assert not TRACE.exists()


def test_a_hostile_gold_costs_no_more(verifier):
    rows = [row(gold, "7") for gold in HOSTILE if gold.strip()]
    for one, status, seconds in judge_in_a_thread(verifier, rows):
        assert status in NOT_PAID | {"invalid_problem"}, (one["gold"][:60], status)
        assert seconds < SECONDS, (one["gold"][:60], seconds)


def test_a_plain_gold_needs_no_third_tier():
    for answer in HOSTILE[: -len(TO_THE_THIRD_TIER)]:
        assert judge_here("25", answer)[0] == "wrong_answer", answer[:40]
