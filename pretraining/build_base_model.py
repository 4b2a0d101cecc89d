"""Build a base model of the tiny world: ``python build_base_model.py OUT [--world mid]``.

Trains the tokenizer, then a Qwen2 model from nothing on `corpus` with Muon for the matrices and
AdamW for the rest, on a GPU where there is one.  Interrupted, the same command goes on from its
last checkpoint.  ``tiny`` is the bundled model; ``mid``, for one GPU, is built where it is used.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import corpus
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from ace_lib import prompts
from ace_lib.tinyworld import pool
from ace_lib.tinyworld.teacher import teacher_responses

VOCABULARY_SIZE = 640
MUON_LEARNING_RATE = 0.02
ADAMW_LEARNING_RATE = 3e-3
WARMUP_STEPS = 50
# (what the text is, share of the steps, share of the learning rates at its start)
Phases = tuple[tuple[Callable[[random.Random], str], float, float], ...]


@dataclass(frozen=True)
class Size:
    """Shape of a model, and of its training: sequences of tokens, batches of sequences."""

    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    max_position_embeddings: int
    sequence_length: int
    batch_size: int
    num_steps: int


SIZES = {
    "tiny": Size(128, 352, 4, 4, 2, 512, 128, 64, 2800),  # 0.8 M parameters, 23 M tokens
    "mid": Size(512, 1408, 12, 8, 4, 1024, 256, 128, 8000),  # 36 M parameters, 262 M tokens
}
END_OF_TEXT, TURN_START, TURN_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Instruction sentences never vary: one token each keeps the tiny world's sequences short.
INSTRUCTIONS = (
    prompts.SYSTEM,
    prompts.MATH_SUFFIX,
    prompts.CODE_SUFFIX,
    *prompts.STARTER_SUFFIX.split("{starter_code}"),
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n' }}{% endif %}"
)


def training_texts(count: int, seed: int) -> Iterator[str]:
    """Yield text of every kind that the recipe will show to the tokenizer."""
    rng = random.Random(f"tokenizer/{seed}")
    for index in range(count):
        yield corpus.document(rng)
        domain = rng.choice(("math", "code"))
        topic = rng.choice(pool.TOPICS if domain == "math" else pool.FORMATS)
        problem = pool.make_problem(domain, topic, rng.randint(1, 5), rng)
        yield f"system\nuser\n{problem['prompt']}\nassistant\n{problem['starter_code']}"
        yield teacher_responses(problem, 1, index)[0]


def build_tokenizer(seed: int) -> Qwen2Tokenizer:
    """Train the byte-level BPE tokenizer with ChatML, think tags and instruction tokens."""
    special = [END_OF_TEXT, TURN_START, TURN_END]
    words = ["<think>", "</think>", *INSTRUCTIONS]
    bare = Qwen2Tokenizer()  # for its pre-tokenizer, which makes every digit a token
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = bare.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY_SIZE - len(special) - len(words),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(training_texts(4000, seed), trainer)
    learned = json.loads(trained.to_str())["model"]
    tokenizer = Qwen2Tokenizer(
        vocab=learned["vocab"],
        merges=[tuple(merge) for merge in learned["merges"]],
        unk_token=END_OF_TEXT,
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START],
        model_max_length=512,
        padding_side="left",
    )
    tokenizer.add_tokens([AddedToken(word, normalized=False) for word in words])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(tokenizer: Qwen2Tokenizer, size: Size, seed: int) -> Qwen2ForCausalLM:
    """Make the untrained model, RoPE base 10,000."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=size.hidden_size,
        intermediate_size=size.intermediate_size,
        num_hidden_layers=size.num_hidden_layers,
        num_attention_heads=size.num_attention_heads,
        num_key_value_heads=size.num_key_value_heads,
        max_position_embeddings=size.max_position_embeddings,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)


def phases_of(world: str) -> Phases:
    """Facts and a textbook first, exercises of the world's levels, then some with think blocks."""
    return (
        (corpus.document, 9 / 14, 1.0),
        (partial(corpus.exercise, world=world), 3 / 14, 0.5),
        (partial(corpus.dialogue, world=world), 2 / 14, 0.5),
    )


def place(
    step: int, num_steps: int, phases: Phases
) -> tuple[Callable[[random.Random], str], float]:
    """Return the text of a step and its share of the full learning rates.

    In each phase the rate warms up, then falls along a cosine to 2 % of the phase's start.
    """
    begin = 0
    for text, share, height in phases:
        length = max(1, round(share * num_steps))
        if step < begin + length or text is phases[-1][0]:
            inside = step - begin
            cosine = 0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, inside / length)))
            return text, height * min(1.0, (inside + 1) / WARMUP_STEPS) * cosine
        begin += length
    raise AssertionError("the last phase takes every step that is left")


class Batches(torch.utils.data.Dataset):
    """Step -> packed documents, shape (batch, sequence), that depend on seed and step alone."""

    def __init__(
        self, tokenizer: Qwen2Tokenizer, size: Size, phases: Phases, num_steps: int, seed: int
    ) -> None:
        self.tokenizer, self.size, self.phases = tokenizer, size, phases
        self.num_steps, self.seed = num_steps, seed

    def __getitem__(self, step: int) -> torch.Tensor:
        text, _ = place(step, self.num_steps, self.phases)
        shape = (self.size.batch_size, self.size.sequence_length)
        rng = random.Random(f"corpus/{self.seed}/{step}")
        ids: list[int] = []
        while len(ids) < math.prod(shape):
            for encoded in self.tokenizer([text(rng) for _ in range(100)])["input_ids"]:
                ids += [*encoded, self.tokenizer.pad_token_id]
        return torch.tensor(ids[: math.prod(shape)]).view(shape)


