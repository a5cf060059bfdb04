"""Attention inside each document of a packed row, registered with transformers as ``"document"``.

A packed row holds many documents one after another. A block mask over the whole row costs the square of its length.
On a GPU a kernel for documents of any lengths is called where PyTorch has it (:mod:`cslm.model.varlen_attention`);
elsewhere the documents are taken out into a few padded groups of similar length, each group runs causal attention
without a mask (padding stands on the right, where no real position looks), and the results go back into the row. What
a document computes is what it would compute alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from cslm.errors import UserError
from cslm.model.varlen_attention import has_varlen, varlen_attention

DOCUMENT_ATTENTION = "document"
_GROUP_COST = 256  # one more group costs about as much as this many padded tokens


class PackedDocuments:
    """The documents of a packed row, for attention to keep apart: made once per micro-batch, not per layer."""

    def __init__(self, boundaries: Sequence[int], device: torch.device | str = "cpu") -> None:
        """The documents between consecutive ``boundaries`` (``[0, end of first, ..., num_tokens]``)."""
        self._boundaries, self._device = list(boundaries), device
        self.longest = max(stop - start for start, stop in pairwise(self._boundaries))
        """tokens of the longest"""

    @cached_property
    def cu_seqlens(self) -> Tensor:
        """Where each begins, and the number of tokens, int32 ``(documents + 1,)``, on the device."""
        return torch.tensor(self._boundaries, dtype=torch.int32, device=self._device)

    @cached_property
    def groups(self) -> DocumentGroups:
        """The documents in padded groups."""
        return DocumentGroups.from_boundaries(self._boundaries, self._device)


class DocumentGroups(NamedTuple):
    """Where each token of a packed row stands in its padded group."""

    take: Tensor
    """(num_padded,) int64: the row position that fills each padded slot; a slot of padding repeats a real one"""
    back: Tensor
    """(num_tokens,) int64: the padded slot of each row position"""
    shapes: tuple[tuple[int, int], ...]
    """(documents, length) of each group, in the order of the padded slots"""

    @classmethod
    def from_boundaries(cls, boundaries: Sequence[int], device: torch.device | str = "cpu") -> DocumentGroups:
        """Group the documents between consecutive ``boundaries`` (``[0, end of first, ..., num_tokens]``)."""
        starts = np.array(boundaries[:-1], dtype=np.int64)
        lengths = np.array(boundaries[1:], dtype=np.int64) - starts
        assert boundaries[0] == 0 and bool((lengths > 0).all()), "documents must be contiguous and not empty"
        order = np.argsort(-lengths, kind="stable")
        shapes = tuple(_group_lengths(lengths[order].tolist()))
        take = []
        back = np.empty(boundaries[-1], dtype=np.int64)
        first, slot = 0, 0
        for num_documents, length in shapes:
            members = order[first : first + num_documents]
            offsets = np.arange(length)
            rows = starts[members, None] + offsets
            real = offsets < lengths[members, None]
            take.append(np.where(real, rows, starts[members, None]).ravel())
            back[rows[real]] = np.arange(slot, slot + num_documents * length).reshape(num_documents, length)[real]
            first, slot = first + num_documents, slot + num_documents * length
        slots = torch.from_numpy(np.concatenate(take))
        return cls(slots.to(device), torch.from_numpy(back).to(device), shapes)


def _group_lengths(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Cut descending ``lengths`` into groups (documents, longest) with the least padding plus cost per group."""
    best = [0.0]
    cut = [0]
    for stop in range(1, len(lengths) + 1):
        real, choice, cost = 0, stop - 1, math.inf
        for start in range(stop - 1, -1, -1):
            real += lengths[start]
            padding = lengths[start] * (stop - start) - real
            candidate = best[start] + padding + _GROUP_COST
            if candidate < cost:
                choice, cost = start, candidate
            elif padding > _GROUP_COST * 2:
                break
        best.append(cost)
        cut.append(choice)
    groups = []
    stop = len(lengths)
    while stop:
        groups.append((stop - cut[stop], lengths[cut[stop]]))
        stop = cut[stop]
    return groups[::-1]


