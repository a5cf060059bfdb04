"""Whether somebody speaks, frame after frame, in sound that comes piece by piece: by the energy, or by silero-vad."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, cast

import numpy as np
import soxr
from numpy.typing import NDArray

from cslm.audio.waveform import RESAMPLER_QUALITY
from cslm.errors import MissingExtraError, UserError


class VoiceActivity(Protocol):
    """Judges one stream of sound; made with its rate in Hz."""

    frame_length: int
    """samples that are judged at a time"""

    def __call__(self, frame: NDArray[np.float32]) -> float:
        """How much the next frame ``(frame_length,)`` of the stream is like speech: 0 to 1."""


class EnergyActivity:
    """The louder, the more: 0 is -60 dB of full scale, 1 is -20 dB; frames of 20 ms."""

    def __init__(self, sample_rate_hz: int) -> None:
        self.frame_length = sample_rate_hz // 50

    def __call__(self, frame: NDArray[np.float32]) -> float:
        """As :class:`VoiceActivity`."""
        power = float(np.mean(np.square(frame, dtype=np.float64)))
        return min(1.0, max(0.0, (10 * math.log10(power + 1e-12) + 60) / 40))


class SileroActivity:
    """The probability that silero-vad gives (extra ``silero``; its model lies in the package); frames of 32 ms.

    Noise and music are no speech to it. Of other rates than 16,000 Hz it hears some milliseconds late.
    """

    _RATE_HZ, _LENGTH = 16000, 512

    def __init__(self, sample_rate_hz: int) -> None:
        """Open the model.

        Raises:
            MissingExtraError: there is no silero-vad.
        """
        self._model = _silero_loader()()
        self.frame_length = self._LENGTH * sample_rate_hz // self._RATE_HZ
        self._resampler: Any = None
        if sample_rate_hz != self._RATE_HZ:
            self._resampler = soxr.ResampleStream(sample_rate_hz, self._RATE_HZ, 1, "float32", RESAMPLER_QUALITY)
        self._held = np.zeros(0, np.float32)
        self._last = 0.0

    def __call__(self, frame: NDArray[np.float32]) -> float:
        """As :class:`VoiceActivity`."""
        import torch

        samples = frame if self._resampler is None else self._resampler.resample_chunk(frame)
        self._held = np.concatenate([self._held, samples])
        while len(self._held) >= self._LENGTH:
            heard, self._held = self._held[: self._LENGTH], self._held[self._LENGTH :]
            with torch.inference_mode():
                self._last = float(self._model(torch.from_numpy(heard), self._RATE_HZ))
        return self._last


# Name in settings and calls -> its class, which is made with the rate of the sound.
ACTIVITIES: dict[str, Callable[[int], VoiceActivity]] = {"energy": EnergyActivity, "silero": SileroActivity}


def voice_activity(name: str, sample_rate_hz: int) -> VoiceActivity:
    """A judge of a new stream.

    Raises:
        UserError: an unknown name.
        MissingExtraError: what it needs is not installed.
    """
    if name not in ACTIVITIES:
        raise UserError(f"there is no voice activity {name!r}: choose {' or '.join(ACTIVITIES)}")
    return ACTIVITIES[name](sample_rate_hz)


@cache
def _silero_loader() -> Callable[[], Any]:
    """What opens the model. Importing it leaves one thread to everybody: that is mended, this once."""
    import torch

    num_threads = torch.get_num_threads()
    try:
        from silero_vad import load_silero_vad
    except ModuleNotFoundError:
        raise MissingExtraError("silero-vad", "silero", "voice activity by silero") from None
    finally:
        torch.set_num_threads(num_threads)
    return cast(Callable[[], Any], load_silero_vad)
