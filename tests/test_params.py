import re
import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ace_lib import declarations, params, profiles
from ace_lib.params import ParameterError, coerce

CELL = """
profile: str = "mini"  # the profile
number: int = None  # how many
seed: int = None  # where the random streams start
learning_rate: float = 1e-3  # step size
temperatures: list[float] = [0.5, 1.0]
"""


@pytest.mark.parametrize(
    ("value", "type_text", "expected"),
    [
        ("1e-6", "float", 1e-6),
        (3, "float", 3.0),
        ([1, "2.5"], "list[float]", [1.0, 2.5]),
        ({"a": 1}, "dict[str, int]", {"a": 1}),
        (True, "bool", True),
    ],
)
def test_values_become_their_declared_type(value, type_text, expected):
    result = coerce("thing", value, type_text)
    assert result == expected
    assert type(result) is type(expected)


@pytest.mark.parametrize(
    ("value", "type_text"),
    [
        ("many", "float"),
        ("nan", "float"),
        (float("inf"), "float"),
        (True, "int"),
        (True, "float"),
        (3.0, "int"),
        ("3", "int"),
        (1, "str"),
        ("yes", "bool"),
        (1, "bool"),
        (None, "int"),
        (1.0, "list[float]"),
        (["x"], "list[int]"),
        ({1: 1}, "dict[str, int]"),
    ],
)
def test_wrong_types_are_refused_with_name_value_and_type(value, type_text):
    with pytest.raises(ParameterError, match=re.escape(type_text)) as caught:
        coerce("thing", value, type_text)
    assert "'thing'" in str(caught.value)
    assert repr(value) in str(caught.value)


def test_a_type_that_does_not_exist_is_named():
    with pytest.raises(ParameterError, match="'flaot' is not one of"):
        coerce("thing", 1, "flaot")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", 0.0),
        ("learning_rate", 2.0),
        ("top_p", 1.01),
        ("num_generations", 1),
        ("seed", -1),
        ("max_completion_length", 0),
        ("num_train_epochs", 0),
        ("temperatures", [0.6, -1.0]),
        ("sft_learning_rate", 5.0),
        ("engine", "vlllm"),
        ("keep_share", 1.5),
        ("num_prompts", -3),
    ],
)
def test_out_of_range_is_refused_with_what_is_allowed(name, value):
    text = {float: "float", int: "int", str: "str", list: "list[float]"}[type(value)]
    with pytest.raises(ParameterError, match="out of range, allowed: ") as caught:
        coerce(name, value, text)
    assert str(declarations.limit_of(name)) in str(caught.value)


@given(st.floats(min_value=1e-12, max_value=1.0))
def test_a_number_survives_being_written_as_text(value):
    assert coerce("learning_rate", repr(value), "float") == value


def test_every_limit_says_what_it_allows():
    for name in declarations.LIMITS:
        assert declarations.limit_of(name) is declarations.LIMITS[name]
        assert str(declarations.LIMITS[name])
    assert declarations.limit_of("about") is None
    # The longest rule decides: a learning rate is a rate, but may not be 0.
    assert not declarations.limit_of("learning_rate").allows(0)
    assert declarations.limit_of("pass_rate").allows(0)


def test_declarations_have_type_default_and_comment():
    declarations = params.read_declarations(CELL)
    assert list(declarations) == ["profile", "number", "seed", "learning_rate", "temperatures"]
    assert declarations["number"].type_text == "int"
    assert declarations["number"].about == "how many"
    assert declarations["learning_rate"].default == 1e-3


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ('profile: str = "mini"\nnumber = 3', "has no type"),
        ('profile: str = "mini"\nnumber: int = 3 * 5', "write a plain value"),
        ("number: int = 3", "must declare `profile"),
    ],
)
def test_a_loose_parameters_cell_is_refused(cell, reason):
    with pytest.raises(ParameterError, match=reason):
        params.read_declarations(cell)


def test_the_cell_goes_before_the_profile_and_the_table_says_where_from(kit):
    settings = params.resolve_source("01_make_number", CELL, {"temperatures": ["1e-1"]})
    assert (settings.number, settings.seed, settings.learning_rate) == (3, 0, 1e-3)
    assert settings.temperatures == [0.1]
    assert dict(settings.origins) == {
        "profile": "cell",
        "number": "mini",
        "seed": "mini shared",
        "learning_rate": "cell",
        "temperatures": "papermill",
    }
    assert settings.papers == {"number": "4 (V)"}
    assert "4 (V)" in settings._repr_html_()
    assert "[mini shared]" in repr(settings)


