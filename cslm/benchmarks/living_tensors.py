"""How many bytes the tensors of this process hold, whoever keeps them."""

from __future__ import annotations

import gc

import torch
from torch import Tensor
from torch._C._functorch import is_batchedtensor


def living_bytes() -> int:
    """Bytes of all storages that a tensor of this process holds, each once: weights, gradients, states, buffers."""
    gc.collect()
    found: dict[int, int] = {}
    for tensor in [it for it in gc.get_objects() if issubclass(type(it), Tensor)]:
        _note(tensor, found)
        if tensor.is_leaf and tensor.grad is not None:
            _note(tensor.grad, found)
    return sum(found.values())


def _note(tensor: Tensor, found: dict[int, int]) -> None:
    if tensor.layout != torch.strided or is_batchedtensor(tensor):
        return  # what vmap sees is a wrapper without a storage: the tensor that it wraps is counted itself
    storage = tensor.untyped_storage()
    if storage.device.type != "meta":
        found[storage.data_ptr()] = storage.nbytes()
