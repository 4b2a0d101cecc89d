"""Both cores for a tiny model: independent parts of a batch in two Python threads.

The operations of a small model take microseconds; splitting each over two cores costs more than it
gains. Splitting the *batch* pays: every part runs on one core, and PyTorch lets go of Python's lock
inside an operation. The number of parts is fixed, not taken from the machine, and sums are made in
order, so that results do not depend on the number of cores or on timing.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor

NUM_PARTS = 2
# Above this, one operation is work enough for all cores.
SMALL_MODEL_PARAMETERS = 10_000_000

_pool = ThreadPoolExecutor(NUM_PARTS)


def is_small(model: torch.nn.Module) -> bool:
    """Whether a model gains from parts: few parameters, on a CPU."""
    parameters = list(model.parameters())
    return parameters[0].device.type == "cpu" and (
        sum(p.numel() for p in parameters) < SMALL_MODEL_PARAMETERS
    )


def set_threads(model: torch.nn.Module) -> None:
    """Give each PyTorch operation one core for a small model, all cores for a large one."""
    torch.set_num_threads(1 if is_small(model) else len(os.sched_getaffinity(0)))


def map_parts(function: Callable[[Any], Any], parts: Sequence[Any]) -> list[Any]:
    """Apply `function` to every part, in threads; results in the order of the parts."""
    return list(_pool.map(function, parts))


def run_parts(
    functions: Sequence[Callable[[], Tensor]], parameters: Sequence[Tensor]
) -> list[Tensor]:
    """Outputs of several functions of the same parameters, differentiable, made in threads.

    The functions run at the same time, and so do their backward passes. The gradient of a
    parameter is the sum over the functions in their order, whichever thread is done first.
    """
    return list(_Parts.apply(functions, *parameters))


def split_rows(model: torch.nn.Module) -> None:
    """Make a model with TRL's fused head take the rows of a training batch in parts.

    Call it after the trainer is made, which is what adds the head. The outputs are those that
    SFTTrainer reads; other calls (sampling, evaluation) pass through unchanged.
    """
    from trl.trainer.utils import FusedCausalLMOutput

    whole = model.forward
    parameters = list(model.parameters())

    def forward(*args: Any, **inputs: Any) -> Any:
        if not (torch.is_grad_enabled() and inputs.get("fused_lm_head")):
            return whole(*args, **inputs)
        rows = {k: v for k, v in inputs.items() if isinstance(v, Tensor)}
        rest = {k: v for k, v in inputs.items() if k not in rows}
        split = [value.tensor_split(NUM_PARTS) for value in rows.values()]
        parts = [dict(zip(rows, values, strict=True)) for values in zip(*split, strict=True)]

        def call(part: dict[str, Tensor]) -> Tensor:
            output = whole(**part, **rest)
            is_top1 = output.is_top1.to(output.log_probs.dtype)
            return torch.stack((output.log_probs, output.entropy, is_top1))

        functions = [partial(call, part) for part in parts if len(part["input_ids"])]
        log_probs, entropy, is_top1 = torch.cat(run_parts(functions, parameters), dim=1)
        return FusedCausalLMOutput(
            log_probs=log_probs,
            entropy=entropy,
            is_top1=is_top1.bool(),
            label_mask=inputs["labels"][:, 1:] != -100,
        )

    model.forward = forward


class _Parts(torch.autograd.Function):
    @staticmethod
    def forward(
        context: Any, functions: Sequence[Callable[[], Tensor]], *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        def call(function: Callable[[], Tensor]) -> Tensor:
            with torch.enable_grad():
                return function()

        context.outputs, context.parameters = map_parts(call, functions), parameters
        return tuple(output.detach() for output in context.outputs)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        def differentiate(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
            return torch.autograd.grad(pair[0], context.parameters, pair[1])

        pairs = list(zip(context.outputs, gradients, strict=True))
        per_part = map_parts(differentiate, pairs)
        totals = [sum(grads[1:], start=grads[0]) for grads in zip(*per_part, strict=True)]
        return (None, *totals)
