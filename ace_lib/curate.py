"""The exclusion rules for prompts, seven for math (P1 section 3.1), and how well a filter did.

P1 names the classes and gives no thresholds or patterns: all of those here are ours. A rule is a
function from a problem row to the evidence that excludes it ("" keeps the row), so that every
removal can be shown.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ace_lib.text import CJK, tokenize

MAX_ANSWER_TOKENS = 40
MIN_PROMPT_TOKENS = 4
MAX_FOREIGN_LETTERS = 0.2
MIN_WORDS = 5  # of a prompt whose language can be told
MIN_ENGLISH_WORDS = 0.05

# Gaps are bounded: a page of labels takes no longer than its length. A label stands alone or in
# markup, for "f(a) + f(b)" and "(a)(b)" are formulas; and its part asks, for conditions are
# labelled, too.
PARTS = re.compile(
    r"(?:^|\s)[*$]*(?:\(?a\)|\(i\)|\(?1\)|(?:sub)?(?:part|problem|question) ?\(?[a01]\)?[.:)])[*$]*"
    r"\s(?P<first>.{,2000}?)\s"
    r"[*$]*(?:\(?b\)|\(ii\)|\(?2\)|(?:sub)?(?:part|problem|question) ?\(?[b12]\)?[.:)])[*$]*\s",
    re.DOTALL | re.IGNORECASE,
)
ASKS = re.compile(
    r"\?|\b(?:find|determine|compute|calculate|evaluate|solve|simplify|factor|expand|prove|what"
    r"|how many)\b|(?:^|[.;:,\]]\s*)(?:express|write|give|state|name|list|show)\b",
    re.IGNORECASE,
)
OPTIONS = re.compile(
    r"\(A\).{,500}?\(B\).{,500}?\(C\)"
    r"|(?:^|\s)A[.:)]\s.{,500}?\sB[.:)]\s.{,500}?\sC[.:)]\s"
    r"|\(a\).{,60}?\(b\).{,60}?\(c\).{,60}?\(d\).{,60}$"
    r"|\sa\).{,30}?\sb\).{,30}?\sc\).{,30}?\sd\).{,30}$",
    re.DOTALL,
)
ASY = re.compile(r"\[asy\](?:(?!\[asy\]).)*?\[/asy\]", re.DOTALL)
CHOICE_WORDS = re.compile(
    r"which of the following|true or false|select the correct|answer (?:only )?yes or no"
    r"|\b(?:enter|type|write) (?:either )?[\"“`']+\w+[,.]?[\"”']+,? (?:or )?[\"“`']",
    re.IGNORECASE,
)
# "A show that lasts" and "needs to show that she passed" ask for nothing.
PROOF = re.compile(
    r"(?:^|[.!?:;,)*$]\s*|\b(?:and|then|please|you)\s+)"
    r"(?:(?:dis)?prove|(?:show|demonstrate) that)\b"
    r"|\bto prove\b|\bwith proof\b",
    re.IGNORECASE,
)
PICTURE = re.compile(
    r"\[asy\]|\\includegraphics|\\begin\{tikzpicture|!\[[^\]]*\]\(|<(?:img|image)\b|\[(?:img|image)\]",
    re.IGNORECASE,
)
LINK = re.compile(r"\bwww\.\w|https?://\S+", re.IGNORECASE)
FIGURE = re.compile(
    r"\bthe (?:\w+ )?(?:figure|diagram)\b|\bas shown\b|\bgraph of [^.]{,60} is shown\b"
    r"|(?:\bin|\bsee|\() ?(?:fig\.|figure|diagram) ?[\d.)]"
    r"|\b(?:figure|diagram|graph|picture|image|chart)s? (?:below|above|shown|shows)\b"
    r"|\b(?:shown in|see|look at) the (?:picture|image|graph)\b"
    r"|\b(?:shown|pictured|illustrated) (?:below|above)\b",
    re.IGNORECASE,
)
# What is shown stands in the text: a table, not a picture.
TABLE = re.compile(r"\\begin\{(?:array|tabular)|^\s*\|.*\|\s*$", re.MULTILINE)
INTERACTIVE = re.compile(
    r"\binteractive (?:problem|task)\b|\bfflush\b|\bstdout\.flush\b|\bflush the (?:output|stream)",
    re.IGNORECASE,
)
SEVERAL_ANSWERS = re.compile(
    r"\b(?:multiple|several|many|more than one)\b[^.]{,100}"
    r"\b(?:print|output|return|report|find|pick|be) any\b"
    r"|\b(?:print|output|return) any (?:one |such |possible |valid |of )"
    r"|\b(?:print|output|return)(?:ed)?\b[^.]{,80}\bin any order\b",
    re.IGNORECASE,
)
FORMULA = re.compile(r"\$.{,2000}?\$|\\\[.{,2000}?\\\]|\\\(.{,2000}?\\\)|\\[a-zA-Z]+", re.DOTALL)
FOREIGN_SCRIPTS = re.compile(rf"[{CJK}\u0400-\u04ff\u0590-\u06ff\u0900-\u0e7f]")
# Of 21,000 English prompts of five or more words one has fewer than one of these in twenty.
ENGLISH_WORDS = frozenset(
    "the of is are and to what how find if with that then many on by for from be at in an as it "
    "let each write compute evaluate simplify solve given number value function more than much "
    "which has have when where these".split()
)


@dataclass(frozen=True)
class Rule:
    """One exclusion rule: its name, its test, why it exists and a prompt that it excludes."""

    name: str
    find: Callable[[dict], str]
    reason: str
    example: dict


def find_sub_questions(row: dict) -> str:
    """Return the first two part labels of a prompt that asks several things."""
    if find_multiple_choice(row):
        return ""
    found = (part for part in PARTS.finditer(row["prompt"]) if ASKS.search(part["first"]))
    return _shorten(next((part.group() for part in found), ""))


def find_multiple_choice(row: dict) -> str:
    """Return the options or the words that ask to choose one."""
    prompt = ASY.sub(" ", row["prompt"])  # drawings label their points (A), (B), (C)
    match = OPTIONS.search(prompt) or CHOICE_WORDS.search(prompt)
    return _shorten(match.group()) if match else ""


def find_long_answer(row: dict) -> str:
    """Return the answer's length when it is too long to compare safely."""
    num_tokens = len(tokenize(str(row.get("gold", ""))))
    return f"answer of {num_tokens} tokens" if num_tokens > MAX_ANSWER_TOKENS else ""


