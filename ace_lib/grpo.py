"""TRL's GRPOTrainer with the papers' recipe, our sampler, and exact numbers in its log.

What this adds to TRL, and why:
- `rollout`: completions from `sampling.generate_batch`, seeded by (seed, step), so that a resumed
  run draws what an uninterrupted one would have drawn;
- the prompt of a group is read once in the loss too (`shared_prompt`);
- rows without gradient (advantage 0, or masked) leave the batch before the forward pass. With no
  KL and no entropy term they add exactly 0 to the loss, whose normaliser is computed before;
- the entropy of every sampled token, from the sampler, in place of TRL's mean of batch means.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from ace_lib import sampling, shared_prompt, vllm_engine

# TRL warns that `rollout_func` may change in later releases; the lock holds the one we run with.
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


@dataclass
class Rollout:
    """One generation batch and its verdicts, prompt-major rows of all processes.

    `entropy` is exact with our sampler; vLLM gives only the log-probability of each token, whose
    negative has the entropy as its mean.
    """

    problems: list[int]  # index of each row's problem
    rewards: list[float | None]  # None where there is no verdict
    lengths: list[int]  # tokens, the end of turn included
    truncated: list[bool]  # the length limit came before an end of turn
    entropy: float  # summed over all tokens, nats


class OnPolicyTrainer(GRPOTrainer):
    """GRPOTrainer that samples with the tight loop and drops rows that carry no gradient.

    Args:
        score: (problem indices, completion texts) -> rewards, None where there is no verdict.
        on_rollout: called in every process with every generation batch after it was judged.
        fill: place in the data set -> row with `prompt` (rendered) and `problem` (index handed to
            `score`), when its turn has come.
        share_prompts: use `shared_prompt` in place of TRL's padded rows.
        **kwargs: as GRPOTrainer; `reward_funcs` and `rollout_func` are set here. The data set has
            the column `place`, and an empty `prompt` that TRL asks for.
    """

    def __init__(
        self,
        score: Callable[[list[int], list[str]], list[float | None]],
        on_rollout: Callable[[Rollout], None],
        fill: Callable[[int], dict[str, object]],
        args: GRPOConfig,
        share_prompts: bool = True,
        **kwargs: object,
    ) -> None:
        self._score, self._on_rollout, self._fill = score, on_rollout, fill
        self._share_prompts = share_prompts
        rollout_func = None if args.use_vllm else self._rollout
        if args.use_vllm:
            vllm_engine.prepare_for_training()
        super().__init__(
            reward_funcs=[self._reward], rollout_func=rollout_func, args=args, **kwargs
        )

    def _rollout(self, prompts: list[str], trainer: GRPOTrainer) -> dict[str, list]:
        """TRL's `rollout_func`: prompts come repeated `num_generations` times in a row."""
        distinct = prompts[:: self.num_generations]
        prompt_ids = self._tokenizer(distinct, add_special_tokens=False).input_ids
        # Two seeds a step and process: one for each thread of the sampler.
        turn = self.state.global_step * self.accelerator.num_processes
        turn += self.accelerator.process_index
        self._sampled = sampling.generate_batch(
            self.accelerator.unwrap_model(self.model),
            prompt_ids,
            self.num_generations,
            self.max_completion_length,
            self.temperature,
            self.args.seed * sampling.SEED_STRIDE + 2 * turn,
            self.eos_token_ids,
        )
        repeated = [ids for ids in prompt_ids for _ in range(self.num_generations)]
        return {
            "prompt_ids": repeated,
            "completion_ids": self._sampled.token_ids,
            "logprobs": None,  # one update per batch: the trainer's own are those of the sampler
        }

    def _reward(
        self, completion_ids: list[list[int]], problem: list[int], **columns: object
    ) -> list[float | None]:
        texts = [sampling.decode(self._tokenizer, ids, self.eos_token_ids)
                 for ids in completion_ids]  # fmt: skip
        rewards = self._score(problem, texts)
        lengths = [len(ids) for ids in completion_ids]
        truncated = [ids[-1] not in self.eos_token_ids for ids in completion_ids]
        self._judged = Rollout(problem, rewards, lengths, truncated, entropy=0.0)
        return rewards

    def _generate_and_score_completions(self, inputs: list[dict]) -> dict[str, Tensor]:
        inputs = [self._fill(row["place"]) for row in inputs]
        output = super()._generate_and_score_completions(inputs)
        if "sampling_per_token_logps" in output:
            log_probs = output["sampling_per_token_logps"]  # 0 behind a row's end
            self._judged.entropy = -float(log_probs.nan_to_num().sum())
        else:
            self._judged.entropy = float(self._sampled.entropies.sum())
        self._on_rollout(join(gather_object([self._judged])))
        # TRL gathers a number per row, so all processes keep as many rows as the one with most.
        most = max(gather_object([int(has_gradient(output).sum())]))
        return keep_rows_with_gradient(output, self.args.steps_per_generation, most)

    def _get_per_token_logps_and_entropies(
        self,
        model: torch.nn.Module,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        **options: object,
    ) -> tuple[Tensor, Tensor, None]:
        if not self._share_prompts:
            return super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **options
            )
        with self.accelerator.autocast():
            log_probs, entropies = shared_prompt.log_probs_and_entropies(
                model, input_ids, attention_mask, logits_to_keep
            )
        return log_probs, entropies, None


def join(parts: list[Rollout]) -> Rollout:
    """The rollouts of all processes as one."""
    return Rollout(
        [index for part in parts for index in part.problems],
        [reward for part in parts for reward in part.rewards],
        [length for part in parts for length in part.lengths],
        [flag for part in parts for flag in part.truncated],
        sum(part.entropy for part in parts),
    )


def has_gradient(output: dict[str, Tensor]) -> Tensor:
    """Which rows of a generation batch add to the loss: advantage not 0, mask not empty."""
    return (output["advantages"] != 0) & (output["completion_mask"].sum(1) > 0)


def keep_rows_with_gradient(
    output: dict[str, Tensor], multiple: int, num_wanted: int = 1
) -> dict[str, Tensor]:
    """Drop rows that add nothing to the loss, then columns that hold padding only.

    Args:
        output: what TRL computes for a generation batch; tensors of shape (rows, …) are cut.
        multiple: the number of rows left is a multiple of this and at least this (TRL splits
            the batch that often), filled up with dropped rows.
        num_wanted: at least so many rows are left.
    """
    num_rows = len(output["advantages"])
    useful = has_gradient(output)
    # A stable sort puts useful rows first and keeps their order.
    order = torch.argsort((~useful).int(), stable=True)
    wanted = -(-max(int(useful.sum()), num_wanted, 1) // multiple) * multiple
    rows = order[:wanted]
    kept = {
        key: value[rows] if value.dim() and len(value) == num_rows else value
        for key, value in output.items()
    }
    prompt = kept["prompt_mask"].any(0)
    completion = kept["completion_mask"].any(0)
    completion[0] = True  # all rows may be masked: one column stays
    for key in list(kept):
        if kept[key].dim() == 2:
            kept[key] = kept[key][:, prompt if key.startswith("prompt") else completion]
    return kept
