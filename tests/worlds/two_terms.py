"""A toy whose objective has two terms of different counts, its micro-batches, and what plain torch makes of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cslm.batches.micro_batch import StepBatch
from cslm.model.objective import GroupReport, Objective, Term


@dataclass(frozen=True, eq=False)
class Points:
    """Points (points, 4), of which the first few are marked."""

    values: Tensor
    num_marked: int

    @property
    def num_slots(self) -> int:
        return len(self.values)

    def counts(self) -> dict[str, int]:
        return {"points": len(self.values), "marked": self.num_marked}

    def to(self, device: torch.device) -> Points:
        return Points(self.values.to(device), self.num_marked)


class TwoTerms(nn.Module):
    """Squares of all points, and five times the size of what becomes of the marked ones."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.begun: list[tuple[int, int]] = []

    def begin(self, step: int, last_step: int) -> None:
        self.begun.append((step, last_step))

    def forward(self, points: Points) -> Objective:
        found = self.layers(points.values)
        square, size = found.square().sum(), found[: points.num_marked].abs().sum()
        terms = {"square": Term(square, "points"), "size": Term(size, "marked", 5.0)}
        sums = torch.stack([square, size]).detach()
        return Objective(terms, GroupReport(sums, torch.tensor([*points.counts().values()]).float(), torch.zeros(2)))


class PointStream:
    """Six micro-batches a step, one with nothing marked and one without a point."""

    groups = ("toy/square", "toy/size")

    def __init__(self, knows_counts: bool) -> None:
        self.knows_counts = knows_counts

    def step(self, position: dict, rank: int = 0, world_size: int = 1) -> StepBatch:
        number = position.get("step", 0)
        generator = torch.Generator().manual_seed(number)
        sizes = ((3, 1), (5, 4), (2, 0), (7, 1), (4, 4), (0, 0))
        batches = [Points(torch.randn(size, 4, generator=generator), marked) for size, marked in sizes]
        counts = {"points": 21, "marked": 10} if self.knows_counts else None
        return StepBatch(batches[rank::world_size], {"step": number + 1}, {"toy": 21}, counts)


def plain_gradients(module: TwoTerms) -> dict[str, Tensor]:
    """Torch alone, all points of the first step at once."""
    batches = PointStream(True).step({}).micro_batches
    found = [module.layers(batch.values) for batch in batches]
    marked = torch.cat([part[: batch.num_marked] for part, batch in zip(found, batches, strict=True)])
    loss = torch.cat(found).square().sum() / 21 + 5.0 * marked.abs().sum() / 10
    loss.backward()
    return {name: parameter.grad for name, parameter in module.named_parameters()}
