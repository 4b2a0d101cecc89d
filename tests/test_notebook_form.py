"""The notebooks' form: stripped, stable ids, a kernelspec, parameters, short cells, words."""

import json
import re
from pathlib import Path
from statistics import median, quantiles

import pytest

from ace_lib import steps
from ace_lib.params import read_declarations
from ace_lib.profiles import load_profile, profile_names

NOTEBOOKS = sorted((Path(__file__).resolve().parent.parent / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text()) | {"path": request.param}


def code(notebook: dict) -> list[list[str]]:
    return [
        "".join(cell["source"]).splitlines()
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
    ]


def test_there_are_notebooks_named_by_number_verb_and_object():
    assert NOTEBOOKS
    for path in NOTEBOOKS:
        assert re.fullmatch(r"\d\d_[a-z]+(_[a-z]+)*\.ipynb", path.name)


def test_nothing_of_a_run_is_committed(notebook):
    for cell in notebook["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert "injected-parameters" not in cell["metadata"].get("tags", [])


def test_cells_have_stable_ids_and_the_kernel_is_named(notebook):
    ids = [cell["id"] for cell in notebook["cells"]]
    assert len(set(ids)) == len(ids)
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert (notebook["nbformat"], notebook["nbformat_minor"]) >= (4, 5)


def test_the_parameters_cell_is_typed_and_says_what_each_is(notebook):
    declarations = read_declarations(steps.parameters_cell(notebook["path"]))
    assert declarations["profile"].default == "tiny"
    for declaration in declarations.values():
        assert declaration.about, f"{declaration.name} has no comment"


def test_code_cells_are_short(notebook):
    lengths = [len(lines) for lines in code(notebook)]
    assert max(lengths) <= 40
    assert median(lengths) <= 8
    assert quantiles(lengths, n=10)[-1] < 25


def test_words_come_before_code(notebook):
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds[0] == "markdown"
    assert kinds.count("markdown") >= 0.6 * kinds.count("code")
    text = "".join(notebook["cells"][0]["source"])
    assert text.startswith("# ")


def test_figures_have_an_alternative_in_words(notebook):
    source = "\n".join("\n".join(lines) for lines in code(notebook))
    assert source.count("plots.show(") <= len(re.findall(r"\balt=", source))
    assert "plots.show(" in source
    assert "plt.show(" not in source


def test_the_notebook_ends_with_its_limits(notebook):
    text = [
        "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"
    ]
    assert any(re.search(r"^## .*[Ll]imit", part, re.MULTILINE) for part in text[-3:])


@pytest.mark.parametrize("profile", profile_names())
def test_every_profile_fits_every_notebook(profile):
    found = steps.read_steps(profile)
    chosen = load_profile(profile)
    included = {path.stem for path in NOTEBOOKS if chosen.includes(path.stem)}
    assert {step.notebook for step in found} == included
    assert set(load_profile(profile).notebooks) == {path.stem for path in NOTEBOOKS}
