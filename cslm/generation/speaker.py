"""The decoder beside the language model: units are handed over, sound comes back while the next ids are written."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import NamedTuple, Protocol

import numpy as np

from cslm.codecs.units import Units
from cslm.decoder.speech_stream import Sound
from cslm.generation.window_thread import WindowThread


class Stream(Protocol):
    """What speaks one utterance: :class:`~cslm.decoder.speech_stream.SpeechStream`, wherever it is."""

    @property
    def sample_rate_hz(self) -> int:
        """Samples a second."""

    def push(self, units: Units) -> Sound:
        """More units, and the samples that can be made now."""

    def finish(self) -> Sound:
        """The utterance is over: the samples that are left."""

    def stop(self) -> None:
        """Make no further window: also from another thread."""


class Made(NamedTuple):
    """The next samples, and what they cost."""

    sound: Sound
    decoding_sec: float
    """time that the decoder worked on them"""


class Speaker:
    """One utterance, spoken on another thread: torch lets go of Python while it computes.

    One piece of work runs at a time; what comes meanwhile waits and is the next. The sound does not depend on that.
    """

    def __init__(self, stream: Stream, thread: WindowThread | None = None) -> None:
        """Begin.

        Args:
            thread: does the work (default: one of its own, which ends with :meth:`close`).
        """
        self._stream = stream
        self._own = WindowThread() if thread is None else None
        self._thread = thread or self._own
        self._needed_at = 0.0  # when the sound that was made is over, if it is played as soon as it is there
        self._waiting: list[Units] = []
        self._running: Future[Made] | None = None
        self._state = "open"  # then "ending" once all units are there, then "ended" once the last work was begun

    def push(self, units: Units, here: bool = False) -> None:
        """Hand over more units.

        Args:
            here: work on them on the calling thread, which has nothing better to do, if no work runs.
        """
        assert self._state == "open", "the utterance is over"
        self._waiting.append(units)
        self._go_on(here)

    def finish(self) -> None:
        """All units are there."""
        self._state = "ending"
        self._go_on()

    def made(self, wait: bool = False) -> list[Made]:
        """What was made since the last call.

        Args:
            wait: for the work that runs, if nothing is there yet.
        """
        found = []
        if self._running is not None and (wait or self._running.done()):
            made = self._running.result()
            found.append(made)
            if len(made.sound.samples):
                sound_sec = len(made.sound.samples) / self._stream.sample_rate_hz
                self._needed_at = (self._needed_at or time.monotonic()) + sound_sec
            self._running = None
            self._go_on()
        return found

    @property
    def is_over(self) -> bool:
        """Whether everything was made and taken."""
        return self._state == "ended" and self._running is None

    def stop(self) -> None:
        """Make no further window: also from another thread."""
        self._stream.stop()

    def close(self) -> None:
        """Stop; work that runs ends after its window, and this waits for it."""
        self.stop()
        self._waiting = []
        if self._running is not None and not self._running.cancel():
            self._running.exception()
        self._running, self._state = None, "ended"
        if self._own is not None:
            self._own.close()

    def _go_on(self, here: bool = False) -> None:
        """Begin the next work, if none runs."""
        if self._running is not None or (not self._waiting and self._state != "ending"):
            return
        assert self._thread is not None
        units, self._waiting = self._waiting, []
        last = self._state == "ending"
        self._state = "ended" if last else self._state
        if here:
            self._running = Future()
            self._running.set_result(_work(self._stream, units, last))
        else:
            self._running = self._thread.submit(self._needed_at, _work, self._stream, units, last)


def _work(stream: Stream, units: list[Units], last: bool) -> Made:
    start = time.perf_counter()
    sounds = [stream.push(Units(np.concatenate([part.ids for part in units])))] if units else []
    if last:
        sounds.append(stream.finish())
    samples = np.concatenate([sound.samples for sound in sounds])
    ends = sum((sound.unit_ends for sound in sounds), ())
    return Made(Sound(samples, ends), time.perf_counter() - start)
