r"""Judge a math answer against a gold answer, by the cheapest sure means.

Tier 1 compares spellings and plain numbers; tier 2 parses both (`ace_lib.math_parse`) and compares
exactly or to 100 digits; tier 3 asks math-verify in a killable process, only for LaTeX that tier 2
does not know. Nothing here evaluates text from an answer, and every step is bounded.
"""

import re
from fractions import Fraction
from functools import lru_cache

from ace_lib import prompts
from ace_lib.math_compare import compare
from ace_lib.math_judge import MathJudge
from ace_lib.math_parse import Node, parse
from ace_lib.math_shapes import plain_words
from ace_lib.math_tokens import MAX_CHARS, Unparsed, plain_characters
from ace_lib.math_units import same_in_base

SHOWN_CHARS = 200
_PLAIN = re.compile(r"[+-]?(\d{1,300}(\.\d{1,300})?|\.\d{1,300})")
_SLASH = re.compile(r"(-?)(?:\\[dt]?frac\{(\d{1,300})\}\{(\d{1,300})\}|(\d{1,300})/(\d{1,300}))")
_LAYOUT = re.compile(
    r"\\(?:left|right|displaystyle)(?![a-zA-Z])|\\!|\$|(?P<space>(?:\\[,;: ]|\s)+)"
)
_CHOICE = re.compile(
    r"(?:(?i:(?:the )?(?:correct )?(?:option|choice|answer)(?: is)?:?) )?"
    r"(?:\(([A-Z])\)|([A-Z])[).:]|([A-Z])$|\[([A-Z])\]$)(?!.*\b(?:or|and|not)\b)[ .:]*([^(),;^+]*)"
)
_STATUS_OF = {True: "passed", False: "wrong_answer"}
_JUDGED = {  # by math-verify
    "equal": ("passed", ""),
    "different": ("wrong_answer", ""),
    "unparsed": ("invalid_problem", "the gold answer has no parse, not even by math-verify"),
}
_EMPTY = re.compile(r"\\(?:text\w*|math\w+|mbox|boxed|[()\[\],;:! ])|[${}\s.]")
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{2,}|[^\x00-\x7f]")
_KNOWN = re.compile(r"\\(?:(?:int|iint|oint|sum|prod|lim)(?:\\limits)?\s*_|int\b)")
_WORDED = re.compile(r"\\(?:text|mbox)|(?<![\\a-zA-Z])[a-zA-Z]{4,}")
_FONT = re.compile(
    r"\\(?:text|textbf|mathrm|mathbf|textrm|mbox|boxed|fbox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}"
)


def verify_math(row: dict, judge: MathJudge) -> tuple[str, dict]:
    """Status and detail (`answer`, `tier`, `reason`) of a row with `response` and `gold`.

    Raises MathJudgeError: tier 3 failed; nothing is known about the answer.
    """
    gold = "" if row["gold"] is None else str(row["gold"]).strip()
    gold = prompts.last_boxed(gold) or gold if "\\boxed" in gold else gold
    if not _EMPTY.sub("", gold):
        return "invalid_problem", {"reason": "the gold answer is empty"}
    if prompts.answer_part(row["response"]) is None:
        return "wrong_answer", {"reason": "the think block is never closed"}
    answer = prompts.final_answer(row["response"])
    if answer is None:
        return "no_answer", {"reason": "no box after </think>"}
    status, tier, reason = judge_here(gold, answer)
    if status is None:
        status, reason = _JUDGED.get(reply := judge.ask(gold, answer), (reply, ""))
    detail = {"answer": answer[:SHOWN_CHARS], "tier": tier}
    return status, {**detail, "reason": reason} if reason else detail


def judge_here(gold: str, answer: str) -> tuple[str | None, int, str]:
    """Status by tiers 1 and 2 alone (None: ask math-verify), tier and reason; bounded."""
    right, reason = _tier_one(gold, answer), ""
    if right is not None:
        return _STATUS_OF[right], 1, ""
    if max(len(gold), len(answer)) > MAX_CHARS:
        return "wrong_answer", 1, f"longer than {MAX_CHARS} characters"
    status, reason = _tier_two(plain_characters(gold), plain_characters(answer))
    return status, 2 if status else 3, reason if status else ""


