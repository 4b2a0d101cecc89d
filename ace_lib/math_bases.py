r"""Numerals with a base: 52_8, \text{FF}_{16}, 1011_{\text{two}}, 52 base 8."""

import re

_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16}  # fmt: skip
_MARKUP = re.compile(r"\\(?:text\w*|math\w+|mbox|boxed|[()])|\\[,;:! ]|[${}\s~]|^\w=")
_BASED = re.compile(
    r"\(?(?P<digits>-?[0-9A-Za-z]{1,300}?)\)?(?:_\(?(?:base)?|\(?(?:in)?base-?)(?P<base>\w{1,7})\)?"
)


def same_in_base(gold: str, answer: str) -> bool | None:
    """Whether two numerals are equal; None when neither names a base.

    A base that one of them leaves out is taken for the other's: 52 is right for 52_8, 42 is not.
    """
    numerals = [_MARKUP.sub("", text).rstrip(".") for text in (gold, answer)]
    values = [_value(numeral) for numeral in numerals]
    if values == [None, None]:
        return None
    if None in values:
        given = values[0] or values[1]
        bare = numerals[values.index(None)]
        return bare.upper().lstrip("0") == given[0].upper().lstrip("0")
    return values[0][1] == values[1][1]


def _value(numeral: str) -> tuple[str, int] | None:
    """Digits and value of a numeral with a base; None for anything else, such as a_{12}."""
    match = _BASED.fullmatch(numeral)
    if match is None:
        return None
    digits, word = match["digits"], match["base"].lower()
    base = _WORDS.get(word) or (int(word) if word.isascii() and word.isdigit() else 0)
    if not 2 <= base <= 36 or (len(digits) == 1 and digits.isalpha()):
        return None
    try:
        return digits, int(digits, base)
    except ValueError:
        return None
