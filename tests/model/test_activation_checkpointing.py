"""Activations are computed twice, and transformers has nothing to warn of."""

from __future__ import annotations

import warnings

import torch

from cslm.model.activation_checkpointing import checkpoint_activations
from tests.worlds.tiny_models import tiny_model


def test_users_were_warned_of_a_deprecated_method():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = tiny_model("llama")
        checkpoint_activations(model.train())
    runs = []
    hook = model.model.layers[0].self_attn.register_forward_hook(lambda *_: runs.append(1))
    model(torch.tensor([[1, 2, 3]])).logits.sum().backward()
    hook.remove()
    assert len(runs) == 2, "once in the forward pass, once again in the backward pass"
