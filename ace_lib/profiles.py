"""Profiles: one YAML file per scale, and the six stage files of notebook 08.

`notebooks/profiles/<name>.yaml` holds `name, about, needs, shared, notebooks, stages,
deviates_from_paper`. A comment `# paper: …` behind a value is what the papers state for it; it is
shown beside the value in every notebook.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from ace_lib import AceError

REQUIRED_KEYS = {"name", "about", "needs", "shared", "notebooks", "stages", "deviates_from_paper"}
NEEDS_KEYS = {"minutes", "memory_gib", "disk_gib", "gpus", "network"}


class ProfileError(AceError):
    """A profile or stage file is unknown or not well formed."""


@dataclass(frozen=True)
class Profile:
    """A profile file, read and checked for its structure."""

    name: str
    path: Path
    about: str
    needs: Mapping[str, Any]
    shared: Mapping[str, Any]
    notebooks: Mapping[str, Mapping[str, Any]]
    stages: Mapping[str, Mapping[str, Any]]
    deviates_from_paper: list[str]
    comments: Mapping[tuple[str, ...], str] = field(repr=False)

    def section(self, notebook: str) -> Mapping[str, Any]:
        """Return the parameters of one notebook, {} where the profile has none."""
        return self.notebooks.get(notebook) or {}

    def papers(self, *prefix: str) -> dict[str, str]:
        """Return parameter -> what the paper states, for the section under `prefix`."""
        return _papers(self.comments, prefix)


@dataclass(frozen=True)
class Stage:
    """One RL stage's fixed facts, a plain papermill parameter file."""

    name: str
    path: Path
    values: Mapping[str, Any]
    papers: Mapping[str, str]


def default_notebooks_folder() -> Path:
    """Return the folder of the notebooks: `$ACE_NOTEBOOKS`, or the one of this checkout."""
    if "ACE_NOTEBOOKS" in os.environ:
        return Path(os.environ["ACE_NOTEBOOKS"]).resolve()
    return Path(__file__).resolve().parent.parent / "notebooks"


def profile_names() -> list[str]:
    """Return the names of all profiles."""
    return sorted(path.stem for path in (default_notebooks_folder() / "profiles").glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Read `notebooks/profiles/<name>.yaml`.

    Raises:
        ProfileError: No such profile, not YAML, or a key is missing, unknown or written twice.
    """
    path = default_notebooks_folder() / "profiles" / f"{name}.yaml"
    if not path.is_file():
        close = get_close_matches(name, profile_names(), n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        known = ", ".join(profile_names()) or "none"
        raise ProfileError(f"unknown profile {name!r}{hint}: the profiles are {known}")
    data, comments = read_yaml(path)
    _check_keys(path, data, REQUIRED_KEYS, "the profile")
    _check_keys(path, data["needs"] or {}, NEEDS_KEYS, "needs")
    if data["name"] != name:
        raise ProfileError(f"{path}: name is {data['name']!r}; it must be the file's, {name!r}")
    return Profile(
        name=name,
        path=path,
        about=data["about"],
        needs=data["needs"],
        shared=data["shared"] or {},
        notebooks=data["notebooks"] or {},
        stages=data["stages"] or {},
        deviates_from_paper=data["deviates_from_paper"] or [],
        comments=comments,
    )


def stages() -> list[Stage]:
    """Return the RL stages in order, from `notebooks/stages/<number>_<stage>.yaml`."""
    found = []
    for path in sorted((default_notebooks_folder() / "stages").glob("*.yaml")):
        values, comments = read_yaml(path)
        if values.get("stage") != path.stem.partition("_")[2]:
            raise ProfileError(f"{path}: must state `stage: {path.stem.partition('_')[2]}`")
        found.append(Stage(values["stage"], path, values, _papers(comments, ())))
    return found


def load_stage(name: str) -> Stage:
    """Return the stage of this name.

    Raises:
        ProfileError: There is none.
    """
    by_name = {stage.name: stage for stage in stages()}
    if name not in by_name:
        raise ProfileError(f"unknown stage {name!r}: the stages are {', '.join(by_name) or 'none'}")
    return by_name[name]


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], str]]:
    """Read a YAML mapping and the comment behind each of its keys, by key path.

    Raises:
        ProfileError: Not YAML, not a mapping, or a key written twice (YAML keeps the last).
    """
    text = path.read_text(encoding="utf-8")
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        comments: dict[tuple[str, ...], str] = {}
        _collect_comments(path, node, (), text.splitlines(), comments)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or str(error)
        raise ProfileError(f"{path}{line}: not valid YAML: {reason}") from None
    if not isinstance(data, dict):
        raise ProfileError(f"{path}: must be a YAML mapping `name: value`")
    return data, comments


def _collect_comments(
    path: Path,
    node: yaml.Node | None,
    prefix: tuple[str, ...],
    lines: list[str],
    comments: dict[tuple[str, ...], str],
) -> None:
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        if key.value in seen:
            raise ProfileError(
                f"{path}, line {key.start_mark.line + 1}: {key.value!r} is written twice; "
                "keep one of them"
            )
        seen.add(key.value)
        mark = value.end_mark
        rest = lines[mark.line][mark.column :].strip() if mark.line < len(lines) else ""
        if rest.startswith("#"):
            comments[(*prefix, key.value)] = rest.lstrip("# ")
        _collect_comments(path, value, (*prefix, key.value), lines, comments)


def _papers(comments: Mapping[tuple[str, ...], str], prefix: tuple[str, ...]) -> dict[str, str]:
    return {
        path[-1]: text.removeprefix("paper:").strip()
        for path, text in comments.items()
        if path[:-1] == prefix and text.startswith("paper:")
    }


def _check_keys(path: Path, data: Mapping[str, Any], expected: set[str], where: str) -> None:
    for word, keys in (("lacks", expected - set(data)), ("has unknown", set(data) - expected)):
        if keys:
            names = ", ".join(sorted(keys))
            raise ProfileError(f"{path}: {where} {word} {names}; the keys are "
                               f"{', '.join(sorted(expected))}")  # fmt: skip
