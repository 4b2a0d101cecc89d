"""A random Qwen2 of a few thousand parameters with a byte tokenizer, for tests of training."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

TEMPLATE = (
    "{% for message in messages %}<s>{{ message['content'] }}<e>{% endfor %}"
    "{% if add_generation_prompt %}<s><think>\n{% endif %}"
)


def make_tokenizer() -> PreTrainedTokenizerFast:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {"<pad>": 0, "<e>": 1, "<s>": 2}
    vocabulary |= {letter: index + 3 for index, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<e>",
        pad_token="<pad>",
        additional_special_tokens=["<s>"],
        chat_template=TEMPLATE,
    )


def make_model(seed: int = 0) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,  # far from uniform, so that wrong caches show
        tie_word_embeddings=True,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        eos_token_id=1,
        pad_token_id=0,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config).eval()


def save_micro(folder: Path, end_tokens: list[int] | None = None) -> str:
    model = make_model()
    model.generation_config.eos_token_id = end_tokens or [1]
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return str(folder)
