"""Activations that are computed a second time in the backward pass instead of being kept."""

from __future__ import annotations

from transformers import PreTrainedModel


def checkpoint_activations(model: PreTrainedModel) -> None:
    """Have each layer of the model compute its activations again in the backward pass.

    The model is in training mode then: transformers keeps all activations in any other, of frozen models too.

    transformers 5 renamed the method, and warns of the former name, which is the only one of transformers 4.
    """
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    enable({"use_reentrant": False})
    model.train()
