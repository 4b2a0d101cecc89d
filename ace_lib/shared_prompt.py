"""Log-probabilities of a group's completions with the prompt read once, exactly.

GRPO has G completions of one prompt, and TRL runs the prompt G times, each row padded to the
longest. Here a group is one row: the prompt, then the completions side by side, each seeing the
prompt and itself:

    p1 … p(n-1) | pn a1 … a(k-1) | pn b1 … b(m-1) | …

The last prompt token opens every completion, so that each position predicts one token. With
prompts about as long as completions this takes a quarter of the positions. The attention mask is
dense in (prompt + all completions)², so it is for short texts; long ones want TRL's own layout.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from ace_lib import parallel

IGNORED = -100
# Rows of like length are run together; more groups mean less padding and more calls.
NUM_LENGTH_GROUPS = 4


@dataclass
class _PackedRow:
    """One prompt with all its completions.

    `segments` is 0 on the shared prompt, k on the k-th completion; `targets` holds, for every
    position that predicts a token, (row, column) of that token among the completions.
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    segments: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    targets: list[tuple[int, int]] = field(default_factory=list)


def log_probs_and_entropies(
    model: torch.nn.Module, input_ids: Tensor, attention_mask: Tensor, num_columns: int
) -> tuple[Tensor, Tensor]:
    """Log-probability and entropy at every completion token, 0 where masked.

    Args:
        model: causal language model with TRL's fused head (`GRPOTrainer` adds it).
        input_ids: (rows, prompt + completion), prompts padded left, completions right.
        attention_mask: same shape; a row whose completion is masked whole yields zeros.
        num_columns: columns of the completion part.

    Returns:
        Two tensors of shape (rows, num_columns), nats.
    """
    packed = sorted(_pack(input_ids, attention_mask, num_columns), key=lambda row: len(row.ids))
    size = -(-len(packed) // NUM_LENGTH_GROUPS)
    parts = [packed[start : start + size] for start in range(0, len(packed), size)]
    functions = [partial(_run, model, part, input_ids.device) for part in parts]
    if torch.is_grad_enabled() and parallel.is_small(model):
        values = parallel.run_parts(functions, list(model.parameters()))
    else:
        values = [function() for function in functions]
    targets = [target for part in parts for row in part for target in row.targets]
    index = torch.tensor(targets, dtype=torch.long, device=input_ids.device).reshape(-1, 2)
    flat = torch.cat(values, dim=1)
    result = flat.new_zeros(2, len(input_ids), num_columns)
    result[:, index[:, 0], index[:, 1]] = flat
    return result[0], result[1]


def _pack(input_ids: Tensor, attention_mask: Tensor, num_columns: int) -> Iterator[_PackedRow]:
    """Group rows by prompt and lay each group out as one row."""
    split = input_ids.shape[1] - num_columns
    rows: dict[tuple[int, ...], _PackedRow] = {}
    for number, (ids, mask) in enumerate(
        zip(input_ids.tolist(), attention_mask.tolist(), strict=True)
    ):
        prompt = tuple(t for t, m in zip(ids[:split], mask[:split], strict=True) if m)
        completion = ids[split : split + sum(mask[split:])]
        if prompt not in rows:
            shared = len(prompt) - 1
            rows[prompt] = _PackedRow(
                list(prompt[:-1]), list(range(shared)), [0] * shared, [IGNORED] * shared
            )
        _add_completion(rows[prompt], prompt, completion, number)
    yield from rows.values()


def _add_completion(
    row: _PackedRow, prompt: tuple[int, ...], completion: list[int], number: int
) -> None:
    length = len(completion)
    segment = max(row.segments, default=0) + 1
    row.ids += [prompt[-1], *completion[:-1]][:length]
    row.positions += range(len(prompt) - 1, len(prompt) - 1 + length)
    row.segments += [segment] * length
    row.labels += completion
    row.targets += [(number, column) for column in range(length)]


def _run(model: torch.nn.Module, part: list[_PackedRow], device: torch.device) -> Tensor:
    """Log-probabilities and entropies, (2, tokens), of packed rows padded to the longest."""
    width = max(len(row.ids) for row in part)

    def table(name: str, filler: int) -> Tensor:
        lists = [getattr(row, name) for row in part]
        return torch.tensor([x + [filler] * (width - len(x)) for x in lists], device=device)

    segments = table("segments", -1)
    same = segments[:, :, None] == segments[:, None, :]
    causal = torch.ones(width, width, dtype=torch.bool, device=device).tril()
    visible = causal & (same | (segments[:, None, :] == 0))
    output = model(
        input_ids=table("ids", 0),
        attention_mask=visible[:, None],
        position_ids=table("positions", 0),
        shift_labels=table("labels", IGNORED),
        fused_lm_head=True,
    )
    return torch.stack((output.log_probs, output.entropy))[:, output.label_mask]
