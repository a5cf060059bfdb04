"""What a claim is: arms, how one seed of them is measured, and the figures that the rows give."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cslm.benchmarks.claims.figures import Figure, Rows
from cslm.benchmarks.claims.rows import Row
from cslm.benchmarks.claims.stages import Stages


@dataclass(frozen=True)
class Claim:
    """One claim of a method."""

    world: str
    """folder of ``recipes/village`` with its settings; claims of one world share corpus, units and arms"""
    sentence: str
    """what is claimed, of what, in one sentence"""
    arms: tuple[str, ...]
    """what stands side by side, the baseline first"""
    measure: Callable[[Stages, int, tuple[str, ...]], Iterable[Row]]
    """the rows of one seed and some arms, from start to end: what exists of its stages is not made again"""
    figures: Callable[[Rows], list[Figure]]
    """the figures of the rows of all seeds"""
    curve_arms: tuple[str, ...] = ()
    """arms that draw a curve beside the figures: measured on the first seed alone"""
