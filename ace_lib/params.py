"""Strict, typed notebook parameters, and the profiles that fill them.

A notebook's `parameters` cell declares every parameter with its type and what it is:

    profile: str = "tiny"  # the profile that fills every parameter left at None
    learning_rate: float | None = None  # step size of AdamW

`resolve` takes each value from, in this order: the cell or papermill, the profile's section of the
stage, the stage file, the profile's section of the notebook, the profile's `shared` section.
papermill itself only warns about a misspelt name and reads `1e-6` as text; here the first stops
the run and the second is the number.
"""

import ast
import html
import io
import os
import tokenize
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ace_lib import AceError
from ace_lib.limits import limit_of
from ace_lib.profiles import (
    Profile,
    default_notebooks_folder,
    load_profile,
    load_stage,
)

DATA_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".parquet", ".gguf")


class ParameterError(AceError):
    """A parameter is unknown, missing, of the wrong type or out of range."""


@dataclass(frozen=True)
class Declaration:
    """One line of a `parameters` cell: name, type as written, default and trailing comment."""

    name: str
    type_text: str
    default: Any
    about: str


class Settings:
    """The effective parameters of one notebook run: `settings.learning_rate` and so on.

    Attributes are read-only. `origins` says where each value came from and `papers` what the
    papers state for it, where the profile says so.
    """

    def __init__(
        self,
        notebook: str,
        values: Mapping[str, Any],
        origins: Mapping[str, str],
        papers: Mapping[str, str],
        abouts: Mapping[str, str],
    ) -> None:
        self.__dict__.update(
            notebook=notebook,
            values=types.MappingProxyType(dict(values)),
            origins=types.MappingProxyType(dict(origins)),
            papers=types.MappingProxyType(dict(papers)),
            abouts=types.MappingProxyType(dict(abouts)),
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self.__dict__.get("values", {}):
            return self.values[name]
        raise AttributeError(f"{self.__dict__.get('notebook')} declares no parameter {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"settings are read-only: set {name!r} in the parameters cell")

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """Return (name, value, origin, paper, about) of every parameter, as text."""
        return [
            (name, repr(value), self.origins[name], self.papers.get(name, ""), self.abouts[name])
            for name, value in self.values.items()
        ]

    def __repr__(self) -> str:
        width = max(len(name) for name in self.values)
        lines = [f"{name:<{width}}  {value}  [{origin}]" for name, value, origin, *_ in self.rows()]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        head = "".join(
            f"<th style='text-align:left'>{title}</th>"
            for title in ("parameter", "value", "from", "paper", "what it is")
        )
        body = "".join(
            "<tr>"
            + "".join(f"<td style='text-align:left'>{html.escape(c)}</td>" for c in row)
            + "</tr>"
            for row in self.rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def read_declarations(source: str) -> dict[str, Declaration]:
    """Read a `parameters` cell: every statement must be `name: type = literal  # what it is`.

    Raises:
        ParameterError: A statement has no type, or its default is not a literal.
    """
    comments = _comments_by_line(source)
    declarations = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)):
            raise ParameterError(
                f"parameters cell, line {node.lineno}: {ast.unparse(node)!r} has no type; "
                "write `name: type | None = None  # what it is`"
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

    Raises:
        ParameterError: The type does not fit or the value is out of range.
    """
    try:
        declared = eval(type_text, {"__builtins__": {}}, _TYPES)
    except Exception:
        raise ParameterError(
            f"parameter {name!r}: type {type_text!r} is not one of {', '.join(_TYPES)}, "
            "list[…], dict[str, …] or one of these `| None`"
        ) from None
    try:
        result = _coerce(value, declared)
    except (TypeError, ValueError):
        raise ParameterError(
            f"parameter {name!r}: {value!r} is a {type(value).__name__}, expected {type_text}"
        ) from None
    _check_limits(name, result)
    return result


def resolve(
    notebook: str,
    cells: list[str] | None = None,
    namespace: Mapping[str, Any] | None = None,
) -> Settings:
    """Collect, check and show the parameters of the running notebook.

    Args:
        notebook: Name of the notebook, as "05_train_sft".
        cells: Sources of the cells run so far; by default the kernel's own.
        namespace: Names and values the cells defined; by default the kernel's own.

    Raises:
        ParameterError: A name is not declared, or a value is missing, wrong or out of range.
        ProfileError: The profile is unknown or not well formed.
    """
    shell = None
    if cells is None or namespace is None:
        from IPython import get_ipython

        shell = get_ipython()
        if shell is None:
            raise ParameterError("params.resolve works in a notebook; elsewhere pass cells=…")
        cells, namespace = shell.user_ns["In"], shell.user_ns
    source, injected = _find_cells(cells)
    declarations = read_declarations(source)
    _reject_undeclared(notebook, injected, declarations)
    given = {}
    for name, declaration in declarations.items():
        value = namespace.get(name, declaration.default)
        if value is not None:
            given[name] = (value, "papermill" if name in injected else "cell")
    settings = _fill(notebook, declarations, given)
    if shell is not None:
        from IPython.display import display

        # huggingface_hub reads this once, at its first import, which comes later.
        if not load_profile(settings.profile).needs["network"]:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")

        display(settings)
    return settings


def resolve_source(notebook: str, source: str, overrides: Mapping[str, Any]) -> Settings:
    """Return what `resolve` will return once papermill runs the notebook with `overrides`.

    Args:
        notebook: Name of the notebook.
        source: Text of its `parameters` cell.
        overrides: The parameters that papermill will inject.
    """
    declarations = read_declarations(source)
    _reject_undeclared(notebook, overrides, declarations)
    given = {
        name: (declaration.default, "cell")
        for name, declaration in declarations.items()
        if declaration.default is not None
    }
    given |= {name: (value, "papermill") for name, value in overrides.items() if value is not None}
    return _fill(notebook, declarations, given)


_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict,
          "None": None}  # fmt: skip


def _comments_by_line(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _coerce(value: Any, declared: Any) -> Any:
    if isinstance(declared, types.UnionType):
        options = typing.get_args(declared)
        if value is None and type(None) in options:
            return None
        for option in options:
            if option is not type(None):
                try:
                    return _coerce(value, option)
                except (TypeError, ValueError):
                    continue
        raise TypeError
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
    items = value if isinstance(value, list) else value.values() if isinstance(value, dict) else []
    for item in items or ([] if isinstance(value, list | dict) else [value]):
        if not limit.allows(item):
            raise ParameterError(f"parameter {name!r}: {item!r} is out of range, allowed: {limit}")


def _find_cells(cells: list[str]) -> tuple[str, set[str]]:
    """Return the source of the last `parameters` cell run and the names papermill injected."""
    for index in range(len(cells) - 1, -1, -1):
        try:
            body = ast.parse(cells[index]).body
        except SyntaxError:  # a cell with a magic is not the one
            continue
        names = [n.target.id for n in body
                 if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)]  # fmt: skip
        if "profile" in names:
            return cells[index], _injected_names(cells[index + 1 :])
    raise ParameterError("no parameters cell has run: run the cell that declares `profile` first")


def _injected_names(cells: list[str]) -> set[str]:
    """Names assigned in the cells that papermill injects, which open with "# Parameters"."""
    injected = set()
    for source in cells:
        if source.startswith("# Parameters\n"):
            for node in ast.parse(source).body:
                if isinstance(node, ast.Assign):
                    injected |= {t.id for t in node.targets if isinstance(t, ast.Name)}
    return injected


def _reject_undeclared(
    notebook: str, names: typing.Iterable[str], declarations: Mapping[str, Declaration]
) -> None:
    for name in names:
        if name not in declarations:
            close = get_close_matches(name, declarations, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise ParameterError(
                f"{notebook} has no parameter {name!r}: {hint}"
                f"declared are {', '.join(declarations)}"
            )


def _fill(
    notebook: str,
    declarations: Mapping[str, Declaration],
    given: dict[str, tuple[Any, str]],
) -> Settings:
    profile_value = given.get("profile", (None, ""))[0]
    profile = load_profile(coerce("profile", profile_value, "str"))
    _reject_undeclared(f"{profile.path.name}: {notebook}", profile.section(notebook), declarations)
    layers = _layers(notebook, profile, given)
    values, origins, papers = {}, {}, {}
    for name, declaration in declarations.items():
        for origin, section, layer_papers in layers:
            if name in layer_papers:
                papers.setdefault(name, layer_papers[name])
            if name in section and name not in values:
                values[name] = coerce(name, section[name], declaration.type_text)
                origins[name] = given[name][1] if origin == "given" else origin
        if name not in values:
            raise ParameterError(
                f"{notebook}: no value for {name!r} ({declaration.about or declaration.type_text});"
                f" set it in {profile.path.name} under notebooks: {notebook}: or pass it with -p"
            )
        values[name] = _absolute_paths(name, values[name])
    abouts = {name: declaration.about for name, declaration in declarations.items()}
    return Settings(notebook, values, origins, papers, abouts)


def _layers(
    notebook: str, profile: Profile, given: dict[str, tuple[Any, str]]
) -> list[tuple[str, Mapping[str, Any], Mapping[str, str]]]:
    """(origin, values, paper comments) in order of precedence."""
    layers = [("given", {name: value for name, (value, _) in given.items()}, {})]
    if "stage" in given:
        stage = load_stage(str(given["stage"][0]))
        section = profile.stages.get(stage.name, {})
        layers.append((f"{profile.name} stage", section, profile.papers("stages", stage.name)))
        layers.append((stage.path.name, stage.values, stage.papers))
    layers.append((profile.name, profile.section(notebook), profile.papers("notebooks", notebook)))
    layers.append((f"{profile.name} shared", profile.shared, profile.papers("shared")))
    return layers


def _absolute_paths(name: str, value: Any) -> Any:
    """Make data file names absolute, so that the kernel's folder does not matter."""
    if isinstance(value, list):
        return [_absolute_paths(name, item) for item in value]
    if not isinstance(value, str) or not value.endswith(DATA_SUFFIXES) or value.startswith("hub:"):
        return value
    folders = (Path.cwd(), default_notebooks_folder().parent)
    for folder in folders:
        if (folder / Path(value).expanduser()).is_file():
            return str((folder / Path(value).expanduser()).resolve())
    raise ParameterError(
        f"parameter {name!r}: there is no file {value!r} (looked in "
        f"{', '.join(str(folder) for folder in dict.fromkeys(folders))}); give the path of a file"
    )
