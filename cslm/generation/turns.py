"""Where somebody begins and ends to speak, in sound that comes piece by piece."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cslm.audio.voice_activity import voice_activity
from cslm.errors import UserError
from cslm.generation.listening import AudioPieces, checked_pieces
from cslm.generation.processor import mono_float
from cslm.ranges import Range

_SHORTEST_MS = 60
"""Less of it is a click."""


class SpeechBegan(NamedTuple):
    """Somebody begins to speak."""

    sample: int
    """with what is kept before it"""


class Spoken(NamedTuple):
    """More of the turn."""

    samples: NDArray[np.float32]


class SpeechEnded(NamedTuple):
    """The turn is over."""

    sample: int


class TurnDetector:
    """The rule. It does not depend on how the sound was cut into pieces."""

    def __init__(
        self,
        sample_rate_hz: int,
        threshold: float,
        prefix_ms: float,
        silence_ms: float,
        activity: str = "energy",
        longest_ms: float = math.inf,
    ) -> None:
        """Begin to listen.

        Args:
            sample_rate_hz: of the sound.
            threshold: 0 to 1: what is more like speech than this is speech.
            prefix_ms: so much before it is kept.
            silence_ms: so much of what is no speech ends the turn.
            activity: what tells how much a frame is like speech, a name of
                :data:`~cslm.audio.voice_activity.ACTIVITIES`.
            longest_ms: a turn that is so long is over, though it goes on.

        Raises:
            UserError: an unknown activity.
            MissingExtraError: what it needs is not installed.
        """
        self._activity, self._threshold = voice_activity(activity, sample_rate_hz), threshold
        self._length = self._activity.frame_length
        frames = sample_rate_hz / 1000 / self._length  # in a millisecond
        self._loud_frames = math.ceil(_SHORTEST_MS * frames)
        self._silent_frames = max(1, math.ceil(silence_ms * frames))
        self._before: deque[NDArray[np.float32]] = deque(maxlen=self._loud_frames + math.ceil(prefix_ms * frames))
        self._rest = np.zeros(0, np.float32)
        self.num_samples = 0
        """that were read, in whole frames"""
        self._loud = self._quiet = self._spoken = 0
        self._longest = longest_ms * sample_rate_hz / 1000
        self.speaks = False
        """whether a turn goes on"""

    def push(self, samples: NDArray[np.float32]) -> Iterator[SpeechBegan | Spoken | SpeechEnded]:
        """More sound ``(num_samples,)``, and what it tells."""
        held = np.concatenate([self._rest, samples])
        whole = len(held) // self._length * self._length
        self._rest = held[whole:]
        for frame in held[:whole].reshape(-1, self._length):
            yield from self._read(frame)

    def end(self) -> None:
        """The turn is over for another reason."""
        self.speaks, self._loud, self._quiet, self._spoken = False, 0, 0, 0
        self._before.clear()

    def _read(self, frame: NDArray[np.float32]) -> Iterator[SpeechBegan | Spoken | SpeechEnded]:
        self.num_samples += len(frame)
        loud = self._activity(frame) > self._threshold
        if self.speaks:
            self._quiet = 0 if loud else self._quiet + 1
            yield from self._speak(frame)
            return
        self._before.append(frame)
        self._loud = self._loud + 1 if loud else 0
        if self._loud >= self._loud_frames:
            kept = np.concatenate(self._before)
            self.end()
            self.speaks = True
            yield SpeechBegan(self.num_samples - len(kept))
            yield from self._speak(kept)

    def _speak(self, samples: NDArray[np.float32]) -> Iterator[Spoken | SpeechEnded]:
        yield Spoken(samples)
        self._spoken += len(samples)
        if self._quiet >= self._silent_frames or self._spoken >= self._longest:
            self.end()
            yield SpeechEnded(self.num_samples)


def until_silence(
    pieces: AudioPieces,
    silence_sec: float = 0.6,
    threshold: float = 0.5,
    longest_sec: float = 60.0,
    activity: str = "energy",
) -> Iterator[tuple[NDArray[Any], int]]:
    """The first turn in a stream of sound, as a question in pieces; nothing where nobody speaks.

    It begins 0.3 s before somebody speaks, and ends after ``silence_sec`` without speech, or where the pieces end.

    Args:
        threshold: as of :class:`TurnDetector`; for the energy 0.5 is -40 dB of full scale.
        longest_sec: the turn ends here at the latest.
        activity: ``energy``, or ``silero`` (extra ``silero``).

    Raises:
        UserError: no mono samples of one rate, a setting out of its range, or an unknown activity.
        MissingExtraError: what the activity needs is not installed.
    """
    settings = {"silence_sec": (silence_sec, Range(above=0)), "longest_sec": (longest_sec, Range(above=0))}
    for name, (value, allowed) in {**settings, "threshold": (threshold, Range(0, 1))}.items():
        if value not in allowed:
            raise UserError(f"{name} is {value}: it must be {allowed}")
    detector = None
    for waveform, rate in checked_pieces(pieces):
        if detector is None:
            detector = TurnDetector(round(rate), threshold, 300, 1000 * silence_sec, activity, 1000 * longest_sec)
        for event in detector.push(mono_float(waveform) if len(waveform) else np.zeros(0, np.float32)):
            if isinstance(event, Spoken):
                yield event.samples, rate
            if isinstance(event, SpeechEnded):
                return
