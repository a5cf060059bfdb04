"""Sound that clients get: PCM16 at 24,000 samples a second, resampled as it comes, and WAV files."""

from __future__ import annotations

import struct

import numpy as np
import soxr
from numpy.typing import NDArray

from cslm.audio.waveform import RESAMPLER_QUALITY
from cslm.serving.received_audio import PCM_RATE_HZ


class SentSound:
    """One answer from the decoder's rate to 24,000 Hz. The state is kept between parts: they join without a seam."""

    def __init__(self, rate_hz: int) -> None:
        self.rate_hz = rate_hz
        """of what comes in"""
        self.num_samples = 0
        """given out so far"""
        self._resampler = None
        if rate_hz != PCM_RATE_HZ:
            self._resampler = soxr.ResampleStream(rate_hz, PCM_RATE_HZ, 1, "float32", RESAMPLER_QUALITY)

    def push(self, samples: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """More samples ``(num_samples,)``, and those that can be given out."""
        made = samples if self._resampler is None else self._resampler.resample_chunk(samples, last=last)
        self.num_samples += len(made)
        return made

    def finish(self) -> NDArray[np.float32]:
        """The samples that are left."""
        return self.push(np.zeros(0, np.float32), last=True)

    def place_sent(self, sample: int) -> int:
        """Where a sample of the decoder is in what is sent."""
        return round(sample * PCM_RATE_HZ / self.rate_hz)

    def place_made(self, sent_ms: float) -> int:
        """Which sample of the decoder is heard so many milliseconds after the beginning."""
        return int(sent_ms * self.rate_hz / 1000)


def pcm16(samples: NDArray[np.float32]) -> bytes:
    """Samples ``(num_samples,)`` in [-1, 1] as PCM16."""
    return (samples * 32767).round().clip(-32768, 32767).astype("<i2").tobytes()


def wav_file(samples: bytes) -> bytes:
    """PCM16 at 24,000 Hz as a WAV file."""
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, PCM_RATE_HZ,
                         2 * PCM_RATE_HZ, 2, 16, b"data", len(samples))  # fmt: skip
    return header + samples