def find_proof(row: dict) -> str:
    """Return the words that ask for a proof."""
    match = PROOF.search(row["prompt"])
    return match.group().strip(" .!?:;,\n") if match else ""


def find_non_english(row: dict) -> str:
    """Return what shows another language: its script, or words of which hardly one is English."""
    prompt = row["prompt"]
    letters = [character for character in prompt if character.isalpha()]
    foreign = FOREIGN_SCRIPTS.findall(prompt)
    if letters and len(foreign) / len(letters) > MAX_FOREIGN_LETTERS:
        return _shorten("".join(foreign))
    tokens = tokenize(FORMULA.sub(" ", ASY.sub(" ", prompt)))
    words = [token for token in tokens if token.isalpha() and len(token) > 1]
    num_english = sum(word in ENGLISH_WORDS for word in words)
    told = len(words) >= MIN_WORDS and num_english <= MIN_ENGLISH_WORDS * len(words)
    return _shorten(" ".join(words)) if told else ""


def find_figure(row: dict) -> str:
    """Return the words or the markup that refer to a picture or a link."""
    prompt = row["prompt"]
    match = PICTURE.search(prompt) or LINK.search(prompt)
    if not match and not TABLE.search(prompt):
        match = FIGURE.search(prompt)
    return _shorten(match.group()) if match else ""


def find_interactive(row: dict) -> str:
    """Return the words that make a program talk with a judge."""
    match = INTERACTIVE.search(row["prompt"])
    return _shorten(match.group()) if match else ""


def find_several_answers(row: dict) -> str:
    """Return the words that allow several outputs, which takes a judge of the problem's own."""
    match = SEVERAL_ANSWERS.search(row["prompt"])
    return _shorten(match.group()) if match else ""


def find_picture(row: dict) -> str:
    """Return the markup of a picture; links in code problems only explain a word."""
    match = PICTURE.search(row["prompt"])
    return _shorten(match.group()) if match else ""