def _tier_one(gold: str, answer: str) -> bool | None:
    """Equal spelling or plain numbers; None when it takes more to say."""
    if gold == answer:
        return True
    a, b = _plain_number(gold), _plain_number(answer)
    if a is not None and b is not None:
        return a == b
    return True if _spelling(gold) == _spelling(answer) else None


def _plain_number(text: str) -> Fraction | None:
    text = text.strip().strip("$").strip()
    if _PLAIN.fullmatch(text):
        return Fraction(text)
    match = _SLASH.fullmatch(text)
    if match is None:
        return None
    above, below = filter(None, match.groups()[1:])
    return Fraction(int(match.group(1) + above), int(below)) if int(below) else None


def _spelling(text: str) -> str:
    """The text without layout; white space stays between digits, where it can part numbers."""
    if len(text) > MAX_CHARS:
        return text
    return re.sub(r"(?<!\d) | (?!\d)", "", _LAYOUT.sub(lambda m: m["space"] and " " or "", text))


def _tier_two(gold: str, answer: str) -> tuple[str | None, str]:
    """Status (None: ask math-verify) and reason."""
    if _is_choice(gold, answer):
        return "passed", ""
    based = same_in_base(gold, answer)
    if based is not None:
        return _STATUS_OF[based], ""
    expected, trouble = parsed(gold)
    given, answer_trouble = parsed(answer)
    in_words = _words_of(gold) == _words_of(answer)
    if expected is None or given is None:
        return ("passed", "") if in_words else _no_parse(gold, answer, trouble, answer_trouble)
    try:
        right = compare(expected, given)
    except Unparsed as error:
        return _STATUS_OF[in_words], str(error)
    except (ArithmeticError, ValueError, KeyError, TypeError, RecursionError) as error:
        return "wrong_answer", f"no value: {type(error).__name__}"
    return _STATUS_OF[right or in_words and "text" in (expected[0], given[0])], ""


@lru_cache(maxsize=4096)
def parsed(text: str) -> tuple[Node | None, Unparsed | None]:
    """The tree of an answer, or why it has none; a group's gold is read once."""
    while match := _FONT.fullmatch(text.strip()):
        if not re.search(r"\\(boxed|fbox)", text) and not re.search(r"\\|[\d$]", match.group(1)):
            break
        text = match.group(1)
    try:
        return parse(text), None
    except Unparsed as error:
        return None, error


def _no_parse(
    gold: str, answer: str, trouble: Unparsed | None, answer_trouble: Unparsed | None
) -> tuple[str | None, str]:
    """At least one side is no formula: words, LaTeX for math-verify, or a gold that is broken."""
    if trouble and not trouble.latex and not _WORD.search(gold):
        return "invalid_problem", f"the gold answer has no parse: {trouble}"
    # math-verify overlooks what it does not know, as words or \\lesssim: it gets neither to see.
    if _WORDED.search(answer) or not (trouble and trouble.latex or _KNOWN.search(answer)):
        return "wrong_answer", str(trouble or answer_trouble)
    return None, ""


def _words_of(text: str) -> list[str]:
    """Letters, digits and signs of an answer in words, without fonts and case."""
    plain = plain_words(_without_fonts(text))
    words = re.findall(r"\d+(?:\.\d+)?|\.{2,}|[^\s\d$.,{}\\]+", plain)
    return [word for word in words if word != "and"]  # B, C and B and C


def _is_choice(gold: str, answer: str) -> bool:
    """`B` for a gold of `(B)`, `\\text{B}` or `B.`; also `(B) 12` for a gold of `B`."""
    matches = [_CHOICE.fullmatch(_without_fonts(text).rstrip(" ,")) for text in (gold, answer)]
    if None in matches:
        return False
    letters = [next(filter(None, match.groups())) for match in matches]
    values = {match.groups()[-1] for match in matches}
    return letters[0] == letters[1] and (len(values) == 1 or "" in values)


def _without_fonts(text: str) -> str:
    for _ in range(3):
        text = _FONT.sub(r"\1", text)
    return " ".join(re.sub(r"\\[,;:! ()]|[\\$]", " ", text).replace(" )", ")").split())
