"""Activations are computed twice, and transformers has nothing to warn of."""

from __future__ import annotations

import warnings

import torch

from cslm.model.activation_checkpointing import checkpoint_activations
from cslm.model.speech_prompt.speech_prompt import freeze
from tests.worlds.tiny_models import tiny_model


def test_users_were_warned_of_a_deprecated_method():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = tiny_model("llama")
        checkpoint_activations(model)
    assert _runs(model, torch.zeros(1, 3, model.config.hidden_size)) == 2


def test_a_frozen_language_model_kept_all_its_activations():
    """It is opened in evaluation mode, in which transformers passes over the setting."""
    model = freeze(tiny_model("llama"))
    embeddings = torch.randn(1, 3, model.config.hidden_size, requires_grad=True)
    before = model(inputs_embeds=embeddings).logits
    assert _runs(model, embeddings) == 1
    checkpoint_activations(model)
    assert _runs(model, embeddings) == 2
    assert torch.equal(model(inputs_embeds=embeddings).logits, before), "no dropout is left"


def _runs(model, embeddings):
    """How often a layer runs: once in the forward pass, and perhaps once again in the backward pass."""
    runs = []
    hook = model.model.layers[0].self_attn.register_forward_hook(lambda *_: runs.append(1))
    model(inputs_embeds=embeddings, use_cache=False).logits.sum().backward()
    hook.remove()
    return len(runs)
