"""Sizes of the models that profiles name: what memory, FLOPs and context follow from.

Published models are tabled, so that a plan needs no network; a folder is read from its
`config.json`, the bundled model too.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from ace_lib.models import ModelMissing


@dataclass(frozen=True)
class ModelShape:
    """A decoder-only transformer of the Qwen2 and Llama family."""

    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    vocabulary: int
    context: int  # positions that it was trained for, tokens
    tied: bool = False

    @property
    def num_parameters(self) -> int:
        """All weights; biases and norms, below a thousandth, are left out."""
        head_dim = self.hidden_size // self.num_heads
        attention = 2 * self.hidden_size * (self.num_heads + self.num_kv_heads) * head_dim
        mlp = 3 * self.hidden_size * self.intermediate_size
        embeddings = self.vocabulary * self.hidden_size * (1 if self.tied else 2)
        return self.num_layers * (attention + mlp) + embeddings

    def kv_bytes_per_token(self, bytes_per_value: int = 2) -> int:
        """Key-value cache of one token over all layers, bytes."""
        head_dim = self.hidden_size // self.num_heads
        return 2 * self.num_layers * self.num_kv_heads * head_dim * bytes_per_value

    def attention_flops(self, length: float) -> float:
        """FLOPs of the causal score and value products of one sequence, forward."""
        return 2 * self.num_layers * self.hidden_size * length**2


KNOWN = {
    "mid": ModelShape(12, 512, 1408, 8, 4, 640, 1024, tied=True),
    "smollm2-135m": ModelShape(30, 576, 1536, 9, 3, 49152, 8192, tied=True),
    "Qwen/Qwen2.5-Math-1.5B": ModelShape(28, 1536, 8960, 12, 2, 151936, 4096, tied=True),
    "Qwen/Qwen2.5-Math-7B": ModelShape(28, 3584, 18944, 28, 4, 152064, 4096),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-7B": ModelShape(28, 3584, 18944, 28, 4, 152064, 131072),
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-14B": ModelShape(48, 5120, 13824, 40, 8, 152064, 131072),
}


def shape_of(name: str) -> ModelShape:
    """Shape of what a profile's `model:` says; nothing is downloaded.

    Raises ModelMissing: neither tabled nor a folder with `config.json`.
    """
    known = KNOWN.get(str(name).removeprefix("hub:").partition("@")[0])
    if known:
        return known
    folder = Path(name).expanduser()
    if name == "tiny":
        from ace_lib import tinyworld

        folder = Path(tinyworld.base_model_path())
    if not (folder / "config.json").is_file():
        raise ModelMissing(
            f"model {name!r}: its size is not known here. Tabled are tiny, {', '.join(KNOWN)}; "
            "of another model give a folder with config.json"
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return ModelShape(
        num_layers=config["num_hidden_layers"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["intermediate_size"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config["num_key_value_heads"],
        vocabulary=config["vocab_size"],
        context=config["max_position_embeddings"],
        tied=config.get("tie_word_embeddings", False),
    )
