"""Attention of documents of any lengths in one kernel: FlashAttention's, which newer PyTorch brings, on GPUs.

Its cost is that of the documents, whatever the length of the row that they stand in, and nothing is moved or padded.
"""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import torch
from torch import Tensor

_MOST_HEAD_DIM = 256
_LEAST_CAPABILITY = (8, 0)  # Ampere


def has_varlen(query: Tensor, dropout: float, softcap: float | None) -> bool:
    """Whether the kernel can take these queries (1, heads, tokens, head_dim)."""
    head_dim = query.shape[-1]
    return (
        query.is_cuda
        and query.dtype in (torch.bfloat16, torch.float16)
        and head_dim % 8 == 0
        and head_dim <= _MOST_HEAD_DIM
        and dropout == 0
        and softcap is None
        and _kernel() is not None
        and _is_new_enough(query.device)
    )


def varlen_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    cu_seqlens: Tensor,
    longest: int,
    window: int | None = None,
    scaling: float | None = None,
) -> Tensor:
    """Causal attention of each document alone.

    Args:
        query: (1, heads, tokens, head_dim)
        key: (1, key_value_heads, tokens, head_dim); ``value`` alike
        cu_seqlens: int32 (documents + 1,), where documents begin, and the number of tokens; on the device.
        longest: tokens of the longest document.
        window: tokens that one sees, itself included; None sees all before it.

    Returns:
        (1, tokens, heads, head_dim)
    """
    rows = [states.squeeze(0).transpose(0, 1) for states in (query, key, value)]
    # The kernel counts a window without the token itself; -1 has no limit.
    before = -1 if window is None else window - 1
    attended: Tensor = _kernel()(
        *rows, cu_seqlens, cu_seqlens, longest, longest, scale=scaling, window_size=(before, 0), enable_gqa=True
    )
    return attended[None]


@cache
def _kernel() -> Any:
    """PyTorch's function, where it is there in the form that is called here."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    wanted = {"window_size", "enable_gqa", "scale"}
    return varlen_attn if wanted <= inspect.signature(varlen_attn).parameters.keys() else None


@cache
def _is_new_enough(device: torch.device) -> bool:
    flash = torch.backends.cuda.is_flash_attention_available()
    return flash and (torch.version.hip is not None or torch.cuda.get_device_capability(device) >= _LEAST_CAPABILITY)
