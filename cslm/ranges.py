"""Numbers of a configuration in their range; what is not a number, or has no end, is in none."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from cslm.errors import UserError


class Range(NamedTuple):
    """Finite numbers between bounds."""

    least: float | None = None
    """the smallest that there may be"""
    most: float | None = None
    """the largest that there may be"""
    above: float | None = None
    """all are larger"""
    below: float | None = None
    """all are smaller"""

    def __contains__(self, number: object) -> bool:
        """Whether a number is finite and between the bounds."""
        return (
            isinstance(number, int | float)
            and math.isfinite(number)
            and (self.least is None or number >= self.least)
            and (self.most is None or number <= self.most)
            and (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
        )

    def __str__(self) -> str:
        bounds = (
            ("at least", self.least),
            ("above", self.above),
            ("at most", self.most),
            ("less than", self.below),
        )
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None) or "a finite number"


def check_numbers(config: Any, section: str, **ranges: Range) -> None:
    """Make sure that the settings named are in their range; of several numbers each one; null is left to the types.

    Args:
        section: what stands before the names of the settings in messages, with dots; may be empty.

    Raises:
        UserError: the first that is not, by name.
    """
    for name, allowed in ranges.items():
        value = getattr(config, name)
        numbers: Iterable[Any] = value if isinstance(value, tuple | list) else () if value is None else (value,)
        if not all(number in allowed for number in numbers):
            where = f"{section}.{name}" if section else name
            raise UserError(f"{where} is {value}: it must be {allowed}")
