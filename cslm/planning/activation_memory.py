"""The memory of one micro-batch, found by running it on tensors without contents.

The real model's forward and backward run under PyTorch's fake tensors, which have shapes and no memory, while every
storage that comes and goes is counted: no formula for an architecture, and checkpointing, the chunks of the loss and
the attention of documents are what they are in training.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PretrainedConfig

from cslm.batches.packed_row import PackedRow
from cslm.model.activation_checkpointing import checkpoint_activations
from cslm.model.backbone import model_of_shape
from cslm.model.cpu_layers import use_cpu_layers
from cslm.model.lora import LoraOptions, add_lora
from cslm.model.loss import LanguageModelLoss

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class ActivationMemory:
    """Bytes of one micro-batch beside weights and gradients."""

    kept: int
    """what the layers keep for the backward pass"""
    head: int
    """most that logits and their loss take beyond, while they exist"""
    working: int
    """most that the layers take beyond while they compute, forward or backward"""

    @property
    def peak(self) -> int:
        """The most at any time: logits are gone when the layers run backward."""
        return self.kept + max(self.head, self.working)


class _Storages(TorchDispatchMode):
    """Counts the bytes of every storage that an operation makes, until nobody holds it."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.most = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        inputs = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in inputs:
                self._note(leaf.untyped_storage())
        return result

    def _note(self, storage: Any) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self._known:
            return
        self._known.add(place)
        self.alive += size
        self.most = max(self.most, self.alive)
        weakref.finalize(storage, self._forget, place, size)

    def _forget(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.alive -= size

    def most_since(self) -> int:
        """The most bytes since the last call."""
        most, self.most = self.most, self.alive
        return most


def activation_memory(
    shape: PretrainedConfig,
    attention: str,
    precision: str,
    lengths: Sequence[int],
    num_targets: int,
    checkpointing: bool,
    on_cpu: bool = False,
    lora: LoraOptions | None = None,
) -> ActivationMemory | None:
    """The memory of a row of documents of these ``lengths``, of which ``num_targets`` positions are trained.

    Args:
        on_cpu: with the layers that CPUs use.
        lora: with these small matrices beside frozen layers.

    Returns:
        None for a model that cannot run without contents (a mixture of experts asks where its tokens go).
    """
    with torch.device("meta"):
        model = model_of_shape(shape, attention, _DTYPES[precision])
        if lora is not None:
            add_lora(model, lora)
    with FakeTensorMode(allow_non_fake_inputs=True):
        _fill_without_contents(model)
        if on_cpu:
            use_cpu_layers(model)
        if checkpointing:
            checkpoint_activations(model)
        for parameter in filter(lambda it: it.requires_grad, model.parameters()):
            parameter.register_post_accumulate_grad_hook(_drop_gradient)
        try:
            return _run(LanguageModelLoss(model, 1), lengths, num_targets)
        except (RuntimeError, NotImplementedError):
            return None


def _fill_without_contents(model: nn.Module) -> None:
    """Tensors of the mode that is in force in the place of those of the device ``meta``; shared ones stay shared."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for name, own in module._parameters.items():
            if own is not None and id(own) not in made:
                made[id(own)] = nn.Parameter(torch.empty(own.shape, dtype=own.dtype), own.requires_grad)
            module._parameters[name] = made.get(id(own))  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else torch.empty(buffer.shape, dtype=buffer.dtype)


def _run(module: LanguageModelLoss, lengths: Sequence[int], num_targets: int) -> ActivationMemory:
    tokens, targets = (torch.zeros(shape, dtype=torch.int64) for shape in ((1, sum(lengths)), (num_targets,)))
    boundaries = tuple(accumulate(lengths, initial=0))
    row = PackedRow(tokens, tokens, boundaries, targets, targets, torch.ones(num_targets), targets)
    marks: dict[str, int] = {}
    storages = _Storages()

    def after_layers(decoder: Any, arguments: Any, output: Any) -> None:
        if getattr(output, "last_hidden_state", None) is None:
            raise NotImplementedError(f"{type(decoder).__name__} gives no hidden states to tell layers from head")
        marks["forward"], marks["kept"] = storages.most_since(), storages.alive
        output.last_hidden_state.register_hook(before_layers)

    def before_layers(gradient: Tensor) -> None:
        marks.setdefault("head", storages.most_since())

    module.model.get_decoder().register_forward_hook(after_layers)
    with storages:
        module(row).weighted_sum.backward()
    kept, layers = marks["kept"], max(marks["forward"], storages.most_since())
    return ActivationMemory(kept, max(0, marks.get("head", kept) - kept), max(0, layers - kept))


def _drop_gradient(parameter: Tensor) -> None:
    """Gradients of weights are counted elsewhere."""
    parameter.grad = None
