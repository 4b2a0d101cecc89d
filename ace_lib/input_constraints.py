r"""Input constraints of code problems, read from statements: the layout of an input and its bounds.

Reads what contests commonly write, `1 \le n \le 2 \cdot 10^5` or `1 <= nums.length <= 100`, and
lines such as "The second line contains n integers a_1, …, a_n". What is not understood refuses the
problem, for a promise that is overlooked ("the edges form a tree") would make inputs that no right
program need survive; and what was read must fit the tests that the problem has.
"""

import re
from collections.abc import Iterator

from ace_lib.input_layout import Bound, Constraints, Field, Line, NotUnderstood, kind_of

PROMISES_ANYWHERE = re.compile(
    r"guarante|\bassum|permutation|distinct|pairwise|\btrees?\b|\bgraphs?\b|\bsorted array",
    re.IGNORECASE,
)
PROMISES_ON_INPUT = re.compile(
    r"unique|different|sorted|ascending|descending|creasing|connected|valid|prime|palindrom|leading"
    r"|\bno\b|\bnot\b|always|such that|satisf|exactly|exist|at least|at most|multiples? of"
    r"|divisible|power of|\b(?:even|odd)\b|\bsums? of|exceed|equal|both|(?<![<>])=|≠|\\neq?\b|∈"
    r"|\\in\b",
    re.IGNORECASE,
)
"""Words of promises that bounds do not hold; ours, and wide: a refusal costs only tests."""
NUMBER = r"-?\d+(?:\^\d+)?(?: ?\* ?\d+(?:\^\d+)?)*(?: ?[+-] ?\d+)?"
TOTAL = re.compile(
    r"(?:It(?:['’]s| is) (?:also )?guaranteed that )?(?:the )?(?:total )?sum of (?:all )?"
    r"(?:(?:the )?(?:values?|lengths?) of )?(?P<name>\w|\|\w\|)"
    r"(?: and (?:the )?(?:sum of )?(?P<other>\w))? (?:over|across|for|in) all [\w ]+?"
    rf" (?:does not|doesn['’]t|do not|don['’]t) exceed (?P<limit>{NUMBER})",
    re.IGNORECASE,
)
"""Inputs made have one test case, where a total over all is a bound of the one."""
SPELLINGS = (
    (r"\\leq?(?:slant)?(?![a-z])|≤|⩽|&le;", "<="),
    (r"\\geq?(?:slant)?(?![a-z])|≥|⩾|&ge;", ">="),
    (r"\\lt\b", "<"),
    (r" ?\^ ?", "^"),
    (r"\\[lc]?dots\b|…", "..."),
    (r"\*\*(?=\d)", "^"),
    (r"\\(?:cdot|times)(?![a-z])|[·×⋅]", "*"),
    (r"\\[,;!]|[$`]|\{,\}|\*\*", ""),
    (r"\\ |~|\u00a0", " "),
    (r"(?:\\(?:text|math)[a-z]*)?\{(-?\w+)\}", r"\1"),
    (r"−", "-"),
    (r"(?<=\d),(?=\d{3}\b)", ""),
    (r"\b(\w+)_1 ?,(?: ?\1_[23] ?,)* ?\.\.\. ?,? ?\1_(\w+)", r"\1[1..\2]"),
    (r"\b([A-Za-z]+)(?:_[a-z]|\[[a-z]\])(?!\w)", r"\1[]"),
    (r"\b(\w+)\.length\b|\blen\((\w+)\)", r"|\1\2|"),
)
"""What brings LaTeX, Unicode and code to one spelling: <=, 10^5, a[1..n], a[] (items), |a| (size).
"""
NAME = r"(?:\|\w+\||[A-Za-z]\w*(?:\[\])?)"
TERM = rf"(?:{NUMBER}|{NAME}(?: ?, ?{NAME})*)"
CHAIN = re.compile(  # stands alone, for "n * m <= 9" and "the sum of a[] <= 9" bound neither
    rf"(?:^|(?<=[(,;:.])|\b(?:where|with|and) ) *(?:[*-] )*({TERM}(?: ?[<>]=? ?{TERM})+)"
    r"(?= ?(?:$|[),;.]|—|(?:and|where)\b))",
    re.MULTILINE,
)
LINE = re.compile(
    r"[ *-]*(?:then )?(?:each of )?(?:the )?(?:(?:next|following) (?P<repeat>\w+) lines"
    r"|(?:first|second|third|fourth|fifth|next|following|last|only|single) line)"
    r"(?: of (?:(?:each|the) )?(?:test case|testcase|test|input))?"
    r" (?:each )?contains? (?P<body>.+)",
    re.IGNORECASE,
)
CASES_TAKE_LINES = re.compile(r"(?:case|description).* (?:of|by) \w+ lines?", re.IGNORECASE)
REMARK = re.compile(
    r" ?\([^()]*\)| (?:[—–]|--+|-(?= [a-z]{2})) .*|,? (?:where|denoting|representing|which)\b.*"
)
LISTING = re.compile(
    r"(?:(?:the|an?|array|elements|of|\w|space-separated|positive|non-negative|integers|numbers) )*"
    r"([A-Za-z]\w*)\[1\.\.([A-Za-z]\w*)\]$"
)
STRING = re.compile(r"(?:an?|the|one|single|binary| )*string (\w+)(?: of length (\w+))?"
                    r"(?:,? consist[^.]* (?:letters|digits))?$")  # fmt: skip
