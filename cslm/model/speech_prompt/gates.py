"""Networks that tell from the frames of a clip which language is spoken in it (LAD, section 1: both variants).

The paper gives no sizes: those here are keys. Both are masked by true length, no neighbour changes a logit; what
stands behind the end of a clip is finite.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from cslm.model.speech_prompt.connector import valid_frames
from cslm.model.speech_prompt.query_bank_config import GateConfig

_EPSILON = 1e-5  # of a variance whose root is taken


class ConvolutionalGate(nn.Module):
    """Convolutions over time, mean and deviation of what they find, two layers: as language identification does it."""

    def __init__(self, settings: GateConfig, dims: int, languages: int) -> None:
        super().__init__()
        kernel, width = settings.kernel_size, settings.width
        sizes = [dims, *([width] * settings.layers)]
        self.norm = nn.LayerNorm(dims)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, after, kernel, stride=2, padding=kernel // 2) for before, after in pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(settings.layers))
        self.first, self.second = nn.Linear(2 * width, width), nn.Linear(width, languages)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, dims) of which ``lengths`` (batch,) are real, to logits (batch, languages)."""
        hidden = self.norm(frames)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = torch.where(valid_frames(lengths, hidden.shape[1])[..., None], hidden, 0)
            hidden = gelu(norm(convolution(hidden.transpose(1, 2)).transpose(1, 2)))
            lengths = (lengths + 1) // 2
        real = valid_frames(lengths, hidden.shape[1])[..., None]
        count = lengths[:, None].to(hidden.dtype)
        mean = torch.where(real, hidden, 0).sum(dim=1) / count
        variance = torch.where(real, hidden - mean[:, None], 0).square().sum(dim=1) / count
        pooled = torch.cat((mean, (variance + _EPSILON).sqrt()), dim=-1)
        logits: Tensor = self.second(gelu(self.first(pooled)))
        return logits


class AttentionGate(nn.Module):
    """Learnt means over time, side by side, and two layers."""

    def __init__(self, settings: GateConfig, dims: int, languages: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dims)
        self.scores = nn.Sequential(
            nn.Linear(dims, settings.width), nn.Tanh(), nn.Linear(settings.width, settings.heads)
        )
        self.values = nn.Linear(dims, settings.width)
        self.first = nn.Linear(settings.heads * settings.width, settings.width)
        self.second = nn.Linear(settings.width, languages)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        """(batch, frames, dims) of which ``lengths`` (batch,) are real, to logits (batch, languages)."""
        hidden = self.norm(frames)
        scores = self.scores(hidden).masked_fill(~valid_frames(lengths, frames.shape[1])[..., None], -torch.inf)
        pooled = scores.softmax(dim=1).transpose(1, 2) @ self.values(hidden)
        logits: Tensor = self.second(gelu(self.first(pooled.flatten(1))))
        return logits


# GateConfig.network -> the network; ``given`` and ``random`` have none.
GATES: dict[str, type[ConvolutionalGate | AttentionGate]] = {
    "convolutional": ConvolutionalGate,
    "attention": AttentionGate,
}
