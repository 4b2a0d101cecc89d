"""The layout of a code problem's input, and its bounds: take an input apart, write one, check one.

`ace_lib.input_constraints` reads them from statements.
"""

from dataclasses import dataclass

from ace_lib import AceError


class NotUnderstood(AceError):
    """The constraints of a statement cannot be read safely; the message says why."""


@dataclass(frozen=True)
class Field:
    """A part of an input; `kind` is integer, list (of integers) or text, `size` names its length.

    A list in lines that repeat is a column of theirs.
    """

    name: str
    kind: str
    size: str = ""


@dataclass(frozen=True)
class Line:
    """Fields that stand in one line, or in each of `repeat` lines."""

    fields: tuple[Field, ...]
    repeat: str = ""


Bound = tuple[int | str, int | str, bool]
"""Low, high, and whether they must differ; each a number or a name such as n, |s| or a[]."""


@dataclass(frozen=True)
class Constraints:
    """The layout of an input (arguments of a function stand in one line) and its bounds."""

    mode: str  # stdin or call
    lines: tuple[Line, ...]
    bounds: tuple[Bound, ...]
    num_cases: str = ""  # the name of the number of test cases, where an input has several

    @property
    def fields(self) -> list[Field]:
        """All fields in their order."""
        return [field for line in self.lines for field in line.fields]

    def parse(self, given: str | list) -> list[dict]:
        """Return the values of every test case of an input, by name; sizes are among them.

        Raises NotUnderstood when layout or bounds do not fit.
        """
        try:
            cases = self._split(given) if self.mode == "stdin" else [_named(self.fields, given)]
        except (ValueError, IndexError) as error:
            raise NotUnderstood("a test has another layout") from error
        for values in cases:
            sized = [(f.size, len(values[f.name])) for f in self.fields if f.size]
            if any(values.setdefault(name, size) != size for name, size in sized):
                raise NotUnderstood("a test has another layout")
            if not self.hold(values):
                raise NotUnderstood("a test breaks a bound")
        return cases

    def _split(self, text: str) -> list[dict]:
        rows = [line.split() for line in text.removesuffix("\n").split("\n")][::-1]
        number = int(*rows.pop()) if self.num_cases else 1
        cases = [_take_case(self.lines, rows) for _ in range(number)]
        cases = [values | {self.num_cases: number} for values in cases]
        if any(rows):
            raise ValueError("more lines than expected")
        return cases

    def write(self, values: dict) -> str | list:
        """Return the input of one test case; the inverse of `parse`."""
        if self.mode == "call":
            return [values[field.name] for field in self.fields]
        rows: list = [[1]] if self.num_cases else []
        for line in self.lines:
            parts = [values[field.name] for field in line.fields]
            listed = line.fields[0].kind == "list"
            rows += zip(*parts, strict=True) if line.repeat else parts if listed else [parts]
        return "".join(" ".join(map(str, row)) + "\n" for row in rows)

    def hold(self, values: dict) -> bool:
        """Say whether the values of a test case keep all bounds (two lists: any item of each)."""

        def numbers(term: int | str) -> list[int]:
            if isinstance(term, int):
                return [term]
            return values[term[:-2]] if term.endswith("[]") else [values[term]]

        pairs = [(numbers(low), numbers(high), strict) for low, high, strict in self.bounds]
        return all(max(a) + strict <= min(b) for a, b, strict in pairs if a and b)


def _named(fields: list[Field], parts: list) -> dict:
    """Name the parts of a call or of a line; raises ValueError when they are of another kind."""
    values = {field.name: part for field, part in zip(fields, parts, strict=True)}
    if [kind_of(part) for part in values.values()] != [field.kind for field in fields]:
        raise ValueError("another kind")
    return values


def kind_of(value: object) -> str:
    """Name the kind of a value as `Field` does, "other" when it is none of those."""
    if isinstance(value, list):
        return "list" if all(kind_of(part) == "integer" for part in value) else "other"
    return {int: "integer", str: "text"}.get(type(value), "other")


def _take_case(lines: tuple[Line, ...], rows: list[list[str]]) -> dict:
    """Take the values of one test case off the end of `rows`, the lines in reverse order."""
    values: dict = {}
    for line in lines:
        if line.repeat:
            table = [rows.pop() for _ in range(values[line.repeat])]
            parts = [[int(row[i]) for row in table] for i in range(len(line.fields))]
            if any(len(row) != len(line.fields) for row in table):
                raise ValueError("another number of columns")
        elif line.fields[0].kind == "list":
            parts = [[int(word) for word in rows.pop()]]
        else:
            words = rows.pop()
            parts = words if line.fields[0].kind == "text" else [int(word) for word in words]
        values |= _named(line.fields, parts)
    return values