INTEGERS = re.compile(
    r"(?:(?:an?|the|one|two|three|four|five|single|positive|non-negative|space-separated) )*"
    rf"(?:integers? )?({NAME}(?:(?:, and | and |, ?| ){NAME})*)$"
)


def read_constraints(problem: dict) -> Constraints:
    """Read a problem's key `constraints`, or else its statement; check its tests against that.

    Raises NotUnderstood.
    """
    text = _respell(problem.get("constraints") or problem["prompt"])
    text = TOTAL.sub(_bound_of_total, text)
    section = text if problem.get("constraints") else _find_sections(text, problem["mode"])
    if promise := PROMISES_ANYWHERE.search(text) or PROMISES_ON_INPUT.search(section):
        raise NotUnderstood(f"it may promise more: {promise[0]}")
    is_call = problem["mode"] == "call"
    lines, num_cases = (_read_arguments(problem), "") if is_call else _read_lines(section)
    names = {num_cases}
    for field in [field for line in lines for field in line.fields]:
        names |= {"integer": {field.name}, "list": {f"{field.name}[]"}}.get(field.kind, set())
        names |= {field.size}
    bounds = tuple(_read_bounds(section, names))
    constraints = Constraints(problem["mode"], lines, bounds, num_cases)
    for test in problem["tests"]:
        constraints.parse(test["input"])
    return constraints


def _respell(text: str) -> str:
    for pattern, spelling in SPELLINGS:
        text = re.sub(pattern, spelling, text)
    return re.sub(r"[ \t]+", " ", text)


def _bound_of_total(total: re.Match) -> str:
    return f"({', '.join(filter(None, total.group('name', 'other')))} <= {total['limit']})"


def _find_sections(text: str, mode: str) -> str:
    """Return what a statement says on its input (not for functions) and constraints."""
    wanted = "constraints" if mode == "call" else "input|input format|constraints"
    title = r"^[ #*-]*{}[ #*:-]*$"
    end = title.format(
        r"(?:output|example|note|sample|follow|constraint|score|tags|input)[\w ]*\d*"
    )
    found = re.findall(
        rf"{title.format(f'(?:{wanted})')}(.*?)(?={end}|\Z)", text, re.I | re.M | re.S
    )
    if not found:
        raise NotUnderstood("no section on the input")
    return "\n".join(found)


