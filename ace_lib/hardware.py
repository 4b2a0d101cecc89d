"""The machines of `ace plan`: their data sheets, and what a profile must fit into them."""

from collections.abc import Sequence
from dataclasses import dataclass

from ace_lib.model_shapes import ModelShape
from ace_lib.profiles import Compute
from ace_lib.rl import VLLM_MEMORY_SHARE
from ace_lib.workload import Answers, Training, Updates, Work

Range = tuple[float, float]
GIB = 2**30
# Mean answer over longest allowed: P1 shows 4K growing to 6.5K in the 16K stage.
MEAN_LENGTH = (0.25, 0.5)
USABLE_MEMORY = 0.9
STATE_BYTES = 16  # per parameter: float32 weights, gradients and AdamW's two moments
CHECKPOINT_BYTES = 12  # per parameter: float32 weights and AdamW's two moments
LOGIT_TOKENS = 1024  # tokens whose logits exist at once: TRL's head works tile by tile
ENGINE_EXTRA = 3 * GIB  # vLLM's CUDA graphs and activations; assumed
BYTES_PER_TOKEN = 6  # of a row on disk: 4 of the token, 2 of its text, compressed


@dataclass(frozen=True)
class Hardware:
    """One GPU (or the CPU of a laptop), from its data sheet."""

    flops: float  # dense products a second, bf16 (float32 on a CPU)
    bandwidth: float  # memory reads, bytes per second
    memory: float  # bytes
    step_seconds: Range  # cost of one decoding step beside its arithmetic
    utilisation: Range  # share of `flops` that training reaches
    start_seconds: Range  # from the start of a job to its first useful step


_GPU = {"step_seconds": (0.003, 0.008), "utilisation": (0.2, 0.4),
        "start_seconds": (60.0, 240.0)}  # fmt: skip
HARDWARE = {
    # Two cores with AVX2, as measured with this kit's sampler and trainers.
    "none": Hardware(1.6e11, 2e10, 0.0, (0.001, 0.004), (0.15, 0.75), (1.0, 4.0)),
    "a100": Hardware(312e12, 2.04e12, 80e9, **_GPU),
    "h100": Hardware(989e12, 3.35e12, 80e9, **_GPU),
    "h200": Hardware(989e12, 4.8e12, 141e9, **_GPU),
}  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Bytes per GPU at the worst moments of RL and SFT."""

    state: float  # weights, gradients and moments of the trainer
    activations: float
    engine_weights: float
    cache_needed: float  # of one sequence of full length
    engine_room: float  # what RL leaves its sampling engine
    available: float

    @property
    def training(self) -> float:
        """While gradients are taken; the sampling engine sleeps."""
        return self.state + self.activations

    @property
    def sampling(self) -> float:
        """What the engine needs of `engine_room`, one sequence of full length at least."""
        return self.engine_weights + ENGINE_EXTRA + self.cache_needed


def memory_of(compute: Compute, shape: ModelShape, works: Sequence[Work]) -> Memory:
    """Memory of a profile's training and of its sampling in RL."""
    length = max((_tokens_together(work, compute) for work in works), default=0)
    shards = 1 if compute.sharding == "none" else compute.num_processes
    state = STATE_BYTES * shape.num_parameters / shards
    # With checkpointing one hidden state per layer stays, and one layer is worked out anew.
    hidden = 2 * length * shape.hidden_size
    layer = 2 * length * (6 * shape.hidden_size + 3 * shape.intermediate_size)
    logits = 4 * 3 * min(length, LOGIT_TOKENS) * shape.vocabulary
    longest = max((work.max_length for work in works if isinstance(work, Updates)), default=0)
    share = VLLM_MEMORY_SHARE if compute.vllm_mode == "colocate" else USABLE_MEMORY
    return Memory(
        state=state,
        activations=shape.num_layers * hidden + layer + logits,
        engine_weights=2 * shape.num_parameters / compute.tensor_parallel,
        cache_needed=longest * shape.kv_bytes_per_token() / compute.tensor_parallel,
        engine_room=share * HARDWARE[compute.gpu].memory,
        available=USABLE_MEMORY * HARDWARE[compute.gpu].memory,
    )


def _tokens_together(work: Work, compute: Compute) -> int:
    """Tokens that a process learns from in one pass, padding included."""
    if isinstance(work, Answers):
        return 0
    return -(-work.rows_together // compute.num_processes) * work.max_length


def disk_of(compute: Compute, shape: ModelShape, works: Sequence[Work]) -> float:
    """Bytes of the models and training rows that are kept, and of two checkpoints.

    The one to resume from is deleted when the next is whole.
    """
    bytes_per_value = 2 if compute.num_gpus else 4
    num_models = sum(work.num_models for work in works if not isinstance(work, Answers))
    tokens = sum(work.num_rows * work.max_length for work in works if isinstance(work, Training))
    weights = (bytes_per_value * num_models + 2 * CHECKPOINT_BYTES) * shape.num_parameters
    return weights + BYTES_PER_TOKEN * MEAN_LENGTH[1] * tokens
