"""The output head and its cross-entropy as one step that never holds all logits.

Logits exist for a chunk of positions at a time. Where something learns, the gradients of the hidden states and of the
head's weight are made from them at once, in the forward pass: nothing is kept of the logits, and nothing is computed
twice. That the loss is a weighted sum makes it possible, for each position's share in it is known beforehand.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cslm.errors import MissingExtraError, UserError

CHUNK_LOGITS = 1 << 26
"""Logits that exist at a time: a quarter of a GiB in float32"""
LOSS_KERNELS = ("auto", "torch", "liger")


class TokenLosses(NamedTuple):
    """Cross-entropy of a chunk of positions."""

    losses: Tensor
    """(positions,) float32"""
    correct: Tensor
    """(positions,) float32: 1 where the wanted id is the most probable one"""
    gradient: Tensor
    """(positions, ids) of each loss by its logits, in the place of the logits; these themselves where none is wanted"""


def head_loss(
    head: nn.Linear,
    hidden: Tensor,
    targets: Tensor,
    weights: Tensor,
    softcap: float | None = None,
    kernel: str = "auto",
) -> tuple[Tensor, Tensor, Tensor]:
    """The weighted sum of the cross-entropies of ``targets``, and without gradient each loss, and where it is right.

    It runs inside of the call of ``head``, so that whoever shards its weight (ZeRO 3) gathers it, once.

    Args:
        hidden: (positions, width), may be of no position at all.
        targets: int64 (positions,).
        weights: float32 (positions,), how often each loss counts.
        softcap: of the logits, for backbones that have one.
        kernel: what computes losses and gradients of logits: ``torch``, ``liger`` (Triton), or ``auto``: Liger's on a
            GPU where it is installed.

    Raises:
        MissingExtraError: ``liger`` is asked for and not installed.
        UserError: ``liger`` is asked for where it cannot run.
    """
    losses_of = _kernel(kernel, hidden, softcap)
    learns = torch.is_grad_enabled()

    def forward(states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found: tuple[Tensor, Tensor, Tensor] = _HeadLoss.apply(
            states, head.weight, targets, weights, softcap, learns, losses_of
        )
        return found

    head.forward = forward  # type: ignore[method-assign,assignment]
    try:
        result: tuple[Tensor, Tensor, Tensor] = head(hidden)
    finally:
        del head.forward
    return result


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        weights: Tensor,
        softcap: float | None,
        learns: bool,
        losses_of: Callable[..., TokenLosses],
    ) -> tuple[Tensor, Tensor, Tensor]:
        losses, correct = (hidden.new_zeros(len(targets), dtype=torch.float32) for _ in range(2))
        for_hidden = torch.zeros_like(hidden) if learns and ctx.needs_input_grad[0] else None
        for_weight = torch.zeros_like(weight) if learns and ctx.needs_input_grad[1] else None
        chunk = max(1, CHUNK_LOGITS // weight.shape[0])
        for start in range(0, len(targets), chunk):
            place = slice(start, start + chunk)
            states, share = hidden[place], weights[place, None]
            found = losses_of(states @ weight.T, targets[place], softcap, learns)
            losses[place], correct[place] = found.losses, found.correct
            if for_hidden is not None:
                for_hidden[place] = (found.gradient @ weight).mul_(share)
            if for_weight is not None:
                torch.addmm(for_weight, found.gradient.T, (states * share).to(states.dtype), out=for_weight)
            del found  # its logits, before there are others
        ctx.gradients = (for_hidden, for_weight)
        ctx.mark_non_differentiable(losses, correct)
        return losses @ weights, losses, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        made, ctx.gradients = ctx.gradients, None
        assert made is not None, "backward runs once: gradients were made in the forward pass"
        for_hidden, for_weight = (None if it is None else it.mul_(gradients[0]) for it in made)
        return for_hidden, for_weight, None, None, None, None, None


def _kernel(name: str, hidden: Tensor, softcap: float | None) -> Callable[..., TokenLosses]:
    if name == "liger":
        if not _has_liger():
            raise MissingExtraError("liger-kernel", "liger", "training.device.loss_kernel liger")
        if softcap is not None:
            raise UserError(
                "training.device.loss_kernel liger does not cap logits as this backbone does: set it to torch"
            )
        if hidden.device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
            raise UserError("training.device.loss_kernel liger needs a GPU: set it to auto")
        return liger_losses
    usable = name == "auto" and hidden.is_cuda and softcap is None and _has_liger()
    return liger_losses if usable else torch_losses


@cache
def _has_liger() -> bool:
    return find_spec("liger_kernel") is not None


def torch_losses(logits: Tensor, targets: Tensor, softcap: float | None, learns: bool) -> TokenLosses:
    """With PyTorch's own operations, in one float32 buffer of the size of the logits."""
    logits, dtype, slope = logits.float(), logits.dtype, None
    if softcap is not None:
        logits.div_(softcap).tanh_()
        slope = 1 - logits.square()
        logits.mul_(softcap)
    highest = logits.amax(dim=-1, keepdim=True)
    wanted = logits.gather(1, targets[:, None])
    shares = logits.sub_(highest).exp_()
    total = shares.sum(dim=-1, keepdim=True)
    losses, correct = (total.log() + highest - wanted).squeeze(1), (wanted >= highest).float().squeeze(1)
    if learns:
        shares.div_(total).scatter_add_(1, targets[:, None], torch.full_like(total, -1))
        if slope is not None:
            shares.mul_(slope)
    return TokenLosses(losses, correct, shares.to(dtype))


def liger_losses(logits: Tensor, targets: Tensor, softcap: float | None, learns: bool) -> TokenLosses:
    """With Liger's Triton kernel (Hsu et al. 2024, arXiv 2410.10989), which passes over the logits twice."""
    from liger_kernel.ops import cross_entropy_forward

    losses, _, correct, _, gradient = cross_entropy_forward(
        logits.detach().requires_grad_(learns),
        targets,
        weight=None,
        ignore_index=-100,
        lse_square_scale=0.0,
        label_smoothing=0.0,
        reduction="none",
        softcap=softcap,
        return_z_loss=False,
        return_token_accuracy=True,
    )
    return TokenLosses(losses.float(), correct, gradient.detach())
