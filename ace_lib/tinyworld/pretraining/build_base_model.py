"""Rebuild the tiny world's base model: ``python build_base_model.py OUT``, in this folder or not.

Trains the tokenizer, then a Qwen2 model from nothing on `corpus` with Muon for the matrices and
AdamW for the rest.  Interrupted, the same command goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import corpus
import torch
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from ace_lib import prompts
from ace_lib.tinyworld import pool
from ace_lib.tinyworld.teacher import teacher_responses

VOCABULARY_SIZE = 640
SEQUENCE_LENGTH = 128
BATCH_SIZE = 64
MUON_LEARNING_RATE = 0.02
ADAMW_LEARNING_RATE = 3e-3
WARMUP_STEPS = 50
# (what the text is, share of the steps, share of the learning rates at its start)
PHASES = (
    (corpus.document, 9 / 14, 1.0),
    (corpus.exercise, 3 / 14, 0.5),
    (corpus.dialogue, 2 / 14, 0.5),
)
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


def build_model(tokenizer: Qwen2Tokenizer, seed: int) -> Qwen2ForCausalLM:
    """Make the untrained model: 0.8 M parameters, head size 32, RoPE base 10,000."""
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen2ForCausalLM(config)


def place(step: int, num_steps: int) -> tuple[Callable[[random.Random], str], float]:
    """Return the text of a step and its share of the full learning rates.

    In each phase the rate warms up, then falls along a cosine to 2 % of the phase's start.
    """
    begin = 0
    for text, share, height in PHASES:
        length = max(1, round(share * num_steps))
        if step < begin + length or text is PHASES[-1][0]:
            inside = step - begin
            cosine = 0.02 + 0.49 * (1 + math.cos(math.pi * min(1.0, inside / length)))
            return text, height * min(1.0, (inside + 1) / WARMUP_STEPS) * cosine
        begin += length
    raise AssertionError("the last phase takes every step that is left")


def make_batch(
    tokenizer: Qwen2Tokenizer, text: Callable[[random.Random], str], seed: int, step: int
) -> torch.Tensor:
    """Pack documents into a batch (BATCH_SIZE, SEQUENCE_LENGTH) that depends on seed and step."""
    needed = BATCH_SIZE * SEQUENCE_LENGTH
    rng = random.Random(f"corpus/{seed}/{step}")
    ids: list[int] = []
    while len(ids) < needed:
        for encoded in tokenizer([text(rng) for _ in range(100)])["input_ids"]:
            ids += [*encoded, tokenizer.pad_token_id]
    return torch.tensor(ids[:needed]).view(BATCH_SIZE, SEQUENCE_LENGTH)


def optimizers(model: Qwen2ForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon for the hidden matrices, AdamW for embeddings, norms and biases."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    muon = torch.optim.Muon(matrices, lr=MUON_LEARNING_RATE, weight_decay=0.01)
    adamw = torch.optim.AdamW(others, lr=ADAMW_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.0)
    return [muon, adamw]


def pretrain(out: Path, num_steps: int, seed: int, checkpoint_every: int) -> None:
    """Train for ``num_steps`` batches of 8,192 tokens and save bf16 safetensors to ``out``."""
    checkpoint = out.with_suffix(".checkpoint.pt")
    if checkpoint.exists():
        tokenizer = Qwen2Tokenizer.from_pretrained(out)
    else:
        tokenizer = build_tokenizer(seed)
        tokenizer.save_pretrained(out)
    model = build_model(tokenizer, seed)
    trained = optimizers(model)
    losses: list[float] = []
    seconds = 0.0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(trained, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        losses, seconds = state["losses"], state["seconds"]
    while len(losses) < num_steps:
        started = time.perf_counter()
        text, rate = place(len(losses), num_steps)
        losses.append(
            train_step(model, trained, make_batch(tokenizer, text, seed, len(losses)), rate)
        )
        seconds += time.perf_counter() - started
        if len(losses) % 20 == 0:
            print(f"step {len(losses)}/{num_steps} loss {losses[-1]:.4f}", flush=True)
        if len(losses) % checkpoint_every == 0:
            optimizer_states = [optimizer.state_dict() for optimizer in trained]
            state = {"model": model.state_dict(), "optimizers": optimizer_states}
            torch.save(state | {"losses": losses, "seconds": seconds}, checkpoint)
    model.to(torch.bfloat16).save_pretrained(out)
    write_card(out, model.num_parameters(), losses, seconds, seed)
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
# The tiny world's base model

A Qwen2 model of {parameters:,} parameters that plays Qwen2.5-Math-7B's part in the kit's `tiny` and
`smoke` profiles. It knows arithmetic steps, how problems are worked, and what think blocks and
boxes are; the response format as a whole and the teacher's styles are for SFT and RL to teach. It
is of no use outside the tiny world. Its text is not decontaminated against the tiny benchmarks;
SFT and RL data are.

| | |
|---|---|
| architecture | Qwen2, {layers} layers, width {hidden}, vocabulary {vocabulary}, RoPE base 1e4 |
| text | `ace_lib/tinyworld/pretraining/corpus.py`, generated, seed {seed} |
| training | {steps:,} batches of {batch:,} tokens, Muon and AdamW |
| loss | {loss:.3f} nats a token, mean of the last 100 batches (every batch is new text) |
| time | {minutes:.0f} minutes of training steps on the machine that built it |
| rebuild | `python {script} OUT --num-steps {steps} --seed {seed}` |
"""


def write_card(
    out: Path, num_parameters: int, losses: list[float], seconds: float, seed: int
) -> None:
    """Write the model card from what the training run measured."""
    config = Qwen2Config.from_pretrained(out)
    text = CARD.format(
        script="ace_lib/tinyworld/pretraining/build_base_model.py",
        parameters=num_parameters,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        vocabulary=config.vocab_size,
        seed=seed,
        steps=len(losses),
        batch=BATCH_SIZE * SEQUENCE_LENGTH,
        loss=sum(losses[-100:]) / len(losses[-100:]),
        minutes=seconds / 60,
    )
    (out / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Parse the command line and pretrain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--num-steps", type=int, default=2800, help="batches of 8,192 tokens")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint-every", type=int, default=200)
    arguments = parser.parse_args()
    pretrain(arguments.out, arguments.num_steps, arguments.seed, arguments.checkpoint_every)


if __name__ == "__main__":
    main()