class _IntoGroups(torch.autograd.Function):
    """Rows (tokens, features) into padded slots. The slots of padding have no gradient: nothing real reads them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, take: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return rows.index_select(0, take)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(0, back), None, None


class _OutOfGroups(torch.autograd.Function):
    """Padded slots back into rows (tokens, features)."""

    @staticmethod
    def forward(ctx: Any, slots: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        ctx.num_slots = slots.shape[0]
        return slots.index_select(0, back)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (back,) = ctx.saved_tensors
        gradient = gradients[0]
        return gradient.new_zeros(ctx.num_slots, *gradient.shape[1:]).index_copy_(0, back, gradient), None


def document_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention of each document alone; transformers calls it in every layer.

    Args:
        query: (1, heads, tokens, head_dim)
        key: (1, key_value_heads, tokens, head_dim); ``value`` alike
        kwargs: ``documents`` (:class:`PackedDocuments`) comes from the call of the model. Without it the row is one
            document, and transformers' own SDPA function runs.

    Returns:
        The attended values, (1, tokens, heads, head_dim).

    Raises:
        UserError: a backbone with attention sinks runs outside of a packed row.
    """
    documents: PackedDocuments | None = kwargs.pop("documents", None)
    sinks: Tensor | None = kwargs.get("s_aux")
    if documents is None:
        if sinks is not None:
            raise UserError(f"{type(module).__name__} has attention sinks: open it with attn_implementation eager")
        result: tuple[Tensor, None] = ALL_ATTENTION_FUNCTIONS["sdpa"](
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
        return result
    assert query.shape[0] == 1, "documents stand in one row"
    window, softcap = kwargs.get("sliding_window"), kwargs.get("softcap")
    if sinks is None and has_varlen(query, dropout, softcap):
        return varlen_attention(query, key, value, documents.cu_seqlens, documents.longest, window, scaling), None
    attend, groups = _plain_attention(window, softcap, dropout, scaling, sinks), documents.groups
    parts = zip(*(_into_groups(states, groups) for states in (query, key, value)), strict=True)
    attended = torch.cat([attend(*part).transpose(1, 2).flatten(0, 1) for part in parts])
    return _OutOfGroups.apply(attended.flatten(1), groups.back).view(1, *query.shape[1:3][::-1], -1), None


def _into_groups(states: Tensor, groups: DocumentGroups) -> list[Tensor]:
    """(1, heads, tokens, head_dim) to (documents, heads, length, head_dim) of each group."""
    rows = states.squeeze(0).transpose(0, 1)
    slots: Tensor = _IntoGroups.apply(rows.flatten(1), groups.take, groups.back)
    parts = slots.view(-1, *rows.shape[1:]).split([number * length for number, length in groups.shapes])
    return [part.unflatten(0, shape).transpose(1, 2) for part, shape in zip(parts, groups.shapes, strict=True)]


def _plain_attention(
    window: int | None, softcap: float | None, dropout: float, scaling: float | None, sinks: Tensor | None
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Causal attention over (documents, heads, length, head_dim), with Gemma's window and cap where they act.

    ``sinks`` (heads,) of GPT-OSS are logits of a place that takes part in the softmax and gives nothing.
    """

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        repeats = query.shape[1] // key.shape[1]
        if repeats > 1:
            key, value = key.repeat_interleave(repeats, dim=1), value.repeat_interleave(repeats, dim=1)
        length = query.shape[2]
        windowed = window is not None and window < length
        if not windowed and softcap is None and sinks is None:
            return scaled_dot_product_attention(query, key, value, dropout_p=dropout, is_causal=True, scale=scaling)
        mask = torch.ones(length, length, dtype=torch.bool, device=query.device).tril()
        if windowed:
            assert window is not None
            mask = mask.triu(1 - window)
        if softcap is None and sinks is None:
            return scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout, scale=scaling)
        scores = query @ key.transpose(2, 3) * (query.shape[-1] ** -0.5 if scaling is None else scaling)
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        if sinks is not None:
            scores = torch.cat((scores, sinks.view(1, -1, 1, 1).expand(*scores.shape[:3], 1)), dim=-1)
        weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)[..., :length]
        return nn.functional.dropout(weights, p=dropout) @ value

    return attend


def _document_mask(*args: Any, **kwargs: Any) -> Tensor | None:
    """No mask for a packed row; with a padding mask (generation) what SDPA would get."""
    if kwargs.get("attention_mask") is None:
        return None
    mask: Tensor | None = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](*args, **kwargs)
    return mask


AttentionInterface.register(DOCUMENT_ATTENTION, document_attention)
AttentionMaskInterface.register(DOCUMENT_ATTENTION, _document_mask)
