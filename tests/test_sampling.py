import importlib.util

import pytest
import torch
from micro import make_model, make_tokenizer, save_micro
from transformers import LlamaConfig, LlamaForCausalLM

from ace_lib import sampling
from ace_lib.decoder import Decoder, UnsupportedModel
from ace_lib.vllm_engine import VLLMMissing

PROMPTS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16, 17]]


def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def make_llama() -> LlamaForCausalLM:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=50, hidden_size=24, intermediate_size=40, num_hidden_layers=2,
        num_attention_heads=3, num_key_value_heads=1, initializer_range=0.4,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


@pytest.mark.parametrize("make", [make_model, make_llama])
def test_decoder_gives_the_models_logits(make):
    model = make()
    decoder = Decoder(model)
    logits = decoder.start(PROMPTS, num_samples=2, max_new_tokens=6)
    rows = [list(p) for p in PROMPTS for _ in range(2)]
    for step in range(6):
        for row, got in zip(rows, logits, strict=True):
            want = model(torch.tensor([row])).logits[0, -1]
            torch.testing.assert_close(got, want, atol=1e-4, rtol=1e-4)
        tokens = [(7 * step + 3 * i) % 40 for i in range(len(rows))]
        rows = [row + [t] for row, t in zip(rows, tokens, strict=True)]
        logits = decoder.step(torch.tensor(tokens))
        if step == 2:  # the rows that stay are not disturbed
            kept = [0, 3, 5]
            decoder.keep(torch.tensor(kept))
            rows, logits = [rows[i] for i in kept], logits[kept]


def test_decoder_refuses_what_it_cannot_do():
    model = make_model()
    model.config.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(UnsupportedModel, match="engine: vllm"):
        Decoder(model)
    model.config.model_type = "mamba"
    with pytest.raises(UnsupportedModel, match="mamba"):
        Decoder(model)


def test_greedy_equals_transformers_generate():
    model = make_model()
    batch = sampling.generate_batch(model, PROMPTS, 1, 12, 0, 0, [1])
    for prompt, got in zip(PROMPTS, batch.token_ids, strict=True):
        ids = torch.tensor([prompt])
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
        )
        assert got == out[0, len(prompt) :].tolist()


@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_logprobs_and_entropies_are_those_of_the_model(top_p):
    model = make_model()
    batch = sampling.generate_batch(model, PROMPTS, 3, 9, 0.7, 0, [1, 30, 40], top_p)
    for row, ids in enumerate(batch.token_ids):
        prompt = PROMPTS[row // 3]
        logits = model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1] / 0.7
        log_p = torch.log_softmax(logits, -1)
        want = log_p.gather(1, torch.tensor(ids)[:, None])[:, 0]
        entropy = -(log_p.exp() * log_p).sum(-1)
        torch.testing.assert_close(batch.logprobs[row, : len(ids)], want, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(batch.entropies[row, : len(ids)], entropy, atol=1e-4, rtol=1e-4)
        assert not batch.entropies[row, len(ids) :].any()


def test_completions_end_at_an_end_token_or_are_truncated():
    ends = list(range(1, 60))
    batch = sampling.generate_batch(make_model(), PROMPTS, 40, 8, 1.0, 0, ends)
    assert any(batch.truncated) and not all(batch.truncated)
    for ids, truncated in zip(batch.token_ids, batch.truncated, strict=True):
        assert (ids[-1] in ends) != truncated
        assert not set(ids[:-1]) & set(ends)
        assert len(ids) == 8 or not truncated


def test_sampled_frequencies_follow_the_distribution():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    log_p = p.log().expand(20_000, 4)
    counts = torch.bincount(sampling._choose(log_p, 1.0, 1.0, rng()), minlength=4) / 20_000
    torch.testing.assert_close(counts, p, atol=0.012, rtol=0)
    # The nucleus of 0.7 is the first two tokens: 0.5 alone is short of it.
    counts = torch.bincount(sampling._choose(log_p, 1.0, 0.7, rng()), minlength=4) / 20_000
    torch.testing.assert_close(counts, torch.tensor([0.625, 0.375, 0, 0]), atol=0.012, rtol=0)


def test_top_p_is_exact_where_the_nucleus_is_wide():
    log_p = torch.full((4000, 100), 0.01).log()
    chosen = sampling._choose(log_p, 1.0, 0.5, rng())
    # 50 of 100 equal tokens, one more or less by rounding; 32 candidates would not be enough.
    assert 49 <= chosen.unique().numel() <= 51


def test_same_seed_same_completions():
    model = make_model()
    first, again, other = (
        sampling.generate_batch(model, PROMPTS, 2, 9, 1.0, seed, [1]).token_ids
        for seed in (3, 3, 4)
    )
    assert first == again != other


def test_sample_keeps_order_and_decodes(tmp_path):
    path = save_micro(tmp_path / "model")
    prompts = ["one", "two and more", "three"]
    chunks = list(sampling.sample(path, prompts, 2, 5, 1.0, max_rows=4))
    assert [len(chunk) for chunk in chunks] == [2, 1]
    groups = [group for chunk in chunks for group in chunk]
    assert [len(group) for group in groups] == [2, 2, 2]
    sample = groups[1][0]
    assert len(sample.token_ids) == len(sample.logprobs) == len(sample.entropies) <= 5


def test_decode_drops_only_the_end_token():
    tokenizer = make_tokenizer()
    ids = tokenizer("a<s>b", add_special_tokens=False).input_ids
    assert sampling.decode(tokenizer, [*ids, 1], [1]) == "a<s>b"
    assert sampling.decode(tokenizer, ids, [1]) == "a<s>b"


HAS_VLLM = importlib.util.find_spec("vllm") is not None


@pytest.mark.skipif(HAS_VLLM, reason="vLLM is installed")
def test_missing_vllm_says_how_to_get_it(tmp_path):
    with pytest.raises(VLLMMissing, match="make env GPU=1"):
        next(sampling.sample(tmp_path, ["a"], 1, 5, 1.0, engine="vllm"))
