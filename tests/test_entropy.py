import random

import pytest
import torch
from micro import make_model, make_tokenizer, save_micro

from ace_lib import entropy, sampling
from ace_lib.prompts import render_prompt

PROBLEMS = [
    {"id": str(n), "domain": "math", "prompt": f"What is {n}+1?", "gold": str(n + 1)}
    for n in range(6)
]


def test_measured_entropy_equals_the_one_from_logits(tmp_path):
    path = save_micro(tmp_path / "model")
    result = entropy.measure_entropy(path, PROBLEMS, 0.9, num_samples=3, max_new_tokens=60, seed=5)
    model, tokenizer = make_model(), make_tokenizer()
    prompts = [render_prompt(tokenizer, row) for row in PROBLEMS]
    (groups,) = sampling.sample(path, prompts, 3, 60, 0.9, seed=5)
    total = count = mean_of_means = 0
    for prompt, group in zip(prompts, groups, strict=True):
        prompt_ids = tokenizer(prompt, add_special_tokens=False).input_ids
        for sample in group:
            ids = torch.tensor([prompt_ids + sample.token_ids])
            log_p = torch.log_softmax(model(ids).logits[0, len(prompt_ids) - 1 : -1] / 0.9, -1)
            entropies = -(log_p.exp() * log_p).sum(-1)
            total += entropies.sum().item()
            count += len(entropies)
            mean_of_means += entropies.mean().item() / (3 * len(PROBLEMS))
    assert result["num_tokens"] == count
    assert result["mean"] == pytest.approx(total / count, abs=1e-4)
    assert abs(mean_of_means - total / count) > 1e-5  # the trap: every token must count once
    assert result["low"] < result["mean"] < result["high"]


def test_bootstrap_interval_holds_the_truth():
    rng = random.Random(0)
    hits = 0
    for trial in range(60):
        counts = [rng.randint(5, 40) for _ in range(40)]
        sums = [n * rng.gauss(0.3, 0.1) for n in counts]
        low, high = entropy.bootstrap_ratio(sums, counts, seed=trial)
        hits += low <= 0.3 <= high
    assert hits >= 50


def test_temperature_for_a_target_is_interpolated():
    results = [{"temperature": t, "mean": m} for t, m in ((1.0, 0.5), (0.6, 0.1), (0.8, 0.2))]
    assert entropy.nearest_temperature(results, 0.2) == 0.8
    assert entropy.nearest_temperature(results, 0.3) == 0.87
    assert entropy.nearest_temperature(results, 0.05) == 0.6
    assert entropy.nearest_temperature(results, 2.0) == 1.0
