"""What a claim is: arms, how one seed of them is measured, and the figures that the rows give."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cslm.benchmarks.claims.figures import Figure, Rows
from cslm.benchmarks.claims.rows import Row
from cslm.benchmarks.claims.stages import Stages
from cslm.errors import UserError


@dataclass(frozen=True)
class Claim:
    """One claim of a method."""

    sentence: str
    """what is claimed, of what, in one sentence"""
    arms: tuple[str, ...]
    """what stands side by side, the baseline first"""
    measure: Callable[[Stages, int], Iterable[Row]]
    """the rows of one seed, from start to end: what exists of its stages is not made again"""
    figures: Callable[[Rows], list[Figure]]
    """the figures of the rows of all seeds"""


# Name of a claim -> "module:Claim". Imported only when used.
CLAIMS = {
    "xli_cross": "cslm.benchmarks.claims.xli:CROSS",
    "xli_mono": "cslm.benchmarks.claims.xli:MONO",
    "xli_alignment": "cslm.benchmarks.claims.xli:ALIGNMENT",
    "xs_cot_gain": "cslm.benchmarks.claims.xs_cot:GAIN",
    "xs_cot_delay": "cslm.benchmarks.claims.xs_cot:DELAY",
}


def claim_of(name: str) -> Claim:
    """The claim of a name, imported now.

    Raises:
        UserError: there is none.
    """
    if name not in CLAIMS:
        raise UserError(f"there is no claim {name!r}: choose one of {', '.join(CLAIMS)}")
    module, _, attribute = CLAIMS[name].partition(":")
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, Claim)
    return found
