"""Muon for the matrices inside the layers, AdamW for everything else (embeddings, output head, norms, biases).

An update of Muon is the momentum of the gradient made orthogonal: all its directions count alike, where AdamW follows
the few strongest. Source: Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon). The scale that gives an
update the size of AdamW's, so that both share a learning rate, is from Liu et al. 2025 (arXiv 2502.16982, section 2.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

_MOMENTUM = 0.95
_SCALE = 0.2  # root mean square of an update of AdamW, about
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose repetition drives singular values towards 1
_NUM_ITERATIONS = 5


class Muon(torch.optim.AdamW):
    """AdamW, but for the groups that say ``muon: True``, whose parameters are matrices."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One update of both kinds of groups. The gradients of the matrices are dropped on the way."""
        assert closure is None, "a closure would compute the gradients twice"
        for group in self.param_groups:
            if group.get("muon"):
                self._update_matrices(group)
        return super().step()

    def _update_matrices(self, group: dict[str, Any]) -> None:
        by_shape: dict[tuple[int, int], list[tuple[nn.Parameter, Tensor]]] = {}
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            state = self.state[parameter]
            if "momentum" not in state:
                # AdamW looks for a step in each state that it loads.
                state.update(momentum=torch.zeros_like(parameter), step=torch.zeros(()))
            momentum = state["momentum"].lerp_(parameter.grad, 1 - _MOMENTUM)
            update = parameter.grad.lerp(momentum, _MOMENTUM)  # Nesterov's
            wide = update if update.shape[0] <= update.shape[1] else update.mT
            by_shape.setdefault((wide.shape[0], wide.shape[1]), []).append((parameter, wide))
            parameter.grad = None  # AdamW leaves a parameter without a gradient alone
        for (_, width), updates in by_shape.items():
            orthogonal = _orthogonalise_together(torch.stack([update for _, update in updates]))
            for (parameter, _), update in zip(updates, orthogonal, strict=True):
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                step = update if parameter.shape == update.shape else update.mT
                parameter.add_(step, alpha=-group["lr"] * _SCALE * width**0.5)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices ``(n, rows, columns)``, rows <= columns, with singular values pushed towards 1, none above 1.3.

    One that is a thousandth of the largest or less stays small: five iterations do not reach it.
    """
    a, b, c = _COEFFICIENTS
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(_NUM_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _orthogonalise_together(matrices: Tensor) -> Tensor:
    """:func:`orthogonalise` of what all processes have, each its share: on a CPU this is an eighth of a step."""
    world_size = dist.get_world_size() if dist.is_initialized() else 1
    share = -(-len(matrices) // world_size)
    if world_size == 1 or share * world_size >= 2 * len(matrices):
        return orthogonalise(matrices)
    padding = matrices[:1].expand(share * world_size - len(matrices), -1, -1)
    mine = orthogonalise(torch.cat([matrices, padding])[dist.get_rank() * share :][:share])
    shares = [torch.empty_like(mine) for _ in range(world_size)]
    dist.all_gather(shares, mine.contiguous())
    return torch.cat(shares)[: len(matrices)]


def inner_matrices(module: nn.Module) -> list[nn.Parameter]:
    """The trained matrices of ``module`` that are neither embeddings nor the output head of a language model."""
    outer = {id(p) for p in outer_matrices(module)}
    return [p for p in module.parameters() if p.requires_grad and p.dim() == 2 and id(p) not in outer]


def outer_matrices(module: nn.Module) -> list[nn.Parameter]:
    """The trained embeddings of ``module`` and the output head of a language model in it."""
    outer = {id(child.weight) for child in module.modules() if isinstance(child, nn.Embedding)}
    for child in module.modules():
        if isinstance(child, PreTrainedModel) and (head := child.get_output_embeddings()) is not None:
            outer.add(id(head.weight))
    return [p for p in module.parameters() if p.requires_grad and id(p) in outer]
