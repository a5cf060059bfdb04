"""Beginnings that are read once: the same values as without, fewer ids read, and models that cannot do so."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from cslm.evaluation import shared_beginnings
from cslm.evaluation.likelihood import token_nlls
from cslm.evaluation.shared_beginnings import shared_nlls
from tests.evaluation.test_likelihood import MODELS

SLIDING = {"sliding_window": 4, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "vocab_size": 40}
ALL = {
    **MODELS,
    "sliding": lambda: MistralForCausalLM(MistralConfig(**SLIDING, num_attention_heads=2, num_key_value_heads=1)),
}


def stories() -> tuple[list[np.ndarray], list[int]]:
    """Five beginnings with four endings each, one of which comes twice, and sequences without a beginning."""
    generator = np.random.default_rng(0)
    sequences, starts = [], []
    for _ in range(5):
        head = generator.integers(0, 40, generator.integers(1, 20))
        tails = [generator.integers(0, 40, generator.integers(1, 9)) for _ in range(4)]
        for tail in [*tails, tails[0]]:
            sequences.append(np.concatenate([head, tail]))
            starts.append(len(head))
    alone = [generator.integers(0, 40, length) for length in (1, 5, 12)]
    return [*sequences, *alone], [*starts, 0, 0, 7]


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("batch_tokens", [1, 4096])
def test_values_are_those_of_sequences_read_whole(kind, batch_tokens):
    torch.manual_seed(0)
    model = ALL[kind]().eval()
    sequences, starts = stories()
    allowed = torch.arange(40) < 30 if kind == "llama" else None
    sequences = [ids % 30 for ids in sequences]
    whole = token_nlls(model, sequences, 4096, allowed)
    shared = shared_nlls(model, sequences, starts, batch_tokens, allowed)
    for one, other in zip(whole, shared, strict=True):
        assert other.dtype == np.float32 and other.tolist() == pytest.approx(one.tolist(), abs=2e-5)
    assert shared[0].tolist() == shared[4].tolist()


def test_a_beginning_is_read_once_however_many_endings_it_has(monkeypatch):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "vocab_size": 40}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1)).eval()
    head = np.arange(30)
    sequences = [np.concatenate([head, [ending, ending + 1]]) for ending in range(8)]
    read, forward = [], model.forward
    monkeypatch.setattr(model, "forward", forward)
    model.register_forward_pre_hook(lambda _, __, given: read.append(given["input_ids"].numel()), with_kwargs=True)
    shared_nlls(model, sequences, [30] * 8, 4096)
    assert sum(read) == 1 + 30 + 8 * 2  # what finds out what the model keeps, the beginning, the endings
    read.clear()
    monkeypatch.setattr(shared_beginnings, "_keeps_keys_and_values", lambda model: False)
    shared_nlls(model, sequences, [30] * 8, 4096)
    assert sum(read) == 8 * 32


@pytest.mark.parametrize(("kind", "keeps"), [("llama", True), ("gpt2", True), ("mamba", False), ("sliding", False)])
def test_models_that_keep_something_else_read_every_sequence_whole(kind, keeps):
    assert shared_beginnings._keeps_keys_and_values(ALL[kind]().eval()) is keeps
