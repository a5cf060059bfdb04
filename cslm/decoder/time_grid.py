"""Where unit frames and spectrogram frames lie in time.

Unit frame ``n`` stands for the seconds from ``n / frame_rate_hz`` to ``(n + 1) / frame_rate_hz``; spectrogram frame
``m`` is centred at ``m * hop_length / sample_rate_hz``. The two rates have no common multiple (25 Hz against 86.13 Hz),
so values move from one grid to the other at exact positions, never by repeating a frame three or four times.
Repeats are merged: a row of units lasts one or more unit frames.
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

    def num_samples(self, num_frames: int) -> int:
        """Samples of the waveform that ``num_frames`` unit frames last."""
        return round(num_frames / self.frame_rate_hz * self.sample_rate_hz)

    def ends(self, durations: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in the waveform each row of units ends, in samples: ``(rows,)``.

        Args:
            durations: (rows,) unit frames that each row lasts.
        """
        return np.round(np.cumsum(durations) / self.frame_rate_hz * self.sample_rate_hz).astype(np.int64)

    def num_mel_frames(self, num_frames: int) -> int:
        """Spectrogram frames that cover ``num_frames`` unit frames, both ends included."""
        return 1 + math.ceil(self.num_samples(num_frames) / self.hop_length) if num_frames else 0

    def num_mel_frames_before(self, num_frames: int) -> int:
        """Spectrogram frames whose centre lies before the end of ``num_frames`` unit frames, not on it."""
        return math.ceil(num_frames / self.frame_rate_hz * self.sample_rate_hz / self.hop_length - 1e-6)

    def positions(
        self, first_mel_frame: int, num_mel_frames: int, durations: NDArray[np.int64], first_frame: int = 0
    ) -> NDArray[np.float64]:
        """Centres of spectrogram frames among merged units: ``(num_mel_frames,)``.

        2.25 is a quarter into the unit of row 2, however long it lasts.

        Args:
            first_mel_frame: counted from the start of the utterance.
            durations: (rows,) unit frames that each row of the utterance lasts.
            first_frame: unit frames of the utterance before the first row.
        """
        frames = np.arange(first_mel_frame, first_mel_frame + num_mel_frames, dtype=np.float64)
        borders = np.concatenate([[0], np.cumsum(durations)]) + first_frame
        seconds = frames * self.hop_length / self.sample_rate_hz
        return np.interp(seconds * self.frame_rate_hz, borders, np.arange(len(borders)))


def read_inside(values: Tensor, lengths: Tensor, positions: Tensor) -> Tensor:
    """Read ``values``, several from the beginning of each row to its end, linearly and never across a border of rows.

    Args:
        values: (batch, rows, values of a row, channels).
        lengths: (batch,) rows that are not padding.
        positions: (batch, places), in rows; what lies beyond the last row reads its end.

    Returns:
        (batch, places, channels)
    """
    num_values = values.shape[2]
    last_row = (lengths - 1).clamp(min=0)[:, None]
    rows = torch.minimum(positions.floor().long(), last_row)
    inside = (positions - rows).clamp(0.0, 1.0) * (num_values - 1)
    below = inside.floor().long()
    above = (below + 1).clamp(max=num_values - 1)
    flat = values.flatten(1, 2)
    index_shape = (-1, -1, values.shape[-1])
    low = torch.gather(flat, 1, (rows * num_values + below).unsqueeze(-1).expand(index_shape))
    high = torch.gather(flat, 1, (rows * num_values + above).unsqueeze(-1).expand(index_shape))
    return torch.lerp(low, high, (inside - below).unsqueeze(-1).to(low))
