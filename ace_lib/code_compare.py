"""Is a program's output the expected one? No hostile output can fool or hang these comparers.

Work and memory are bounded by the expected output, not by what the program sent, and nothing of
the program's is used as a key of a table here.
"""

import json
from decimal import Decimal, InvalidOperation
from math import isclose

COMPARERS = ("livecodebench", "exact", "float")
MAX_NUMBER_CHARS = 2_000
# An equal value is seldom written longer: 2**1023 has 308 digits as int, 21 as float.
_MAX_GROWTH, _MAX_SIZE = 32, 1_000


def value_matches(output: bytes, expected: object, comparer: str) -> bool:
    """Whether the tagged JSON that a function's value came as (`program_driver.plain`) is right.

    Raises ValueError, TypeError, RecursionError: the output is no such JSON.
    """
    size = len(output)
    if size > _MAX_SIZE and size > _MAX_GROWTH * len(json.dumps(expected)):
        return False
    return value_equal(json.loads(output.decode()), expected, comparer)


def value_equal(value: object, expected: object, comparer: str = "livecodebench") -> bool:
    """Whether a tagged value equals plain data (None, numbers, text, lists, dicts).

    `float` compares numbers with relative and absolute tolerance 1e-6; `exact` tells 1 from True
    and from 1.0; `livecodebench` is Python's equality.
    """
    if isinstance(value, dict):
        pairs = value.get("d")  # without one it is a set, which never equals JSON data
        return isinstance(pairs, list) and _dict_equal(pairs, expected, comparer)
    if isinstance(expected, list) and isinstance(value, list):
        pairs = zip(value, expected, strict=False)
        return len(value) == len(expected) and all(value_equal(a, b, comparer) for a, b in pairs)
    if comparer == "exact":
        return type(value) is type(expected) and value == expected
    numbers = isinstance(value, int | float) and isinstance(expected, int | float)
    if comparer == "float" and numbers:
        return value == expected or isclose(value, expected, rel_tol=1e-6, abs_tol=1e-6)
    return value == expected


def _dict_equal(pairs: list, expected: object, comparer: str) -> bool:
    if not isinstance(expected, dict) or len(pairs) != len(expected):
        return False
    found = set()
    for key, item in pairs:
        key = _hashable(key)
        if key not in expected or not value_equal(item, expected[key], comparer):
            return False
        found.add(key)
    return len(found) == len(expected)


def _hashable(key: object) -> object:
    return tuple(map(_hashable, key)) if isinstance(key, list) else key


def decoded(value: object) -> object:
    """The plain data that tagged JSON stands for; keys become text, as JSON has them.

    Raises ValueError: a set.
    """
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if isinstance(value, dict):
        if "d" not in value:
            raise ValueError("a set is not JSON data")
        return {key if isinstance(key, str) else json.dumps(key): decoded(item)
                for key, item in value["d"]}  # fmt: skip
    return value


def text_equal(output: str, expected: str, comparer: str = "livecodebench") -> bool:
    """Whether a printed output is the expected one: by lines, white space at line ends ignored.

    `livecodebench` also takes a line whose tokens are the same numbers; `float` allows 1e-6;
    `exact` wants the same characters in each line.
    """
    output, expected = output.strip(), expected.strip()
    if output.count("\n") != expected.count("\n"):
        return False
    lines = zip(output.split("\n"), expected.split("\n"), strict=True)
    stripped = ((line.strip(), wanted.strip()) for line, wanted in lines)
    return all(a == b or _same_numbers(a, b, comparer) for a, b in stripped)


def _same_numbers(line: str, wanted: str, comparer: str) -> bool:
    if comparer == "exact":
        return False
    targets = wanted.split()
    tokens = line.split(maxsplit=len(targets))  # one more than wanted is too many already
    if len(tokens) != len(targets):
        return False
    return all(_same_number(a, b, comparer) for a, b in zip(tokens, targets, strict=True))


def _same_number(token: str, target: str, comparer: str) -> bool:
    if max(len(token), len(target)) > MAX_NUMBER_CHARS:
        return token == target
    try:
        a, b = Decimal(token), Decimal(target)
    except InvalidOperation:
        return comparer == "float" and token == target
    if comparer == "float" and a.is_finite() and b.is_finite():
        return abs(a - b) <= Decimal("1e-6") * max(1, abs(a), abs(b))
    return a == b
