"""The memory of one micro-batch, found by running it on tensors without contents.

The real model's forward and backward run under PyTorch's fake tensors, which have shapes and no memory, while every
storage that comes and goes is counted: no formula for an architecture, and checkpointing, the chunks of the loss and
the attention of documents are what they are in training.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
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


class Storages(TorchDispatchMode):
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


def _as_if_all(func: Any, args: Any) -> tuple[Any, Any]:
    """Where a mask chooses, everything is chosen: how much it is hangs on contents, and this is the most."""
    if func is torch.ops.aten.nonzero.default:
        (mask,) = args
        return lambda mask: torch.zeros(mask.numel(), mask.dim(), dtype=torch.int64), (mask,)
    if func is torch.ops.aten.index.Tensor and any(it is not None and it.dtype == torch.bool for it in args[1]):
        places: list[Any] = []
        for index in args[1]:
            is_mask = index is not None and index.dtype == torch.bool
            places += [torch.zeros(index.numel(), dtype=torch.int64)] * index.dim() if is_mask else [index]
        return func, (args[0], places)
    return func, args


class AllChosen(TorchDispatchMode):
    """In the block masks choose everything."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        func, args = _as_if_all(func, args)
        return func(*args, **(kwargs or {}))


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
        fill_without_contents(model)
        if on_cpu:
            use_cpu_layers(model)
        if checkpointing:
            checkpoint_activations(model)
        drop_gradients(model)
        module, row = LanguageModelLoss(model, 1), row_without_contents(lengths, num_targets)
        try:
            return measured_run(model.get_decoder(), lambda: module(row).weighted_sum)
        except (RuntimeError, NotImplementedError):
            return None


def fill_without_contents(model: nn.Module) -> None:
    """Tensors of the mode that is in force in the place of those of the device ``meta``; shared ones stay shared."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for name, own in module._parameters.items():
            if own is not None and id(own) not in made:
                made[id(own)] = nn.Parameter(torch.empty(own.shape, dtype=own.dtype), own.requires_grad)
            module._parameters[name] = made.get(id(own))  # type: ignore[assignment]
        for name, buffer in module._buffers.items():
            module._buffers[name] = None if buffer is None else torch.empty(buffer.shape, dtype=buffer.dtype)


def drop_gradients(module: nn.Module) -> None:
    """Gradients of weights are counted elsewhere: each is let go as soon as it is whole."""
    for parameter in module.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(_drop_gradient)


def row_without_contents(lengths: Sequence[int], num_targets: int) -> PackedRow:
    """A row of documents of these lengths; under the mode that is in force."""
    tokens, targets = (torch.zeros(shape, dtype=torch.int64) for shape in ((1, sum(lengths)), (num_targets,)))
    boundaries = tuple(accumulate(lengths, initial=0))
    return PackedRow(tokens, tokens, boundaries, targets, targets, torch.ones(num_targets), targets)


def measured_run(decoder: Any, loss: Callable[[], Tensor]) -> ActivationMemory:
    """The memory of one forward and backward pass, told apart at the last hidden states of ``decoder``.

    Args:
        decoder: the layers of a language model; passes of it without gradient are not looked at.
        loss: runs forward.

    Raises:
        NotImplementedError: a decoder that gives no hidden states.
        RuntimeError: what cannot run without contents.
    """
    marks: dict[str, int] = {}
    storages = Storages()

    def after_layers(decoder: Any, arguments: Any, output: Any) -> None:
        hidden = getattr(output, "last_hidden_state", None)
        if hidden is None:
            raise NotImplementedError(f"{type(decoder).__name__} gives no hidden states to tell layers from head")
        if hidden.requires_grad:
            marks["forward"], marks["kept"] = storages.most_since(), storages.alive
            hidden.register_hook(before_layers)

    def before_layers(gradient: Tensor) -> None:
        marks.setdefault("head", storages.most_since())

    hook = decoder.register_forward_hook(after_layers)
    try:
        with storages, AllChosen():
            loss().backward()
    finally:
        hook.remove()
    kept, layers = marks["kept"], max(marks["forward"], storages.most_since())
    return ActivationMemory(kept, max(0, marks.get("head", kept) - kept), max(0, layers - kept))


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None
