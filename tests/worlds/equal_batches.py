"""Micro-batches compared tensor by tensor."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch


def equal(one: Any, other: Any) -> bool:
    """Whether two micro-batches, or parts of them, hold the same."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if dataclasses.is_dataclass(one):
        names = [field.name for field in dataclasses.fields(one)]
        return type(one) is type(other) and all(equal(getattr(one, name), getattr(other, name)) for name in names)
    return one == other
