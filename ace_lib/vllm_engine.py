"""Sampling with vLLM behind `sampling.sample`; imported only where a profile says `engine: vllm`.

One engine lives in a process, for its memory comes back with the process only: run it in the child
of `ace_lib.launch`. Versions that belong together are in the locks.
"""

import os
from collections.abc import Sequence
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

_engine: dict[str, object] = {}


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
    import torch

    on_gpu = torch.cuda.is_available()
    if not on_gpu:
        for name, value in CPU_ENVIRONMENT.items():
            os.environ.setdefault(name, value)
    try:
        from vllm import SamplingParams
    except ImportError as error:
        raise VLLMMissing(
            "engine: vllm needs vLLM, which `make env GPU=1` installs; or set engine: transformers"
        ) from error
    engine = _load(str(model_path), on_gpu)
    options = SamplingParams(
        n=num_samples, temperature=temperature, top_p=top_p, top_k=0, max_tokens=max_new_tokens,
        seed=seed, logprobs=0, skip_special_tokens=False,
    )  # fmt: skip
    outputs = engine.generate(list(prompts), options, use_tqdm=False)
    return [[_to_sample(completion) for completion in output.outputs] for output in outputs]


def _load(model_path: str, on_gpu: bool) -> object:
    """The engine of this process, made anew when the model changes."""
    from vllm import LLM

    if model_path not in _engine:
        _engine.clear()
        dtype = "bfloat16" if on_gpu else "float32"
        _engine[model_path] = LLM(
            model_path,
            dtype=dtype,
            enforce_eager=not on_gpu,
            logprobs_mode="processed_logprobs",
        )
    return _engine[model_path]


def _to_sample(completion: object) -> Sample:
    logprobs = [next(iter(entry.values())).logprob for entry in completion.logprobs]
    truncated = completion.finish_reason == "length"
    return Sample(completion.text, list(completion.token_ids), truncated, logprobs, [])
