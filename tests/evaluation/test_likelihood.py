"""Likelihoods of ids: a model reasoned about by hand, a loop without batches, batches that change nothing."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, MambaConfig, MambaForCausalLM

from cslm import CSLMForCausalLM
from cslm.evaluation.likelihood import padded_batch, token_nlls
from tests.worlds.bigram_model import make_bigram

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "vocab_size": 40}
MODELS = {
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(**SIZES, intermediate_size=24, num_attention_heads=2, num_key_value_heads=1)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=16, n_layer=2, n_head=2, vocab_size=40)),
    "mamba": lambda: MambaForCausalLM(MambaConfig(**SIZES, state_size=4)),
}


def random_ids(count: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, 40, generator.integers(1, 30)) for _ in range(count)]


@pytest.fixture(params=MODELS)
def any_model(request):
    torch.manual_seed(0)
    return MODELS[request.param]().eval()


def test_values_are_those_of_a_plain_loop_without_batches(any_model):
    sequences = random_ids(12)
    for ids, found in zip(sequences, token_nlls(any_model, sequences, 64), strict=True):
        with torch.no_grad():
            logits = any_model(input_ids=torch.tensor([ids.tolist()])).logits[0].double()
        plain = [math.log(logits[t].exp().sum()) - float(logits[t, ids[t + 1]]) for t in range(len(ids) - 1)]
        assert found.dtype == np.float32 and found.tolist() == pytest.approx(plain, abs=2e-5)


def test_what_shares_a_batch_changes_nothing(any_model):
    sequences = random_ids(12)
    alone = token_nlls(any_model, sequences, 1)
    together = token_nlls(any_model, sequences, 10_000)
    for one, other in zip(alone, together, strict=True):
        assert one.tolist() == pytest.approx(other.tolist(), abs=2e-5)


def test_equal_sequences_are_read_once_and_tie_exactly(any_model, monkeypatch):
    ids = np.arange(9)
    sequences = [ids, *random_ids(5), ids.copy().astype(np.int32), ids[:5]]
    read = []
    monkeypatch.setattr(
        "cslm.evaluation.likelihood.padded_batch",
        lambda model, rows: read.extend(row.tolist() for row in rows) or padded_batch(model, rows),
    )
    found = token_nlls(any_model, sequences, 32)
    assert found[0].tolist() == found[6].tolist() and len(read) == 7
    assert found[7].tolist() == pytest.approx(found[0][:4].tolist(), abs=2e-5)


def test_rows_that_are_not_allowed_have_no_probability(any_model):
    allowed = torch.zeros(40, dtype=torch.bool)
    allowed[:10] = True
    (found,) = token_nlls(any_model, [np.arange(9)], 32, allowed)
    with torch.no_grad():
        logits = any_model(input_ids=torch.arange(9)[None]).logits[0, :-1, :10].double()
    shares = logits.softmax(-1)
    assert np.exp(-found) == pytest.approx([float(shares[t, t + 1]) for t in range(8)], abs=1e-5)


def test_a_model_that_knows_one_step_by_hand(checkpoint: Path, tmp_path: Path) -> None:
    """After 3 comes 5 with logit 4, all else has 0: its likelihood is e^4 / (e^4 + rows - 1)."""
    model = CSLMForCausalLM.from_pretrained(make_bigram(checkpoint, tmp_path / "bigram", {3: 5})).eval()
    vocabulary = model.processor.vocabulary
    rows = model.lm_head.weight.shape[0]
    ids = np.array([vocabulary.unit_id(unit) for unit in (3, 5, 3, 6)])
    likely, unlikely, uniform = math.log(math.e**4 + rows - 1) - 4, math.log(math.e**4 + rows - 1), math.log(rows)
    (found,) = token_nlls(model, [ids], 32)
    assert found.tolist() == pytest.approx([likely, uniform, unlikely], abs=1e-4)
