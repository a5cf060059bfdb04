"""Where unit frames and spectrogram frames lie in time.

Unit frame ``n`` stands for the seconds from ``n / frame_rate_hz`` to ``(n + 1) / frame_rate_hz``; spectrogram frame
``m`` is centred at ``m * hop_length / sample_rate_hz``. The two rates have no common multiple (25 Hz against 86.13 Hz),
so values move from one grid to the other at exact positions, never by repeating a frame three or four times.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class TimeGrid:
    """The two clocks of a decoder."""

    frame_rate_hz: float
    """unit frames a second"""
    sample_rate_hz: int
    """samples a second of the waveform"""
    hop_length: int
    """samples from one spectrogram frame to the next"""

    @property
    def num_subframes(self) -> int:
        """Vectors per unit frame, so that they come at least as often as spectrogram frames."""
        return max(1, math.ceil(self.sample_rate_hz / self.hop_length / self.frame_rate_hz))

    def num_samples(self, num_frames: int) -> int:
        """Samples of the waveform that ``num_frames`` unit frames last."""
        return round(num_frames / self.frame_rate_hz * self.sample_rate_hz)

    def num_mel_frames(self, num_frames: int) -> int:
        """Spectrogram frames that cover ``num_frames`` unit frames, both ends included."""
        return 1 + math.ceil(self.num_samples(num_frames) / self.hop_length) if num_frames else 0

    def first_mel_frame(self, frame: int) -> int:
        """The first spectrogram frame whose centre is not before the start of a unit frame."""
        return math.ceil(frame / self.frame_rate_hz * self.sample_rate_hz / self.hop_length - 1e-9)

    def positions(self, first_mel_frame: int, num_mel_frames: int, start_frame: int = 0) -> NDArray[np.float32]:
        """(num_mel_frames,) centres of spectrogram frames, in unit frames counted from ``start_frame``."""
        frames = np.arange(first_mel_frame, first_mel_frame + num_mel_frames, dtype=np.float64)
        seconds = frames * self.hop_length / self.sample_rate_hz
        return (seconds * self.frame_rate_hz - start_frame).astype(np.float32)


def sample_at(values: Tensor, lengths: Tensor, positions: Tensor) -> Tensor:
    """Read ``values`` between its steps, linearly; before the first and after the last centre, the nearest value.

    Args:
        values: (batch, steps, channels); step ``i`` is centred at ``i + 0.5``.
        lengths: (batch,) steps that are not padding.
        positions: (batch, places), in steps.

    Returns:
        (batch, places, channels)
    """
    last = (lengths - 1).clamp(min=0)[:, None]
    places = torch.minimum((positions - 0.5).clamp(min=0), last.to(positions.dtype))
    below = places.floor().long()
    above = torch.minimum(below + 1, last)
    index_shape = (-1, -1, values.shape[-1])
    low = torch.gather(values, 1, below.unsqueeze(-1).expand(index_shape))
    high = torch.gather(values, 1, above.unsqueeze(-1).expand(index_shape))
    return torch.lerp(low, high, (places - below).unsqueeze(-1))