def find_brief(row: dict) -> str:
    """Return the length of a prompt that is too short to state a problem.

    A number or LaTeX may say it all: "Simplify $\\sqrt{245}$." has three tokens.
    """
    num_tokens = len(tokenize(row["prompt"]))
    brief = num_tokens < MIN_PROMPT_TOKENS and not re.search(r"[0-9\\]", row["prompt"])
    return f"prompt of {num_tokens} tokens" if brief else ""


def _shorten(text: str) -> str:
    """Return `text` on one line, cut to 40 characters."""
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:39] + "…"


def _example(prompt: str, gold: str = "7") -> dict:
    return {"prompt": prompt, "gold": gold}


RULES = (
    Rule(
        "sub_questions",
        find_sub_questions,
        "one box cannot hold two answers",
        _example("Let x + 2 = 9. (a) Find x. (b) Find the square of x."),
    ),
    Rule(
        "multiple_choice",
        find_multiple_choice,
        "guessing a letter earns the reward one time in four or five",
        _example("What is 3 + 4? (A) 6 (B) 7 (C) 8 (D) 9", "B"),
    ),
    Rule(
        "long_answer",
        find_long_answer,
        "a rule-based verifier errs on long expressions, and a wrong reward teaches",
        _example("Expand the product of these factors.", "+".join(f"{k}x^{k}" for k in range(20))),
    ),
    Rule(
        "proof",
        find_proof,
        "there is no answer to compare with",
        _example("Prove that the sum of two odd numbers is even."),
    ),
    Rule(
        "non_english",
        find_non_english,
        "the benchmarks are English, and mixed languages show up in the reasoning",
        _example("¿Cuál es la suma de los números 3 y 4?"),
    ),
    Rule(
        "figure",
        find_figure,
        "the model does not see the picture",
        _example("In the figure below, AB = 3 and BC = 4. Find AC + 2."),
    ),
    Rule(
        "brief",
        find_brief,
        "a statement was lost; only a lucky guess can be right",
        _example("Find x."),
    ),
)


CODE_RULES = (
    Rule(
        "interactive",
        find_interactive,
        "fixed inputs cannot answer what a program asks",
        _example("This is an interactive problem. Find the hidden number in 9 queries."),
    ),
    Rule(
        "several_answers",
        find_several_answers,
        "comparing outputs punishes right programs",
        _example("Split n into two primes. If there are multiple answers, print any of them."),
    ),
    Rule(
        "picture",
        find_picture,
        "the model does not see the picture",
        _example("Count the cells: ![grid](grid.png)"),
    ),
)
"""P1 section 3.2 removes such code problems; tests are tried in `ace_lib.vote`."""


def apply_rules(row: dict, rules: tuple[Rule, ...] = RULES) -> tuple[str, str]:
    """Return (name of the first rule that excludes `row`, its evidence), or ("", "")."""
    for rule in rules:
        evidence = rule.find(row)
        if evidence:
            return rule.name, evidence
    return "", ""


def mark_excluded(columns: Mapping[str, list]) -> dict[str, list]:
    """Batch function for `datasets.map`: adds `excluded_by` and `excluded_evidence`.

    Math statements meet the seven rules (P1 section 3.1), code statements their own (3.2).
    """
    found = [
        apply_rules({"prompt": prompt, "gold": gold}, RULES if domain == "math" else CODE_RULES)
        for prompt, gold, domain in zip(
            columns["prompt"], columns["gold"], columns["domain"], strict=True
        )
    ]
    return {
        "excluded_by": [name for name, _ in found],
        "excluded_evidence": [evidence for _, evidence in found],
    }


def score_filter(flagged: list[bool], planted: list[bool], innocent: list[bool]) -> dict:
    """Score a filter against the truth, three parallel columns.

    Precision counts only innocent rows as false alarms: a row that another step has to remove
    anyway is no loss. Returns planted, found, false_alarms, precision and recall (None when there
    is nothing to divide by).
    """
    rows = list(zip(flagged, planted, innocent, strict=True))
    found = sum(f and p for f, p, _ in rows)
    false_alarms = sum(f and i and not p for f, p, i in rows)
    return {
        "planted": sum(planted),
        "found": found,
        "false_alarms": false_alarms,
        "precision": found / (found + false_alarms) if found + false_alarms else None,
        "recall": found / sum(planted) if any(planted) else None,
    }
