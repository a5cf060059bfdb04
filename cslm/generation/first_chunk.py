"""When the first sound is given out: as early as it may be without the player running dry later.

While a player plays, the model writes the text of the next chunk, and no sound comes. Sound comes a window at a time.
So the first sound waits until what is made lasts longer than writing so long a text and the next window's units takes,
and decoding them, at the speed that was measured on this very reply. From then on every chunk must only be
written and spoken in less time than it plays; if the units alone take longer than they sound, all is made first.
"""

from __future__ import annotations

from dataclasses import dataclass

LONGEST_TEXT = 24
"""ids of the text of a chunk, markers included, that the rule reckons with where it has seen no longer one"""


@dataclass
class FirstChunk:
    """The rule, and what it has measured of one reply."""

    chunked: bool
    """whether more text follows the first speech"""
    longest_text: int = LONGEST_TEXT
    """ids of the longest text between two stretches of units"""
    writing_sec: float = 0.0
    """of the ids so far"""
    num_ids: int = 0
    """that were timed"""
    decoding_sec: float = 0.0
    """of the sound so far"""
    sound_sec: float = 0.0
    """how long it lasts"""
    num_units: int = 0
    """that have sounded whole in it"""
    window_sec: float = 0.0
    """the longest that one window sounded"""
    _text: int = 0

    def wrote(self, seconds: float, before_answer: bool, is_unit: bool) -> None:
        """An id was written, in so many seconds; those before the answer may have been foretold, and say nothing."""
        if not before_answer:
            self.writing_sec += seconds
            self.num_ids += 1
        if is_unit:
            self.longest_text = max(self.longest_text, self._text)
        self._text = 0 if before_answer or is_unit else self._text + 1

    def spoke(self, sound_sec: float, num_units: int, decoding_sec: float) -> None:
        """A window was made; ``num_units`` of all windows so far."""
        self.decoding_sec += decoding_sec
        self.sound_sec += sound_sec
        self.num_units = num_units
        self.window_sec = max(self.window_sec, sound_sec)

    @property
    def real_time_factor(self) -> float:
        """Seconds that a second of speech takes: its units to be written or its sound to be made, side by side."""
        if not self.sound_sec or not self.num_ids:
            return float("inf")
        writing = self.step_sec * self.num_units / self.sound_sec
        return max(writing, self.decoding_sec / self.sound_sec)

    @property
    def step_sec(self) -> float:
        """Seconds an id takes."""
        return self.writing_sec / max(1, self.num_ids)

    @property
    def needed_sec(self) -> float:
        """Seconds of sound that must be there before the first is given out."""
        if not self.sound_sec:
            return float("inf")
        text = self.longest_text * self.step_sec if self.chunked else 0.0
        window = self.window_sec * (self.step_sec * self.num_units + self.decoding_sec) / self.sound_sec
        return text + window

    @property
    def may_start(self) -> bool:
        """Whether the player may start now."""
        return self.real_time_factor < 1 and self.sound_sec >= self.needed_sec