def read_number(text: str) -> int:
    """Evaluate `2 * 10^5`, `-10^9` or `2^31 - 1`. Raises NotUnderstood for towers."""
    product, sign, shift = re.fullmatch(r"(.*?)(?:(?<=[\d ])([+-]) ?(\d+))?", text.strip()).groups()
    value = -1 if product.startswith("-") else 1
    for factor in product.removeprefix("-").split("*"):
        base, _, exponent = factor.partition("^")
        if int(exponent or 1) > 100:
            raise NotUnderstood(f"the number {text}")
        value *= int(base) ** int(exponent or 1)
    return value + int(f"{sign}{shift}" if sign else 0)


def _read_bounds(section: str, names: set[str]) -> Iterator[Bound]:
    """Yield the bounds of a section; ranges of an index are none of the input's."""
    if unread := re.search(r".{,20}[<>].{,20}", CHAIN.sub("", section)):
        raise NotUnderstood(f"a bound: {unread[0]}")
    for chain in CHAIN.findall(section):
        parts = re.split(r"([<>]=?)", chain)
        terms = [_read_terms(part) for part in parts[::2]]
        named = {term for part in terms for term in part if isinstance(term, str)}
        if named & {"i", "j"} - names:
            continue
        if unknown := named - names:
            raise NotUnderstood(f"a bound of {min(unknown)}")
        for left, sign, right in zip(terms, parts[1::2], terms[1:], strict=False):
            low, high = (left, right) if "<" in sign else (right, left)
            yield from ((a, b, "=" not in sign) for a in low for b in high)


def _read_terms(text: str) -> list[int | str]:
    names = [name.strip() for name in text.split(",")]
    return names if re.match(NAME, names[0]) else [read_number(text)]


def _read_arguments(problem: dict) -> tuple[Line, ...]:
    """Name the arguments by the header of the function; their kinds are those of the tests."""
    entry_point = re.escape(problem["entry_point"].rpartition(".")[2])
    code = f"{problem['starter_code']}\n{problem['prompt']}"
    header = re.search(rf"def {entry_point}\(([^()]*)\)", code)
    given = problem["tests"][0]["input"]
    if not header or not isinstance(given, list):
        raise NotUnderstood("no header of the function")
    names = [
        re.split("[:=]", part)[0].strip() for part in re.sub(r"\[[^]]*\]", "", header[1]).split(",")
    ]
    names = [name for name in names if name != "self"]
    if len(names) != len(given):
        raise NotUnderstood("a test has another layout")
    kinds = [kind_of(value) for value in given]
    sizes = [
        f"|{name}|" if kind != "integer" else "" for name, kind in zip(names, kinds, strict=True)
    ]
    return (Line(tuple(map(Field, names, kinds, sizes))),)


def _read_lines(section: str) -> tuple[tuple[Line, ...], str]:
    """Return the lines of a test case, and the name of the number of test cases or ""."""
    lines, num_cases = [], ""
    for sentence in re.split(r"(?<=[.:])\s+|\n", section):
        if not re.search(r"\blines?\b", sentence) or CASES_TAKE_LINES.search(sentence):
            continue
        found = LINE.match(sentence)
        if not found:
            raise NotUnderstood(f"a line: {sentence.strip()[:60]}")
        body, repeat = REMARK.sub("", found["body"]).strip(" .,;:"), found["repeat"] or ""
        if re.search(r"number of (?:test|data)", found["body"]) and not lines:
            num_cases = body.split(" ")[-1]
        else:
            lines.append(Line(_read_fields(body, repeat), repeat))
    if not lines:
        raise NotUnderstood("no line of the input")
    return tuple(lines), num_cases


def _read_fields(text: str, repeat: str) -> tuple[Field, ...]:
    if repeat and (found := INTEGERS.match(text)):
        names = re.split(r",? and |, ?| ", found[1])
        if all(name.endswith("[]") for name in names):
            return tuple(Field(name[:-2], "list", repeat) for name in names)
    elif found := LISTING.match(text):
        return (Field(found[1], "list", found[2]),)
    elif found := STRING.match(text):
        return (Field(found[1], "text", found[2] or f"|{found[1]}|"),)
    elif found := INTEGERS.match(text):
        return tuple(Field(name, "integer") for name in re.split(r",? and |, ?| ", found[1]))
    raise NotUnderstood(f"a line of {text[:60]}")
