"""The layers of Llama-like backbones (Llama, Qwen 2.5 and 3, SmolLM, ...) with fewer passes over memory, for CPUs.

A small model on a CPU spends half of its time outside matrix products: each elementwise step of a norm, of the rotary
embedding or of an activation is a pass over memory, forward and back. Here a norm, a norm with rotation, and a gated
activation are one function each with a backward pass written out, and projections of the same input are one product.
Weights, their names and what a checkpoint holds do not change; results differ by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import linear, silu
from transformers import PreTrainedModel

from cslm.model.document_attention import document_attention

_FAMILIES = ("Llama", "Qwen2", "Qwen3")
_READ = ("q_proj", "k_proj", "v_proj", "gate_proj", "up_proj")  # whose weights are read, and not their forward called


def use_cpu_layers(model: PreTrainedModel) -> int:
    """Give the layers of ``model`` that are known their faster forward, in place; returns how many were changed.

    Other architectures stay as they are. A sharded weight (ZeRO-3) is only there inside its own module: do not use this
    there.
    """
    changed = 0
    for module in model.modules():
        forward = _FORWARDS.get(type(module).__name__)
        if forward is not None and _is_plain(module):
            module.forward = MethodType(forward(module.forward), module)
            changed += 1
    return changed


def _is_plain(module: nn.Module) -> bool:
    """Whether the module is computed as the functions below do it; projections that carry LoRA are not."""
    if any(type(child) is not nn.Linear for name, child in module.named_children() if name in _READ):
        return False
    if isinstance(getattr(module, "gate_proj", None), nn.Linear):
        return getattr(getattr(module, "config", None), "hidden_act", None) == "silu" and not _has_bias(module)
    return True


def _has_bias(module: nn.Module) -> bool:
    return any(isinstance(child, nn.Linear) and child.bias is not None for child in module.children())


class _RmsNorm(torch.autograd.Function):
    """``weight * x / rms(x)`` over the last dimension, in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        normed, scale = _normalise(x, epsilon)
        ctx.save_for_backward(normed, scale, weight)
        return normed * weight

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, scale, weight = ctx.saved_tensors
        return *_norm_gradients(gradients[0], normed, scale, weight), None


