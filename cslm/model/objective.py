"""What a trained module is judged by: named terms, each a sum with its own count, and a report by group."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from torch import Tensor

from cslm.errors import UserError


class Term(NamedTuple):
    """One part of an objective over one micro-batch."""

    sum: Tensor
    """() with gradient; 0 where there is nothing to learn, and still part of the graph"""
    per: str
    """what it is a mean over: one of the counts of its micro-batch"""
    weight: float = 1.0
    """what the mean counts in the whole"""


class GroupReport(NamedTuple):
    """What is told of a micro-batch, without gradient."""

    sums: Tensor
    """(groups,) the loss summed by group"""
    counts: Tensor
    """(groups,) float32: what each sum is over"""
    correct: Tensor
    """(groups,) float32: how many of them are predicted right"""


class Objective(NamedTuple):
    """What a trained module returns for one micro-batch.

    The loop divides each term by its count over all processes and micro-batches of the step, once, and adds the terms
    with their weights.
    """

    terms: dict[str, Term]
    """by name, the same names in every micro-batch"""
    report: GroupReport
    """by the groups of the stream"""
    counts: Mapping[str, int] | None = None
    """of the micro-batch, where each term is reported as its own mean; None reports the whole by group alone"""

    @property
    def weighted_sum(self) -> Tensor:
        """() the sums with their weights, before any division."""
        zero = self.report.sums.new_zeros(())
        return sum((term.sum.float() * term.weight for term in self.terms.values()), zero)

    def check_counted(self, counts: Collection[str]) -> None:
        """Make sure that each term is a mean over one of these counts.

        Raises:
            UserError: one is not, by name.
        """
        for name, term in self.terms.items():
            if term.per not in counts:
                raise UserError(
                    f"the loss {name} is a mean over {term.per}, which nothing counts: choose from {', '.join(counts)}"
                )

    def detached(self) -> Objective:
        """The same without its graph."""
        return self._replace(terms={name: term._replace(sum=term.sum.detach()) for name, term in self.terms.items()})
