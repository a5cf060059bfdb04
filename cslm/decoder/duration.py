"""How many frames each merged unit lasts (CSLM section 3.1: a two-layer convolutional predictor).

The form is FastSpeech 2's, as in the public unit vocoders: convolution, ReLU, layer norm, twice, then a linear layer
that predicts the logarithm of the duration, trained by squared error. The paper gives no width, kernel or loss.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LONGEST_PREDICTION_SEC = 4.0  # a net fed with noise must not ask for hours of sound


class DurationPredictor(nn.Module):
    """Merged units and a voice to durations in frames."""

    def __init__(self, codebook_sizes: tuple[int, ...], num_voices: int, width: int, kernel_size: int) -> None:
        super().__init__()
        self.units = nn.ModuleList(nn.Embedding(size, width) for size in codebook_sizes)
        self.voices = nn.Embedding(num_voices, width)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2) for _ in range(2)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.linear = nn.Linear(width, 1)

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


def whole_frames(log_durations: Tensor, frame_rate_hz: float) -> Tensor:
    """Durations in whole frames, at least 1, from predicted logarithms (rows,).

    What rounding takes from one unit is carried to the next: units that last 1.3 frames each keep their tempo.
    """
    exact = log_durations.double().exp().clamp(1.0, max(1.0, LONGEST_PREDICTION_SEC * frame_rate_hz))
    ends = exact.cumsum(0).round().long()
    return torch.diff(ends, prepend=ends.new_zeros(1)).clamp(min=1)