def test_settings_cannot_be_changed_and_name_what_is_missing(kit):
    settings = params.resolve_source("01_make_number", CELL, {})
    with pytest.raises(AttributeError, match="read-only"):
        settings.number = 4
    with pytest.raises(AttributeError, match="declares no parameter 'nummber'"):
        _ = settings.nummber


def test_a_stage_takes_its_values_from_profile_and_stage_file(kit):
    cell = CELL + "stage: str = None\nfactor: float = None\n"
    cell += "previous: str = None\n"
    settings = params.resolve_source("02_train_stage", cell, {"stage": "first", "number": 1})
    assert settings.factor == 2.0  # "2e0" is text for YAML
    assert settings.origins["factor"] == "mini stage"
    assert settings.origins["previous"] == "1_first.yaml"
    with pytest.raises(profiles.ProfileError, match="unknown stage 'third': .* first, second"):
        params.resolve_source("02_train_stage", cell, {"stage": "third", "number": 1})


def test_a_misspelt_name_is_refused_wherever_it_is_written(kit):
    with pytest.raises(ParameterError, match="no parameter 'nubmer': did you mean 'number'"):
        params.resolve_source("01_make_number", CELL, {"nubmer": 3})
    kit.edit_profile("number: 3", "nubmer: 3")
    with pytest.raises(ParameterError, match="mini.yaml: 01_make_number has no parameter 'nubmer'"):
        params.resolve_source("01_make_number", CELL, {})


def test_a_parameter_without_a_value_says_where_to_set_it(kit):
    with pytest.raises(ParameterError, match=r"no value for 'number' \(how many\).*mini.yaml"):
        params.resolve_source("09_other", CELL, {})
    kit.edit_profile("number: 3", "number: null")
    settings = params.resolve_source("01_make_number", CELL, {})
    assert settings.number is None  # said on purpose


def test_the_kernel_sees_what_papermill_injected(kit, monkeypatch):
    shell = types.SimpleNamespace(user_ns={"number": 8, "learning_rate": 1e-3})
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    shell.user_ns["In"] = ["", "%time", CELL, "# Parameters\nnumber = 8\n"]
    settings = params.resolve("01_make_number")
    assert settings.number == 8
    assert settings.origins["number"] == "papermill"
    shell.user_ns["In"] = ["", CELL, "# Parameters\nnubmer = 8\n"]
    with pytest.raises(ParameterError, match="no parameter 'nubmer'"):
        params.resolve("01_make_number")
    shell.user_ns["In"] = ["", "x = 1"]
    with pytest.raises(ParameterError, match="no parameters cell has run"):
        params.resolve("01_make_number")


def test_a_data_file_is_found_or_its_absence_told(kit, tmp_path):
    cell = 'profile: str = "mini"\nproblems_file: str = None'
    with pytest.raises(ParameterError, match="'problems_file': there is no file 'none.jsonl'"):
        params.resolve_source("x", cell, {"problems_file": "none.jsonl"})
    (tmp_path / "some.jsonl").write_text("{}")
    settings = params.resolve_source("x", cell, {"problems_file": "some.jsonl"})
    assert settings.problems_file == str(tmp_path / "some.jsonl")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("name: mini", "name: maxi", "name is 'maxi'"),
        ("about: a test\n", "", "lacks about"),
        ("about: a test", "about: a test\nabuot: b", "has unknown abuot"),
        ("gpus: 0, ", "", "needs lacks gpus"),
        ("about: a test", "about: a test\nabout: b", "line 3: 'about' is written twice"),
        ("about: a test", "about: [a test", "not valid YAML"),
    ],
)
def test_a_broken_profile_is_refused_with_file_and_reason(kit, old, new, reason):
    kit.edit_profile(old, new)
    with pytest.raises(profiles.ProfileError, match=re.escape(reason)) as caught:
        profiles.load_profile("mini")
    assert "mini.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_names_the_known_ones(kit):
    with pytest.raises(
        profiles.ProfileError, match=r"did you mean 'mini'\?\): the profiles are mini"
    ):
        profiles.load_profile("mni")


def test_the_kits_own_profiles_and_stages_are_well_formed():
    names = [stage.name for stage in profiles.stages()]
    assert names == ["math_8k", "math_16k", "math_24k", "code_24k", "code_32k", "math_32k"]
    for name in profiles.profile_names():
        assert list(profiles.load_profile(name).stages) == names
