"""Strict, typed notebook parameters, and the profiles that fill them.

A notebook's `parameters` cell declares every parameter with its type and what it is:

    profile: str = "tiny"  # the profile that fills every parameter left at None
    learning_rate: float = None  # step size of AdamW

`resolve` takes each value from, in this order: the cell or papermill, the profile's section of the
stage, the stage file, the profile's section of the notebook, the profile's `shared` section.
papermill itself only warns about a misspelt name and reads `1e-6` as text; here the first stops
the run and the second is the number.
"""

import ast
import os
import re
import types
from collections import ChainMap
from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ace_lib.declarations import Declaration, ParameterError, coerce, read_declarations
from ace_lib.markup import escape, html_table
from ace_lib.profiles import Profile, default_notebooks_folder, load_profile, load_stage

DATA_SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".parquet", ".gguf")


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
        head = ("parameter", "value", "from", "paper", "what it is")
        return html_table(head, [map(escape, row) for row in self.rows()])


def resolve(notebook: str) -> Settings:
    """Collect, check and show the parameters of the running notebook, named as "05_train_sft".

    Raises ParameterError: a name is not declared, or a value is missing, wrong or out of range;
    ProfileError: the profile is unknown or not well formed.
    """
    from IPython import get_ipython
    from IPython.display import display

    shell = get_ipython()
    if shell is None:
        raise ParameterError("params.resolve works in a notebook; elsewhere use resolve_source")
    source, injected = _find_cells(shell.user_ns["In"])
    settings = _fill(notebook, source, shell.user_ns, injected)
    # huggingface_hub reads this once, at its first import, which comes later.
    if not load_profile(settings.profile).needs["network"]:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    display(settings)
    return settings


def resolve_source(notebook: str, source: str, overrides: Mapping[str, Any]) -> Settings:
    """Return what `resolve` will return once papermill runs the notebook with `overrides`.

    `source` is the text of the notebook's `parameters` cell.
    """
    return _fill(notebook, source, overrides, overrides)


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
    notebook: str, names: Iterable[str], declarations: Mapping[str, Declaration]
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
    notebook: str, source: str, namespace: Mapping[str, Any], injected: Collection[str]
) -> Settings:
    """Settings from a `parameters` cell and what its names stand for, where they are set."""
    declarations = read_declarations(source)
    _reject_undeclared(notebook, injected, declarations)
    given = {name: namespace.get(name, declarations[name].default) for name in declarations}
    given = {name: value for name, value in given.items() if value is not None}
    profile = load_profile(coerce("profile", given.get("profile"), "str"))
    _reject_undeclared(f"{profile.path.name}: {notebook}", profile.section(notebook), declarations)
    layers = _layers(notebook, profile, given)
    found = ChainMap(*(section for _, section, _ in layers))
    papers = ChainMap(*(stated for *_, stated in layers))
    values, origins = {}, {}
    for name, declaration in declarations.items():
        if name not in found:
            raise ParameterError(
                f"{notebook}: no value for {name!r} ({declaration.about or declaration.type_text});"
                f" set it in {profile.path.name} under notebooks: {notebook}: or pass it with -p"
            )
        value = found[name]
        if value is not None:  # null in a profile is a choice, not a gap
            value = _absolute_paths(name, coerce(name, value, declaration.type_text))
        values[name] = value
        origin = next(origin for origin, section, _ in layers if name in section)
        origins[name] = "papermill" if origin == "cell" and name in injected else origin
    papers = {name: papers[name] for name in declarations if name in papers}
    abouts = {name: declaration.about for name, declaration in declarations.items()}
    return Settings(notebook, values, origins, papers, abouts)


def _layers(
    notebook: str, profile: Profile, given: Mapping[str, Any]
) -> list[tuple[str, Mapping[str, Any], Mapping[str, str]]]:
    """(origin, values, paper comments) in order of precedence."""
    layers = [("cell", given, {})]
    if "stage" in given:
        stage = load_stage(str(given["stage"]))
        section = profile.stages.get(stage.name) or {}
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
    source, file = re.fullmatch(r"([\w-]+=)?(.*)", value).groups(default="")  # of known layout
    folders = (Path.cwd(), default_notebooks_folder().parent)
    for folder in folders:
        if (folder / Path(file).expanduser()).is_file():
            return f"{source}{(folder / Path(file).expanduser()).resolve()}"
    raise ParameterError(
        f"parameter {name!r}: there is no file {file!r} (looked in "
        f"{', '.join(str(folder) for folder in dict.fromkeys(folders))}); give the path of a file"
    )