def _normalise(x: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    scale = scale.square_().mul_(1 / x.shape[-1]).add_(epsilon).rsqrt_()
    return x * scale, scale


def _norm_gradients(gradient: Tensor, normed: Tensor, scale: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of x and of the weight, from that of ``weight * normed`` with ``normed = x * scale``."""
    width = normed.shape[-1]
    product = (gradient * normed).reshape(-1, width)
    inner = (product @ weight).mul_(-1 / width).view_as(scale)
    return (gradient * weight).addcmul_(normed, inner).mul_(scale), product.sum(dim=0)


class _Rotate(torch.autograd.Function):
    """Rotary embedding of (tokens, heads, head_dim) by (tokens, 1, head_dim / 2)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        ctx.save_for_backward(cosine, sine)
        return _rotate(x, cosine, sine)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        cosine, sine = ctx.saved_tensors
        return _rotate(gradients[0], cosine, -sine), None, None


class _NormRotate(torch.autograd.Function):
    """Norm over head_dim, then rotary embedding, of (tokens, heads, head_dim)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float, cosine: Tensor, sine: Tensor) -> Tensor:
        normed, scale = _normalise(x, epsilon)
        ctx.save_for_backward(normed, scale, weight, cosine, sine)
        first, second = weight.chunk(2)
        return _rotate(normed, cosine * first, sine * second, cosine * second, sine * first)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        normed, scale, weight, cosine, sine = ctx.saved_tensors
        return *_norm_gradients(_rotate(gradients[0], cosine, -sine), normed, scale, weight), None, None, None


def _rotate(
    x: Tensor, cosine: Tensor, sine: Tensor, other_cosine: Tensor | None = None, other_sine: Tensor | None = None
) -> Tensor:
    """``(a, b) -> (a cosine - b sine, b other_cosine + a other_sine)`` of the two halves of the last dimension."""
    result = torch.empty_like(x)
    a, b = x.chunk(2, dim=-1)
    first, second = result.chunk(2, dim=-1)
    torch.mul(a, cosine, out=first)
    first.addcmul_(b, sine, value=-1)
    torch.mul(b, cosine if other_cosine is None else other_cosine, out=second)
    second.addcmul_(a, sine if other_sine is None else other_sine)
    return result


class _GatedSilu(torch.autograd.Function):
    """``silu(gate) * up`` of (tokens, 2 x width), gates first."""

    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        gate, up = both.chunk(2, dim=-1)
        activated = silu(gate)
        ctx.save_for_backward(both, activated)
        return activated * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        both, activated = ctx.saved_tensors
        gate, up = both.chunk(2, dim=-1)
        result = torch.empty_like(both)
        for_gate, for_up = result.chunk(2, dim=-1)
        torch.mul(gradients[0], activated, out=for_up)
        torch.ops.aten.silu_backward.grad_input(gradients[0] * up, gate, grad_input=for_gate)
        return result


def _norm_forward(plain: Callable[..., Any]) -> Callable[..., Tensor]:
    def forward(self: Any, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype != torch.float32:
            return plain(hidden_states)
        result: Tensor = _RmsNorm.apply(hidden_states, self.weight, self.variance_epsilon)
        return result

    return forward


def _mlp_forward(plain: Callable[..., Any]) -> Callable[..., Tensor]:
    def forward(self: Any, x: Tensor) -> Tensor:
        both = linear(x, torch.cat((self.gate_proj.weight, self.up_proj.weight)))
        result: Tensor = self.down_proj(_GatedSilu.apply(both))
        return result

    return forward


def _attention_forward(plain: Callable[..., Any]) -> Callable[..., Any]:
    def forward(
        self: Any, hidden_states: Tensor, position_embeddings: tuple[Tensor, Tensor] | None = None, **kwargs: Any
    ) -> Any:
        documents = kwargs.get("documents")
        if documents is None or position_embeddings is None or position_embeddings[0].shape[-1] != self.head_dim:
            return plain(hidden_states=hidden_states, position_embeddings=position_embeddings, **kwargs)
        query, key, value = (
            states.unflatten(-1, (-1, self.head_dim)) for states in _project(self, hidden_states.squeeze(0))
        )
        half = self.head_dim // 2
        rotation = [table[0, :, None, :half].contiguous() for table in position_embeddings]
        query, key = _rotated(self, query, "q_norm", rotation), _rotated(self, key, "k_norm", rotation)
        attended, _ = document_attention(
            self,
            query.transpose(0, 1)[None],
            key.transpose(0, 1)[None],
            value.transpose(0, 1)[None],
            None,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            documents=documents,
            sliding_window=getattr(self, "sliding_window", None),
        )
        return self.o_proj(attended.flatten(2)), None

    return forward


def _project(attention: Any, x: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values of (tokens, width), in one product."""
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    weight = torch.cat([projection.weight for projection in projections])
    has_bias = projections[0].bias is not None
    bias = torch.cat([projection.bias for projection in projections]) if has_bias else None
    return linear(x, weight, bias).split([projection.out_features for projection in projections], dim=-1)


def _rotated(attention: Any, states: Tensor, name: str, rotation: list[Tensor]) -> Tensor:
    norm = getattr(attention, name, None)
    if norm is None:
        result: Tensor = _Rotate.apply(states, *rotation)
    else:
        result = _NormRotate.apply(states, norm.weight, norm.variance_epsilon, *rotation)
    return result


_FORWARDS: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    **{f"{family}RMSNorm": _norm_forward for family in _FAMILIES},
    **{f"{family}MLP": _mlp_forward for family in _FAMILIES},
    **{f"{family}Attention": _attention_forward for family in _FAMILIES},
}
