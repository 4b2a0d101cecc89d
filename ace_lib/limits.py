"""What values a parameter may take. A name means the same in every notebook, so limits go by name.

A rule holds for a name that equals it or ends with "_" plus it; names with a plural "s" count too
(`temperatures`). The longest rule that fits decides, then the prefix `num_`.
"""

import math
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Limit:
    """A closed range, one open below (`above`), or a list of choices."""

    low: float = -math.inf
    high: float = math.inf
    above: float = -math.inf
    choices: tuple[str, ...] = ()

    def allows(self, value: Any) -> bool:
        """Say whether `value` lies within the limit."""
        if self.choices:
            return value in self.choices
        return self.low <= value <= self.high and value > self.above

    def __str__(self) -> str:
        bounds = {"at least": self.low, "above": self.above, "at most": self.high}
        parts = [f"{name} {bound:g}" for name, bound in bounds.items() if math.isfinite(bound)]
        return " or ".join(self.choices) or ", ".join(parts)


COUNT = Limit(low=1)
SHARE = Limit(low=0, high=1)
LIMITS = {
    "batch_size": COUNT,
    "domain": Limit(choices=("math", "code")),
    "engine": Limit(choices=("transformers", "vllm")),
    "fraction": SHARE,
    "importance_sampling": Limit(
        choices=("token_truncate", "token_mask", "sequence_truncate", "sequence_mask")
    ),
    "learning_rate": Limit(above=0, high=1),
    "length": COUNT,
    "map_engine": Limit(choices=("datasets", "ray")),
    "num_generations": Limit(low=2),  # a group of one has no advantage
    "num_iterations": COUNT,
    "num_samples": COUNT,
    "num_train_epochs": COUNT,
    "prompts_per_batch": COUNT,
    "rate": SHARE,
    "rope_theta": Limit(above=0),
    "samples_per_benchmark": COUNT,
    "seconds": Limit(above=0),
    "seed": Limit(low=0, high=2**32 - 1),
    "share": SHARE,
    "steps": COUNT,
    "temperature": Limit(above=0, high=5),
    "time_limit": Limit(above=0),
    "tokens": COUNT,
    "tracking": Limit(choices=("none", "tensorboard", "trackio", "wandb", "mlflow")),
    "truncated": SHARE,
    "top_p": Limit(above=0, high=1),
    "weight_decay": SHARE,
}


def limit_of(name: str) -> Limit | None:
    """Return the limit for a parameter of this name, or None where any value will do."""
    for candidate in (name, name.removesuffix("s")):
        rules = [r for r in LIMITS if candidate == r or candidate.endswith(f"_{r}")]
        if rules:
            return LIMITS[max(rules, key=len)]
    return Limit(low=0) if name.startswith("num_") else None
