r"""What stands beside a number: units, currencies and counted things, or the base of its digits.

Each unit has one spelling here, and those that convert do. Bases are written 52_8, \text{FF}_{16},
1011_{\text{two}} or 52 base 8.
"""

import re
from fractions import Fraction

_ALIASES = {
    "centimeter": "cm", "centimetre": "cm", "meter": "m", "metre": "m", "kilometer": "km",
    "kilometre": "km", "millimeter": "mm", "millimetre": "mm", "inche": "inch", "in": "inch",
    "feet": "foot", "ft": "foot", "yd": "yard", "mi": "mile", "gram": "g", "kilogram": "kg",
    "milligram": "mg", "liter": "l", "litre": "l", "L": "l", "milliliter": "ml", "mL": "ml",
    "second": "s", "sec": "s", "minute": "min", "hour": "h", "hr": "h", "dollar": "$", "usd": "$",
    "euro": "€", "cent": "¢", "degree": "°", "deg": "°", "radian": "rad", "percent": "%",
    "mph": "mile/h", "kph": "km/h", "kmh": "km/h", "lb": "pound", "oz": "ounce", "wk": "week",
    "people": "person", "men": "man", "women": "woman", "children": "child", "pence": "penny",
    "\\%": "%", "arcsecond": "arcsec", "newton": "N", "joule": "J", "watt": "W", "volt": "V",
}  # fmt: skip
_SIZES = {  # dimension and size of units that convert into each other
    "mm": ("m", Fraction(1, 1000)), "cm": ("m", Fraction(1, 100)), "m": ("m", Fraction(1)),
    "km": ("m", Fraction(1000)), "inch": ("inch", Fraction(1)), "foot": ("inch", Fraction(12)),
    "yard": ("inch", Fraction(36)), "mile": ("inch", Fraction(63360)), "kg": ("g", Fraction(1000)),
    "g": ("g", Fraction(1)), "mg": ("g", Fraction(1, 1000)), "l": ("l", Fraction(1)),
    "ml": ("l", Fraction(1, 1000)), "s": ("s", Fraction(1)), "min": ("s", Fraction(60)),
    "h": ("s", Fraction(3600)), "day": ("s", Fraction(86400)), "week": ("s", Fraction(604800)),
    "¢": ("$", Fraction(1, 100)), "$": ("$", Fraction(1)),
}  # fmt: skip
# After a number these words are a hedge or a condition, not a unit.
_NO_UNIT = set(
    "or maybe perhaps possibly probably not except about approximately approx around roughly "
    "nearly least most more less than between to unsure guess any either if unless but could might "
    "otherwise depending when where for all every some none else given".split()
)
_NEUTRAL = re.compile(r"^(unit|un)(\^\d)?$|^$")

_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
          "ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16}  # fmt: skip
_MARKUP = re.compile(r"\\(?:text\w*|math\w+|mbox|boxed|[()])|\\[,;:! ]|[${}\s~]|^\w=")
_BASED = re.compile(
    r"\(?(?P<digits>-?[0-9A-Za-z]{1,300}?)\)?(?:_\(?(?:base)?|\(?(?:in)?base-?)(?P<base>\w{1,7})\)?"
)


def is_unit(words: list[str]) -> bool:
    """Whether words after a number can be a unit or a counted thing: few, and no hedge."""
    text = " ".join(words)
    parts = re.findall(r"[a-z]+", text.lower())
    digits = re.sub(r"\^-?\d|base[ -]?\d+", "", text)
    return (
        len(parts) <= 5
        and not _NO_UNIT & set(parts)
        and not re.search(r"[\d?或约]|左右|可能|以[上下]|至[少多]", digits)
    )


def unit_name(words: list[str]) -> str:
    """One spelling for a unit in words: ["square", "centimeters"] and ["cm", "^2"] are "cm^2"."""
    text = " ".join(words).replace("²", "^2").replace("³", "^3").replace("~", " ").strip(" .,")
    text = text.replace("^\\circ", "°")
    text = re.sub(r"\\[,; ]", " ", text).replace(".", "")
    for before, after, order in (("square|sq", "squared", 2), ("cubic|cu", "cubed", 3)):
        text = re.sub(rf"\b(?:{before}) +([^\s/]+)", rf"\1^{order}", text, flags=re.IGNORECASE)
        text = re.sub(rf"([^\s/]+) +{after}\b", rf"\1^{order}", text)
    text = re.sub(r"\s*(/|\bper\b)\s*", "/", text)
    text = re.sub(r"\s*\^\s*\{?(-?\d)\}?", r"^\1", text)
    text = re.sub(r"\s+([A-Za-z]+)\^-(\d)", r"/\1^\2", text).replace("^1", "")  # m s^{-1}
    return re.sub(r"[A-Za-z°$€%\\]+", lambda word: _one_name(word.group()), text)


def _one_name(word: str) -> str:
    if word in _ALIASES:
        return _ALIASES[word]
    lower = word.lower()
    singular = lower[:-1] if lower.endswith("s") and len(lower) > 2 else lower
    if word in _SIZES or len(word) == 1:
        return word
    return _ALIASES.get(lower) or _ALIASES.get(singular) or singular


def scale_between(gold: str, answer: str) -> Fraction | None:
    """By what to multiply the answer's number to be in the gold's unit; None: contradicting units.

    A unit that is missing, or neutral ("units"), on one side fits all but another power.
    """
    powers = {unit.partition("^")[2] for unit in (gold, answer)} - {""}
    neutral = _NEUTRAL.match(gold) or _NEUTRAL.match(answer)
    if gold == answer or (neutral and len(powers) < 2):
        return Fraction(1)
    sizes = [_size(gold), _size(answer)]
    if None in sizes or sizes[0][0] != sizes[1][0]:
        return None
    return sizes[1][1] / sizes[0][1]


def _size(unit: str) -> tuple[str, Fraction] | None:
    """Dimension and size of a unit such as cm^2 or km/h, made of convertible parts."""
    dimension, size = [], Fraction(1)
    for index, part in enumerate(unit.split("/")):
        name, _, exponent = part.partition("^")
        if name not in _SIZES:
            return None
        order = int(exponent or 1) * (-1 if index else 1)
        dimension.append(f"{_SIZES[name][0]}^{order}")
        size *= _SIZES[name][1] ** order
    return " ".join(dimension), size


def same_in_base(gold: str, answer: str) -> bool | None:
    """Whether two numerals are equal; None when neither names a base.

    A base that one of them leaves out is taken for the other's: 52 is right for 52_8, 42 is not.
    """
    numerals = [_MARKUP.sub("", text).rstrip(".") for text in (gold, answer)]
    values = [_in_base(numeral) for numeral in numerals]
    if values == [None, None]:
        return None
    if None in values:
        given = values[0] or values[1]
        bare = numerals[values.index(None)]
        return bare.upper().lstrip("0") == given[0].upper().lstrip("0")
    return values[0][1] == values[1][1]


def _in_base(numeral: str) -> tuple[str, int] | None:
    """Digits and value of a numeral with a base; None for anything else, such as a_{12}."""
    match = _BASED.fullmatch(numeral)
    if match is None:
        return None
    digits, word = match["digits"], match["base"].lower()
    base = _BASES.get(word) or (int(word) if word.isascii() and word.isdigit() else 0)
    if not 2 <= base <= 36 or (len(digits) == 1 and digits.isalpha()):
        return None
    try:
        return digits, int(digits, base)
    except ValueError:
        return None
