"""A small key-value-cache decoder for Qwen2 and Llama models: what `generate` does, minus its cost.

On a CPU a model of a million parameters spends most of `generate`'s time in Python, in growing
the cache and in building masks. Here the cache is allocated once, keys are stored transposed (the
score product then reads them in order), query, key and value are one product, and so are gate
and up. Logits equal those of transformers to rounding; `tests/test_sampling.py` holds it to that.
Simplified: plain RoPE only, no sliding window, no dropout, inference only.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ace_lib import AceError

ARCHITECTURES = ("qwen2", "llama")


class UnsupportedModel(AceError):
    """The decoder knows no model of this architecture."""


class Decoder:
    """Step-by-step inference with the present weights of a model; make a new one after an update.

    The model is a transformers Qwen2 or Llama causal language model, on any device. Raises
    UnsupportedModel: another architecture, scaled RoPE or a sliding window.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        config = model.config
        _check(config)
        self.num_heads = config.num_attention_heads
        self.num_kv_heads = config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // self.num_heads
        self.epsilon = config.rms_norm_eps
        self.embedding = model.model.embed_tokens.weight.detach()
        self.head = model.lm_head.weight.detach().t().contiguous()
        self.norm = model.model.norm.weight.detach()
        self.inverse_frequencies = model.model.rotary_emb.inv_freq
        self.layers = [_layer_weights(layer) for layer in model.model.layers]

    def start(self, prompts: list[list[int]], num_samples: int, max_new_tokens: int) -> Tensor:
        """Read each prompt once and copy its cache `num_samples` times.

        Returns logits of the next token, shape (prompts × num_samples, vocabulary), prompt-major.
        """
        width = max(map(len, prompts))
        total = width + max_new_tokens
        device, dtype = self.embedding.device, self.embedding.dtype
        pad = torch.tensor([width - len(p) for p in prompts], device=device)
        ids = torch.tensor([[0] * (width - len(p)) + p for p in prompts], device=device)
        self._set_rotation(total)
        shape = (len(self.layers), len(prompts), self.num_kv_heads, self.head_dim, width)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = self.keys.transpose(3, 4).contiguous()
        self.length = 0
        visible = torch.arange(total, device=device) >= pad[:, None]
        # A padded query sees nothing; it may see itself so that its softmax is defined.
        causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
        own = torch.eye(width, dtype=torch.bool, device=device)
        seen = (visible[:, None, :width] & causal) | own
        logits = self._forward(ids, _bias(seen, dtype)[:, None])
        # Each row from here on is one sample, with room for what it will write.
        rows = torch.arange(len(prompts), device=device).repeat_interleave(num_samples)
        self.keys = F.pad(self.keys, (0, max_new_tokens)).index_select(1, rows)
        self.values = F.pad(self.values, (0, 0, 0, max_new_tokens)).index_select(1, rows)
        self.bias = _bias(visible, dtype).index_select(0, rows)
        return logits.index_select(0, rows)

    def step(self, tokens: Tensor) -> Tensor:
        """Append one token per row, shape (rows,), and return the next logits."""
        seen = self.bias[:, None, None, : self.length + 1]
        return self._forward(tokens[:, None], seen)

    def keep(self, rows: Tensor) -> None:
        """Drop all rows but these (indices into the present ones)."""
        self.keys = self.keys.index_select(1, rows)
        self.values = self.values.index_select(1, rows)
        self.bias = self.bias.index_select(0, rows)

    def _set_rotation(self, total: int) -> None:
        positions = torch.arange(total, device=self.inverse_frequencies.device)
        angles = positions[:, None].float() * self.inverse_frequencies.float()
        angles = torch.cat((angles, angles), dim=-1)
        dtype = self.embedding.dtype
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def _forward(self, ids: Tensor, bias: Tensor) -> Tensor:
        """Run `ids` (rows, new) behind what the cache holds; logits of the last position."""
        start, stop = self.length, self.length + ids.shape[1]
        cos, sin = self.cos[start:stop], self.sin[start:stop]
        hidden = F.embedding(ids, self.embedding)
        for index, layer in enumerate(self.layers):
            query, key, value = self._project(self._normalise(hidden, layer["norm1"]), layer)
            keys, values = self.keys[index], self.values[index]
            keys[..., start:stop] = _rotate(key, cos, sin).transpose(2, 3)
            values[:, :, start:stop] = value
            attended = self._attend(
                _rotate(query, cos, sin), keys[..., :stop], values[:, :, :stop], bias
            )
            hidden = hidden + attended @ layer["output"]
            gate, up = (self._normalise(hidden, layer["norm2"]) @ layer["gate_up"]).chunk(2, -1)
            hidden = hidden + (F.silu(gate) * up) @ layer["down"]
        self.length = stop
        return self._normalise(hidden[:, -1], self.norm) @ self.head

    def _project(self, hidden: Tensor, layer: dict) -> tuple[Tensor, Tensor, Tensor]:
        mixed = hidden @ layer["qkv"]
        if layer["qkv_bias"] is not None:
            mixed = mixed + layer["qkv_bias"]
        heads = mixed.view(*hidden.shape[:2], -1, self.head_dim).transpose(1, 2)
        return heads.split((self.num_heads, self.num_kv_heads, self.num_kv_heads), dim=1)

    def _attend(self, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        rows, _, new, _ = query.shape
        # The query heads that share a key head become rows of one product.
        query = query.reshape(rows, self.num_kv_heads, -1, self.head_dim)
        scores = (query @ keys) * self.head_dim**-0.5
        scores = scores.view(rows, self.num_heads, new, -1) + bias
        weights = torch.softmax(scores, dim=-1).view(rows, self.num_kv_heads, -1, keys.shape[-1])
        mixed = (weights @ values).view(rows, self.num_heads, new, self.head_dim)
        return mixed.transpose(1, 2).reshape(rows, new, -1)

    def _normalise(self, hidden: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(hidden, weight.shape, weight, self.epsilon)


def _rotate(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = heads.shape[-1] // 2
    turned = torch.cat((-heads[..., half:], heads[..., :half]), dim=-1)
    return heads * cos + turned * sin


def _bias(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where visible, a very negative number elsewhere."""
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill(
        ~visible, torch.finfo(dtype).min
    )


def _layer_weights(layer: torch.nn.Module) -> dict[str, Tensor | None]:
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    biases = [p.bias.detach() for p in projections if p.bias is not None]
    return {
        "norm1": layer.input_layernorm.weight.detach(),
        "norm2": layer.post_attention_layernorm.weight.detach(),
        "qkv": torch.cat([p.weight.detach() for p in projections]).t().contiguous(),
        "qkv_bias": torch.cat(biases) if biases else None,
        "output": attention.o_proj.weight.detach().t().contiguous(),
        "gate_up": torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]).detach().t().contiguous(),
        "down": mlp.down_proj.weight.detach().t().contiguous(),
    }


def _check(config: object) -> None:
    if config.model_type not in ARCHITECTURES:
        raise UnsupportedModel(
            f"model type {config.model_type!r}: the built-in sampler knows "
            f"{' and '.join(ARCHITECTURES)}; use engine: vllm"
        )
    scaled = config.rope_parameters["rope_type"] != "default"
    if scaled or "sliding_attention" in (getattr(config, "layer_types", None) or ()):
        raise UnsupportedModel(
            "scaled RoPE or a sliding window is not in the built-in sampler; use engine: vllm"
        )
