import random

import pytest
import torch
from micro import make_model, make_tokenizer, save_micro

from ace_lib import AceError, entropy, sampling
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


def curve(temperature: float) -> dict:
    """An entropy that rises like a model's: slowly, then steeply."""
    return {"temperature": temperature, "mean": 0.2 * temperature**4}


@pytest.mark.parametrize("target", [0.05, 0.15, 0.3, 0.9])
def test_choosing_a_temperature_brackets_the_target_and_measures_it(target):
    measured = []

    def measure(temperature):
        measured.append(temperature)
        return curve(temperature)

    found = entropy.choose_temperature(measure, [curve(t) for t in (0.6, 1.0, 1.8)], target)
    assert abs(found["mean"] - target) <= entropy.TOLERANCE * target
    assert len(measured) <= 2  # a line in log-log is exact for a power of T
    assert found["temperature"] == (measured[-1] if measured else found["temperature"])


def test_choosing_a_temperature_ends_where_two_digits_end():
    steep = [{"temperature": t, "mean": m} for t, m in ((0.9, 0.1), (0.91, 2.0))]

    def never(temperature):
        raise AssertionError(f"measured {temperature}, between 0.90 and 0.91")

    assert entropy.choose_temperature(never, steep, 0.3)["temperature"] == 0.9
    with pytest.raises(AceError, match="0.100 to 2.000 nats, the target is 3: widen"):
        entropy.choose_temperature(never, steep, 3)
    assert entropy.nearest_temperature(steep, 1.9) == 0.91


def test_sampled_estimate_agrees_with_the_exact_one_within_its_interval(tmp_path):
    path = save_micro(tmp_path / "model")
    result = entropy.measure_entropy(path, PROBLEMS, 1.0, num_samples=40, max_new_tokens=40, seed=1)
    assert result["sampled"]["low"] <= result["mean"] <= result["sampled"]["high"]
    widths = [part["high"] - part["low"] for part in (result, result["sampled"])]
    assert widths[1] > widths[0]


def test_one_pass_gives_the_entropies_of_all_temperatures(monkeypatch):
    from ace_lib import entropy_pass

    monkeypatch.setattr(entropy_pass, "TOKENS_PER_CHUNK", 7)  # so that rows are cut apart
    monkeypatch.setattr(entropy_pass, "ROWS_PER_PASS", 3)
    model = make_model()
    prompts = [[5, 6, 7], [8, 9], [5], [11, 12, 13, 14]]
    completions = [[20, 21, 22, 23, 24], [30], [40, 41, 42], [50, 51, 52, 53, 54, 55, 56, 57]]
    temperatures = [0.3, 1.0, 2.5]
    found = entropy_pass.token_entropies(model, prompts, completions, temperatures)
    for prompt, completion, ours in zip(prompts, completions, found, strict=True):
        logits = model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        for temperature, row in zip(temperatures, ours, strict=True):
            truth = torch.distributions.Categorical(logits=logits / temperature).entropy()
            assert torch.allclose(row, truth, atol=1e-4)
