"""Steps of one source, or of one language, each: whose turn it is, a pure function of the position.

Document slots stay as the mixture deals them. Each group of sources goes through the slots that are its own, in their
order, and a position holds where each group is. The next step belongs to the group that is furthest behind; the one
whose turn it was last has another only if it is a whole step behind, or the others wait for a later stage. So groups of
one weight take turns, and one of three times the weight has three turns. No slot is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cslm.batches.mixture import Mixture
from cslm.batches.source_config import Source
from cslm.errors import UserError

ALTERNATIONS = ("source", "language")


@dataclass(frozen=True)
class Turn:
    """Whose documents a step holds."""

    group: str
    """whose turn it is"""
    first_slot: int
    """its first slot that was not taken yet"""
    places: dict[str, int]
    """by group, that of each; those that have no more are left out"""


class Turns:
    """Turns of groups of the sources of a mixture.

    Args:
        groups: the names of the sources of each, by name; in this order they begin.
        tokens_per_step: of a full step.
    """

    def __init__(self, mixture: Mixture, groups: Mapping[str, list[str]], tokens_per_step: int) -> None:
        self.groups = dict(groups)
        self._mixture, self._tokens_per_step = mixture, tokens_per_step

    def turn(self, position: Mapping[str, Any]) -> Turn:
        """Whose turn the step at a position is."""
        places = self._places(position)
        even = {group: self._mixture.even_place(place, self.groups[group]) for group, place in places.items()}
        group, last = min(even, key=even.__getitem__), position.get("last")
        if group == last:
            stage = self._mixture.stage_at(places[last])
            step = self._tokens_per_step / self._mixture.mean_tokens_at(places[last])
            others = [
                other for other, place in places.items() if other != last and self._mixture.stage_at(place) == stage
            ]
            following = min(others, key=even.__getitem__, default=last)
            group = following if even[following] < even[last] + step else last
        return Turn(group, places[group], places)

    def slots(self, turn: Turn) -> Iterator[int]:
        """The slots of a turn's group from its first on, as long as the group has a weight without a break."""
        names = self.groups[turn.group]
        end = self._mixture.stretch_end(turn.first_slot, names)
        slot: int | None = turn.first_slot
        while slot is not None and (end is None or slot < end):
            yield slot
            slot = self._mixture.next_slot(slot + 1, names)

    def after(self, turn: Turn, slot: int) -> dict[str, Any]:
        """The position after a turn of which ``slot`` is the first that it left."""
        following = self._mixture.next_slot(slot, self.groups[turn.group])
        places = {group: following if group == turn.group else place for group, place in turn.places.items()}
        left = {group: place for group, place in places.items() if place is not None}
        return {"slot": min(left.values()), "turns": left, "last": turn.group}

    def _places(self, position: Mapping[str, Any]) -> dict[str, int]:
        """Where each group is; before the first turn it is at its first slot from the position's on."""
        known = position.get("turns")
        if known is not None:
            return {group: int(known[group]) for group in self.groups if group in known}
        slot = int(position.get("slot", 0))
        first = {group: self._mixture.next_slot(slot, names) for group, names in self.groups.items()}
        return {group: place for group, place in first.items() if place is not None}


def turn_groups(sources: Mapping[str, Source], by: str) -> dict[str, list[str]]:
    """Which sources take a turn together: each by itself, or those that learn the same languages.

    Raises:
        UserError: there is only one group, or no such way to make them.
    """
    if by not in ALTERNATIONS:
        raise UserError(f"training.data.alternate is {by!r}: choose one of {', '.join(ALTERNATIONS)}")
    groups: dict[str, list[str]] = {}
    for name, source in sources.items():
        groups.setdefault(name if by == "source" else "+".join(source.languages), []).append(name)
    if len(groups) < 2:
        (only,) = groups
        raise UserError(f"training.data.alternate is {by}, and all sources are of one, {only}: leave it out")
    return groups
