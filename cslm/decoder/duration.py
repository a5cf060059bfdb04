"""How many frames each merged unit lasts (CSLM section 3.1: a two-layer convolutional predictor).

The form is FastSpeech 2's, as in the public unit vocoders: convolution, ReLU, layer norm, twice, then a linear layer
that predicts the logarithm of the duration, trained by squared error. The paper gives no width, kernel or loss.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

LONGEST_PREDICTION_SEC = 4.0  # a net fed with noise must not ask for hours of sound


class DurationPredictor(nn.Module):
    """Merged units and a voice to durations in frames."""

    def __init__(self, codebook_sizes: tuple[int, ...], num_voices: int, width: int, kernel_size: int) -> None:
        super().__init__()
        self.reach = 2 * (kernel_size // 2)
        """rows on each side that a duration depends on"""
        self.units = nn.ModuleList(nn.Embedding(size, width) for size in codebook_sizes)
        self.voices = nn.Embedding(num_voices, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.linear = nn.Linear(width, 1)
        self._in_double: tuple[Any, DurationPredictor] | None = None  # in a tuple, where it is no part of this module

    def in_double(self) -> DurationPredictor:
        """A copy in double precision: so exact that rounding to frames does not depend on which rows come together.

        It is made once, and again where the weights have changed since.
        """
        state = [(one.data_ptr(), one._version, one.device) for one in self.parameters()]
        if self._in_double is None or self._in_double[0] != state:
            self._in_double = None
            self._in_double = (state, copy.deepcopy(self).double().requires_grad_(False))
        return self._in_double[1]

    def forward(self, ids: Tensor, voices: Tensor, mask: Tensor) -> Tensor:
        """Predicted logarithm of the durations.

        Args:
            ids: (batch, rows, codebooks) merged units.
            voices: (batch,) indices of voices.
            mask: (batch, rows, 1), 0 in padding.

        Returns:
            (batch, rows)
        """
        hidden = torch.stack([table(ids[..., codebook]) for codebook, table in enumerate(self.units)]).sum(dim=0)
        hidden = hidden + self.voices(voices)[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = convolution((hidden * mask).transpose(1, 2)).transpose(1, 2)
            hidden = norm(torch.relu(hidden))
        logs: Tensor = self.linear(hidden).squeeze(-1)
        return logs


def duration_loss(predicted: Tensor, durations: Tensor, mask: Tensor) -> Tensor:
    """Squared error of the log durations, summed over the rows of ``mask`` (batch, rows)."""
    errors = (predicted - durations.clamp(min=1).float().log()) ** 2
    return (errors * mask).sum()


def whole_frames(log_durations: Tensor, frame_rate_hz: float, before: float = 0.0) -> tuple[Tensor, float]:
    """Durations in whole frames, at least 1, from predicted logarithms (rows,), and the exact end of the last.

    What rounding takes from one unit is carried to the next: units that last 1.3 frames each keep their tempo.

    Args:
        before: the exact end of the unit before, 0 for the first: rows may come some at a time.
    """
    exact = log_durations.double().exp().clamp(1.0, max(1.0, LONGEST_PREDICTION_SEC * frame_rate_hz))
    ends = torch.cat([exact.new_tensor([before]), exact]).cumsum(0)
    return torch.diff(ends.round().long()).clamp(min=1), float(ends[-1])
