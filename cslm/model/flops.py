"""Floating-point operations that a training step of a causal language model needs, counted from the model's shapes.

These are *model* FLOPs, the ones that MFU divides by what the devices could do: a product of (n, k) and (k, m) is
``2 n k m``; forward and backward together are three times the forward pass; what is computed again (checkpointing of
activations) does not count. Frozen weights (LoRA) have no gradient: they cost the forward pass twice. Norms, rotary
embeddings, activations and the softmax are left out: they are no matrix products and take well under a percent.
Source of the rule: Chowdhery et al. 2022 (arXiv 2204.02311, appendix B).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

_FORWARD_AND_BACKWARD = 3
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
_ATTENTIONS = ("full_attention", "sliding_attention")


@dataclass(frozen=True)
class ModelFlops:
    """What one token, one trained position and one pair of positions cost in the forward pass."""

    per_token: int
    """of all linear layers but the head: every token passes them"""
    per_target: int
    """of the head: only positions that predict a trained token reach it"""
    per_pair: int
    """of one layer's attention, for a query and a key that it sees: their score, and the value that is added"""
    windows: tuple[int | None, ...]
    """for each layer with attention how many positions it sees, itself included; None sees all before it"""
    frozen_per_token: int = 0
    """of ``per_token``, that of weights that do not learn"""
    frozen_per_target: int = 0
    """of ``per_target``, the same"""

    def forward(self, lengths: Iterable[int], num_targets: int = 0) -> int:
        """The forward pass over documents of these lengths, each attending to itself alone."""
        tokens = pairs = 0
        kinds = {window: self.windows.count(window) for window in set(self.windows)}
        for length in lengths:
            tokens += length
            pairs += sum(count * _pairs(length, window) for window, count in kinds.items())
        return tokens * self.per_token + num_targets * self.per_target + pairs * self.per_pair

    def step(self, lengths: Iterable[int], num_targets: int) -> int:
        """Forward and backward of documents of these lengths, each attending to itself alone."""
        lengths = list(lengths)
        tokens, forward = sum(lengths), self.forward(lengths, num_targets)
        return _FORWARD_AND_BACKWARD * forward - tokens * self.frozen_per_token - num_targets * self.frozen_per_target


def model_flops(model: PreTrainedModel) -> ModelFlops | None:
    """The costs of ``model``, on any device (meta included) and sharded or not: weights are never looked at.

    None for what this count does not know: mixtures of experts, whose tokens do not pass all weights, and layers that
    are neither full nor sliding attention.
    """
    config: Any = model.config.get_text_config()
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    if any(getattr(config, name, None) for name in _EXPERTS) or not set(kinds) <= set(_ATTENTIONS):
        return None
    if getattr(config, "num_attention_heads", None) is None:  # layers without attention
        return None
    head = model.get_output_embeddings()
    layers = [module for module in model.modules() if module is not head]
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    window = getattr(config, "sliding_window", None)
    return ModelFlops(
        per_token=2 * sum(map(_weights, layers)),
        per_target=2 * _weights(head),
        per_pair=4 * config.num_attention_heads * head_dim,
        windows=tuple(window if kind == "sliding_attention" else None for kind in kinds),
        frozen_per_token=2 * sum(_weights(module) for module in layers if _is_frozen(module)),
        frozen_per_target=2 * _weights(head) if _is_frozen(head) else 0,
    )


def _weights(module: nn.Module) -> int:
    """Weights of a linear layer, from its attributes: under ZeRO-3 the weight itself is empty. Else 0."""
    if isinstance(module, nn.Linear):
        return module.in_features * module.out_features
    return int(module.nx * module.nf) if isinstance(module, Conv1D) else 0


def _is_frozen(module: Any) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and not weight.requires_grad


def _pairs(length: int, window: int | None) -> int:
    """Pairs of a position and one that it sees: itself and those before it, ``window`` at most."""
    hidden = max(0, length - window) if window is not None else 0
    return length * (length + 1) // 2 - hidden * (hidden + 1) // 2
