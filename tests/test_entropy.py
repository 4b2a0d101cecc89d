import math
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


def test_uniform_distribution_has_the_log_of_the_vocabulary():
    model = make_model()
    for parameter in model.parameters():
        torch.nn.init.zeros_(parameter)
    ids, mask = torch.randint(3, 100, (3, 8)), torch.ones(3, 8)
    for temperature in (0.5, 2.0):
        got = entropy.temperature_adjusted_entropy(model, ids, mask, temperature)
        assert got == pytest.approx(math.log(260), abs=1e-5)


def test_every_token_counts_once():
    model = make_model()
    ids = torch.randint(3, 100, (2, 10))
    mask = torch.zeros(2, 10)
    mask[0, 5:6], mask[1, 3:10] = 1, 1
    log_p = torch.log_softmax(model(ids).logits / 0.8, -1)
    each = -(log_p.exp() * log_p).sum(-1)
    want = torch.cat((each[0, 4:5], each[1, 2:9])).mean()
    got = [entropy.temperature_adjusted_entropy(model, ids, mask, 0.8, rows) for rows in (1, 2)]
    assert got == pytest.approx([want.item()] * 2, abs=1e-5)
    mean_of_means = (each[0, 4] + each[1, 2:9].mean()) / 2
    assert abs(mean_of_means - want) > 1e-3  # the trap


def test_empty_mask_is_refused():
    with pytest.raises(ValueError, match="no token"):
        entropy.temperature_adjusted_entropy(
            make_model(), torch.ones(1, 3).long(), torch.zeros(1, 3), 1.0
        )


def test_measured_entropy_equals_the_one_from_logits(tmp_path):
    path = save_micro(tmp_path / "model")
    result = entropy.measure_entropy(path, PROBLEMS, 0.9, num_samples=3, max_new_tokens=7, seed=5)
    model, tokenizer = make_model(), make_tokenizer()
    prompts = [render_prompt(tokenizer, row) for row in PROBLEMS]
    groups = sampling.sample(path, prompts, 3, 7, 0.9, seed=5)
    total = count = 0
    for prompt, group in zip(prompts, groups, strict=True):
        prompt_ids = tokenizer(prompt, add_special_tokens=False).input_ids
        for sample in group:
            ids = torch.tensor([prompt_ids + sample.token_ids])
            mask = (torch.arange(ids.shape[1]) >= len(prompt_ids))[None].float()
            here = len(sample.token_ids)
            total += here * entropy.temperature_adjusted_entropy(model, ids, mask, 0.9)
            count += here
    assert result["num_tokens"] == count
    assert result["mean"] == pytest.approx(total / count, abs=1e-4)
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
