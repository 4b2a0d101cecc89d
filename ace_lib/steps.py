"""The steps of a profile: which notebook runs with which parameters, and what it builds on.

Nothing is listed twice: the notebooks themselves say what they read and write. A step's variant and
inputs are taken from its call `runs.start("…", settings, variant=…, inputs=[…])`, in which only
literals and `settings` may appear. A notebook with a parameter `stage` runs once per stage file.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ace_lib import AceError, runs
from ace_lib.params import ParameterError, Settings, read_declarations, resolve_source
from ace_lib.profiles import default_notebooks_folder, load_profile, stages


class StepError(AceError):
    """A notebook does not say what it is or reads, or a step of that name does not exist."""


@dataclass(frozen=True)
class Step:
    """One execution of one notebook: `overrides` is what papermill injects."""

    notebook: str
    path: Path
    overrides: Mapping[str, Any]
    settings: Settings
    variant: str
    inputs: list[str]

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return runs.step_name(self.notebook, self.variant)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return runs.profile_folder(self.settings.profile) / self.name


def read_steps(profile: str) -> list[Step]:
    """Return all steps of a profile in the order of their execution.

    Raises StepError: a notebook has no usable `parameters` cell or `runs.start` call, or reads a
    run that no earlier step makes; ParameterError: the profile does not fit a notebook's
    parameters.
    """
    steps: list[Step] = []
    chosen = load_profile(profile)
    for path in notebook_paths():
        if not chosen.includes(path.stem):
            continue
        source = parameters_cell(path)
        try:
            is_staged = "stage" in read_declarations(source)
        except ParameterError as error:
            raise StepError(f"{path.name}: {error}") from None
        # The rest of a stage's file is filled in later: a profile may state other values. A stage
        # that it sets to null is none of its steps.
        kept = [stage.name for stage in stages() if chosen.stages.get(stage.name, {}) is not None]
        for values in [{"stage": name} for name in kept] if is_staged else [{}]:
            before = [step.name for step in steps]
            steps.append(_read_step(path, source, {"profile": profile, **values}, before))
    _check_order(steps)
    return steps


def names_before(profile: str, name: str) -> list[str]:
    """Return the names of the steps before this one, all where there is none of the name."""
    names = [step.name for step in read_steps(profile)]
    return names[: names.index(name)] if name in names else names


def select(steps: list[Step], name: str) -> list[Step]:
    """Return the steps of this run name or notebook name. Raises StepError: there is none."""
    found = [step for step in steps if name in (step.name, step.notebook)]
    if not found:
        names = [step.name for step in steps]
        close = get_close_matches(name, names, n=1)
        hint = f" (did you mean {close[0]!r}?)" if close else ""
        raise StepError(f"no step {name!r}{hint}: the steps are {', '.join(names)}")
    return found


def notebook_paths() -> list[Path]:
    """Return the notebooks `NN_verb_object.ipynb` in order. Raises StepError: there are none."""
    folder = default_notebooks_folder()
    paths = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise StepError(f"no notebooks in {folder}: run from a checkout, installed with `make env`")
    return paths


def parameters_cell(path: Path) -> str:
    """Return the source of a notebook's `parameters` cell.

    Raises StepError: it has not exactly one.
    """
    cells = runs.read_json(path)["cells"]
    tagged = [cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])]
    if len(tagged) != 1:
        raise StepError(f"{path.name}: {len(tagged)} cells have the tag `parameters`, need one")
    return "".join(tagged[0]["source"])


def _read_step(path: Path, source: str, overrides: Mapping[str, Any], before: list[str]) -> Step:
    notebook = path.stem
    settings = resolve_source(notebook, source, overrides)
    call = _start_call(path)
    if len(call.args) != 2 or {k.arg for k in call.keywords} - {"variant", "inputs"}:
        raise StepError(f"{notebook}: write runs.start(name, settings, variant=…, inputs=[…])")
    named = _evaluate(path, call.args[0], settings)
    if named != notebook:
        raise StepError(f"{notebook}: runs.start names {named!r}; it must name its own notebook")
    given = {k.arg: _evaluate(path, k.value, settings) for k in call.keywords}
    inputs = given.get("inputs", [])
    inputs = before if inputs == "all" else inputs
    return Step(notebook, path, overrides, settings, given.get("variant", ""), inputs)


def _start_call(path: Path) -> ast.Call:
    for source in runs.code_cells(path):
        try:
            tree = ast.parse(source)
        except SyntaxError:  # a cell with a magic holds no runs.start
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "runs.start":
                return node
    raise StepError(f"{path.name}: no cell calls runs.start, so it would leave no run behind")


def _evaluate(path: Path, expression: ast.expr, settings: Settings) -> Any:
    """Evaluate an argument of the notebook's own `runs.start`, with `settings` and nothing else."""
    code = compile(ast.Expression(expression), str(path), "eval")
    try:
        return eval(code, {"__builtins__": {}, "settings": settings})
    except NameError as error:
        raise StepError(
            f"{path.name}: {error} in runs.start: use literals and `settings` only, so that the "
            "order of the notebooks can be read without running them"
        ) from None


def _check_order(steps: list[Step]) -> None:
    known: set[str] = set()
    for step in steps:
        for name in step.inputs:
            if name not in known:
                raise StepError(f"{step.name} reads {name!r}, which no step before it makes")
        if step.name in known:
            raise StepError(f"two steps are named {step.name!r}: give them a variant each")
        known.add(step.name)
