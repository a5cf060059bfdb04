"""What a step is made of: micro-batches, what they count, and where the next step starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import torch


class MicroBatch(Protocol):
    """What one process gives to its module in one forward pass, as far as the training loop has to know it."""

    @property
    def num_slots(self) -> int:
        """places that are computed, padding included"""
        ...

    def counts(self) -> dict[str, int]:
        """How much it holds of all that a term of an objective may be a mean over, by name.

        Every micro-batch of a stream has the same names, one with nothing to learn too.
        """
        ...

    def to(self, device: torch.device) -> Self:
        """The same on a device."""
        ...


@dataclass(frozen=True)
class StepBatch:
    """The data of one optimizer step for one process."""

    micro_batches: Sequence[MicroBatch]
    """as many as every process has; one with nothing to learn still runs"""
    position: dict[str, Any]
    """where the next step starts; plain values for JSON"""
    consumed: dict[str, int]
    """tokens of the step over all processes, by source"""
    counts: Mapping[str, int] | None = None
    """the counts of its micro-batches, summed over all processes; None where the stream knows those of one alone"""
    notes: dict[str, int] = field(default_factory=dict)
    """what was dropped or cut in this step over all processes, by what and where"""
    accounts: dict[str, int] = field(default_factory=dict)
    """tokens of the step over all processes, by language (``fr``), or by stage of the training and language (``2/fr``)
    """
