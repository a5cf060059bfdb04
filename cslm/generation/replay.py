"""A streamed reply played again on a simulated clock, from step times that were measured: does the player run dry?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cslm.generation.first_chunk import FirstChunk


@dataclass(frozen=True, slots=True)
class WrittenId:
    """One id as the model wrote it."""

    seconds: float
    """that the step took"""
    before_answer: bool
    """whether it belongs to what stands before the answer"""
    is_unit: bool


@dataclass(frozen=True, slots=True)
class MadeWindow:
    """One window as the decoder made it."""

    num_ids: int
    """that had to be written before"""
    decoding_sec: float
    sound_sec: float
    """how long it sounds"""
    num_units: int
    """that have sounded whole when it is over, from the first on"""


class Played(NamedTuple):
    """What a listener had of it."""

    first_sound_sec: float
    """after the reply was asked for"""
    starved_sec: float
    """the longest that the player waited for sound once it had begun"""
    whole_sec: float
    """until everything was made"""


def replay(
    ids: Sequence[WrittenId], windows: Sequence[MadeWindow], chunked: bool = True, slower: float = 1.0
) -> Played:
    """Model and decoder side by side, each as fast as it was measured, and a player that begins by the rule.

    Args:
        chunked: as for :class:`~cslm.generation.first_chunk.FirstChunk`.
        slower: all measured times are multiplied by this: less of a machine, or more to do.
    """
    rule, written, now = FirstChunk(chunked), [0.0], 0.0
    for one in ids:
        now += one.seconds * slower
        written.append(now)
    free, told, begun, sound, starved = 0.0, 0, None, 0.0, 0.0
    for window in windows:
        free = max(free, written[window.num_ids]) + window.decoding_sec * slower
        while told < len(ids) and written[told + 1] <= free:
            one = ids[told]
            if told:  # the first step reads the prompt
                rule.wrote(one.seconds * slower, one.before_answer, one.is_unit)
            told += 1
        if begun is not None:
            starved = max(starved, free - (begun + sound))
        sound += window.sound_sec
        rule.spoke(window.sound_sec, window.num_units, window.decoding_sec * slower)
        rule.chunked = chunked and told < len(ids)
        if begun is None and (rule.may_start or window is windows[-1]):
            begun = free
    return Played(now if begun is None else begun, starved, max(now, free))