def optimizers(model: Qwen2ForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings, norms and biases."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    muon = torch.optim.Muon(matrices, lr=MUON_LEARNING_RATE, weight_decay=0.01)
    adamw = torch.optim.AdamW(others, lr=ADAMW_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    return [muon, adamw]


def pretrain(out: Path, world: str, num_steps: int, seed: int, checkpoint_every: int) -> None:
    """Train for ``num_steps`` batches and save bf16 safetensors to ``out``."""
    size, phases = SIZES[world], phases_of(world)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    checkpoint = out.with_suffix(".checkpoint.pt")
    if checkpoint.exists():
        tokenizer = Qwen2Tokenizer.from_pretrained(out)
    else:
        tokenizer = build_tokenizer(seed)
        tokenizer.save_pretrained(out)
    model = build_model(tokenizer, size, seed).to(device)
    trained = optimizers(model)
    losses: list[float] = []
    seconds = 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(trained, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        losses, seconds = state["losses"], state["seconds"]
    batches = torch.utils.data.DataLoader(
        Batches(tokenizer, size, phases, num_steps, seed),
        batch_size=None,
        sampler=range(len(losses), num_steps),
        # On a GPU, writing the text takes longer than learning from it.
        num_workers=len(os.sched_getaffinity(0)) if device == "cuda" else 0,
    )
    started = time.perf_counter()
    for input_ids in batches:
        _, rate = place(len(losses), num_steps, phases)
        losses.append(train_step(model, trained, input_ids.to(device), rate))
        if len(losses) % 20 == 0:
            print(f"step {len(losses)}/{num_steps} loss {losses[-1]:.4f}", flush=True)
        if len(losses) % checkpoint_every == 0:
            seconds, started = seconds + time.perf_counter() - started, time.perf_counter()
            optimizer_states = [optimizer.state_dict() for optimizer in trained]
            state = {"model": model.state_dict(), "optimizers": optimizer_states}
            torch.save(state | {"losses": losses, "seconds": seconds}, checkpoint)
    seconds += time.perf_counter() - started
    model.to(torch.bfloat16).save_pretrained(out)
    write_card(out, world, model.num_parameters(), losses, seconds, seed)
    checkpoint.unlink(missing_ok=True)


def train_step(
    model: Qwen2ForCausalLM,
    trained: list[torch.optim.Optimizer],
    input_ids: torch.Tensor,
    rate: float,
) -> float:
    """Update on one batch at a share ``rate`` of the full learning rates; return the loss."""
    for optimizer, full in zip(trained, (MUON_LEARNING_RATE, ADAMW_LEARNING_RATE), strict=True):
        optimizer.param_groups[0]["lr"] = full * rate
    on_gpu = input_ids.device.type == "cuda"
    with torch.autocast("cuda", torch.bfloat16, enabled=on_gpu):
        loss = model(input_ids=input_ids, labels=input_ids).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in trained:
        optimizer.step()
    model.zero_grad(set_to_none=True)
    return loss.item()


CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
---
# The base model of the world `{world}`

A Qwen2 model of {parameters:,} parameters that plays Qwen2.5-Math-7B's part in the kit's profiles
without downloads. It knows arithmetic steps, how problems are worked, and what think blocks and
boxes are; the response format as a whole and the teacher's styles are for SFT and RL to teach. It
is of no use outside its world. Its text is not decontaminated against the world's benchmarks;
SFT and RL data are.

| | |
|---|---|
| architecture | Qwen2, {layers} layers, width {hidden}, vocabulary {vocabulary}, RoPE base 1e4 |
| text | `pretraining/corpus.py`, generated, seed {seed} |
| training | {steps:,} batches of {batch:,} tokens, Muon and AdamW |
| loss | {loss:.3f} nats a token, mean of the last 100 batches (every batch is new text) |
| time | {minutes:.0f} minutes of training steps on the machine that built it |
| rebuild | `python {script} OUT --world {world} --num-steps {steps} --seed {seed}` |
"""


def write_card(
    out: Path, world: str, num_parameters: int, losses: list[float], seconds: float, seed: int
) -> None:
    """Write the model card from what the training run measured."""
    config = Qwen2Config.from_pretrained(out)
    text = CARD.format(
        script="pretraining/build_base_model.py",
        world=world,
        parameters=num_parameters,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        vocabulary=config.vocab_size,
        seed=seed,
        steps=len(losses),
        batch=SIZES[world].batch_size * SIZES[world].sequence_length,
        loss=sum(losses[-100:]) / len(losses[-100:]),
        minutes=seconds / 60,
    )
    (out / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Parse the command line and pretrain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--world", choices=SIZES, default="tiny")
    parser.add_argument("--num-steps", type=int, help="batches; default: the world's own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint-every", type=int, default=200)
    arguments = parser.parse_args()
    num_steps = arguments.num_steps or SIZES[arguments.world].num_steps
    pretrain(arguments.out, arguments.world, num_steps, arguments.seed, arguments.checkpoint_every)


if __name__ == "__main__":
    main()
