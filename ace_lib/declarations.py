"""One `parameters` cell: its declarations, and values checked against type and limits.

A name means the same in every notebook, so limits go by name. A rule holds for a name that equals
it or ends with "_" plus it; names with a plural "s" count too (`temperatures`). The longest rule
that fits decides, then the prefix `num_`.
"""

import ast
import io
import math
import tokenize
import typing
from dataclasses import dataclass
from typing import Any

from ace_lib import AceError


class ParameterError(AceError):
    """A parameter is unknown, missing, of the wrong type or out of range."""


@dataclass(frozen=True)
class Limit:
    """A closed range, one open below (`above`), or a list of choices."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    choices: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        """Say whether `value` lies within the limit."""
        if self.choices:
            return value in self.choices
        return self.low <= value <= self.high and value > self.above

    def __str__(self) -> str:
        bounds = {"at least": self.low, "above": self.above, "at most": self.high}
        parts = [f"{name} {bound:g}" for name, bound in bounds.items() if math.isfinite(bound)]
        return " or ".join(self.choices) or ", ".join(parts)


COUNTS = (
    "batch_size", "length", "num_iterations", "num_samples", "num_train_epochs",
    "prompts_per_batch", "samples_per_benchmark", "steps", "tokens",
)  # fmt: skip
CHOICES = {
    "domain": ("math", "code"),
    "engine": ("transformers", "vllm"),
    "importance_sampling": (
        "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"
    ),
    "map_engine": ("datasets", "ray"),
    "tracking": ("none", "tensorboard", "trackio", "wandb", "mlflow"),
}  # fmt: skip
LIMITS = {
    **dict.fromkeys(COUNTS, Limit(low=1)),
    **dict.fromkeys(("fraction", "rate", "share", "truncated", "weight_decay"), Limit(0, 1)),
    **dict.fromkeys(("rope_theta", "seconds", "time_limit"), Limit(above=0)),
    **{name: Limit(choices=choices) for name, choices in CHOICES.items()},
    "learning_rate": Limit(above=0, high=1),
    "num_generations": Limit(low=2),  # a group of one has no advantage
    "seed": Limit(0, 2**32 - 1),
    "temperature": Limit(above=0, high=5),
    "top_p": Limit(above=0, high=1),
}


def limit_of(name: str) -> Limit | None:
    """Return the limit for a parameter of this name, or None where any value will do."""
    for candidate in (name, name.removesuffix("s")):
        rules = [r for r in LIMITS if candidate == r or candidate.endswith(f"_{r}")]
        if rules:
            return LIMITS[max(rules, key=len)]
    return Limit(low=0) if name.startswith("num_") else None


@dataclass(frozen=True)
class Declaration:
    """One line of a `parameters` cell: name, type as written, default and trailing comment."""

    name: str
    type_text: str
    default: Any
    about: str


def read_declarations(source: str) -> dict[str, Declaration]:
    """Read a `parameters` cell: every statement must be `name: type = literal  # what it is`.

    None, whatever the type, stands for the profile's value; papermill reads no `type | None`.
    Raises ParameterError: a statement has no type, or its default is not a literal.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    declarations = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            raise ParameterError(
                f"parameters cell, line {node.lineno}: {ast.unparse(node)!r} has no type; "
                "write `name: type = None  # what it is`"
            )
        name = node.target.id
        try:
            default = ast.literal_eval(node.value) if node.value else None
        except ValueError:
            raise ParameterError(
                f"parameters cell: the default of {name!r} is computed; write a plain value"
            ) from None
        about = comments.get(node.end_lineno or node.lineno, "")
        declarations[name] = Declaration(name, ast.unparse(node.annotation), default, about)
    if "profile" not in declarations:
        raise ParameterError('the parameters cell must declare `profile: str = "tiny"`')
    return declarations


def coerce(name: str, value: Any, type_text: str) -> Any:
    """Return `value` as the declared type, checked against the limits of that name.

    Numbers written as text become floats where a float is declared (YAML reads `1e-6` as text).
    Raises ParameterError: the type does not fit or the value is out of range.
    """
    try:
        declared = eval(type_text, {"__builtins__": {}}, _TYPES)
    except Exception:
        raise ParameterError(
            f"parameter {name!r}: type {type_text!r} is not one of {', '.join(_TYPES)}, "
            "list[…] or dict[str, …]"
        ) from None
    try:
        result = _coerce(value, declared)
    except (TypeError, ValueError):
        raise ParameterError(
            f"parameter {name!r}: {value!r} is a {type(value).__name__}, expected {type_text}"
        ) from None
    _check_limits(name, result)
    return result


_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict}


def _coerce(value: Any, declared: Any) -> Any:
    origin, arguments = typing.get_origin(declared) or declared, typing.get_args(declared)
    if origin is float and not isinstance(value, bool):
        number = float(value)
        if number != number or abs(number) == float("inf"):
            raise ValueError
        return number
    if not isinstance(value, origin) or (origin is int and isinstance(value, bool)):
        raise TypeError
    if origin is list and arguments:
        return [_coerce(item, arguments[0]) for item in value]
    if origin is dict and arguments:
        return {_coerce(k, arguments[0]): _coerce(v, arguments[1]) for k, v in value.items()}
    return value


def _check_limits(name: str, value: Any) -> None:
    limit = limit_of(name)
    if limit is None or value is None:
        return
    values = value.values() if isinstance(value, dict) else value
    for item in values if isinstance(value, list | dict) else [value]:
        if not limit.allows(item):
            raise ParameterError(f"parameter {name!r}: {item!r} is out of range, allowed: {limit}")
