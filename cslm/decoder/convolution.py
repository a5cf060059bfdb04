"""The residual block that every net of the decoder is made of."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ResidualConvolution(nn.Module):
    """Norm, convolution over time, GELU, linear, added to the input. Padding never reaches a real frame."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        assert kernel_size % 2 == 1, "an even kernel would shift time"
        self.norm = nn.LayerNorm(width)
        self.convolution = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2)
        self.linear = nn.Linear(width, width)

    def forward(self, inputs: Tensor, mask: Tensor, shift: Tensor | None = None) -> Tensor:
        """One block.

        Args:
            inputs: (batch, time, width).
            mask: (batch, time, 1), 1 where there is a frame and 0 in padding.
            shift: (batch, 1, width), added after the norm: how a condition that has no time enters.

        Returns:
            (batch, time, width)
        """
        hidden = self.norm(inputs)
        if shift is not None:
            hidden = hidden + shift
        hidden = self.convolution((hidden * mask).transpose(1, 2)).transpose(1, 2)
        outputs: Tensor = inputs + self.linear(nn.functional.gelu(hidden))
        return outputs


def length_mask(lengths: Tensor, num_steps: int) -> Tensor:
    """(batch, num_steps, 1) float mask from the lengths (batch,)."""
    return (torch.arange(num_steps, device=lengths.device) < lengths[:, None]).float().unsqueeze(-1)
