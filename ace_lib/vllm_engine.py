"""Sampling with vLLM behind `sampling.sample`, for a profile that says `engine: vllm`.

Every call has a process of its own: an engine gives its memory back only with its process, and a
second engine in one process hangs on a CPU. Versions that belong together are in the locks.
"""

import importlib.util
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ace_lib import AceError
from ace_lib.sampling import Sample

# On a CPU: without these vLLM reserves 21 GiB and takes two minutes to start.
CPU_ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
}


class VLLMMissing(AceError):
    """`engine: vllm` was asked for and vLLM is not installed."""


def sample(
    model_path: Path | str,
    prompts: Sequence[str],
    num_samples: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
) -> list[list[Sample]]:
    """As `sampling.sample`. Log-probabilities are of the tempered distribution; no entropies.

    Raises:
        VLLMMissing: vLLM is not installed.
    """
    if importlib.util.find_spec("vllm") is None:
        raise VLLMMissing(
            "engine: vllm needs vLLM, which `make env GPU=1` installs; or set engine: transformers"
        )
    options = {"n": num_samples, "max_tokens": max_new_tokens, "temperature": temperature,
               "top_p": top_p}  # fmt: skip
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_sample, str(model_path), list(prompts), options, seed).result()


def prepare_for_training() -> None:
    """Make vLLM on a CPU take new weights; call it before an engine starts beside a trainer.

    There vLLM packs its weights for oneDNN, after which a sync from the trainer fails (float32)
    or goes unnoticed. Without the packing it is exact; a GPU needs nothing.
    """
    import torch

    if not torch.cuda.is_available():
        os.environ.update(CPU_ENVIRONMENT)
        from vllm import _custom_ops

        _custom_ops._supports_onednn = False


def _sample(model_path: str, prompts: list[str], options: dict, seed: int) -> list[list[Sample]]:
    """Make an engine and sample; runs in a process of its own."""
    import torch

    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        os.environ.update(CPU_ENVIRONMENT)
    from vllm import LLM, SamplingParams

    # The seed is the engine's: on a CPU vLLM draws wrongly with seeds of single requests.
    engine = LLM(
        model_path,
        seed=seed,
        dtype="bfloat16" if on_gpu else "float32",
        enforce_eager=not on_gpu,
        logprobs_mode="processed_logprobs",
    )
    parameters = SamplingParams(**options, top_k=0, logprobs=0, skip_special_tokens=False)
    outputs = engine.generate(prompts, parameters, use_tqdm=False)
    return [[_to_sample(completion) for completion in output.outputs] for output in outputs]


def _to_sample(completion: object) -> Sample:
    logprobs = [next(iter(entry.values())).logprob for entry in completion.logprobs]
    truncated = completion.finish_reason == "length"
    return Sample(completion.text, list(completion.token_ids), truncated, logprobs, [])
