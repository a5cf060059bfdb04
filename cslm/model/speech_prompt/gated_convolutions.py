"""Strided convolutions with gates, a bottleneck adapter, a norm: the modality adapter of BLSP (arXiv 2309.00916)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, glu

from cslm.model.speech_prompt.connector import Between, Connected, Connector, valid_frames
from cslm.model.speech_prompt.connector_config import ConvolutionsConfig


class GatedConvolutions(Connector):
    """Each convolution halves the frames; what lies behind the end of a clip is zero before each of them."""

    def __init__(self, settings: ConvolutionsConfig, between: Between) -> None:
        super().__init__()
        inner = settings.channels or between.dims
        widths = [between.dims, *[inner] * (len(settings.kernels) - 1), between.width]
        self.convolutions = nn.ModuleList(
            nn.Conv1d(before, 2 * after, kernel, stride=2, padding=kernel // 2)
            for before, after, kernel in zip(widths, widths[1:], settings.kernels, strict=False)
        )
        self.down = nn.Linear(between.width, settings.adapter_dims, bias=False)
        self.up = nn.Linear(settings.adapter_dims, between.width, bias=False)
        self.norm = nn.LayerNorm(between.width)
        nn.init.constant_(self.norm.weight, between.scale)

    def num_vectors(self, num_frames: int) -> int:
        """Half as many after each convolution, rounded up."""
        for _ in self.convolutions:
            num_frames = (num_frames + 1) // 2
        return max(1, num_frames)

    def forward(self, frames: Tensor, lengths: Tensor, languages: Tensor | None = None) -> Connected:
        """See :class:`Connector`."""
        hidden = frames.transpose(1, 2)
        for convolution in self.convolutions:
            heard = valid_frames(lengths, hidden.shape[2])[:, None]
            hidden = glu(convolution(torch.where(heard, hidden, 0)), dim=1)
            lengths = (lengths + 1) // 2
        hidden = hidden.transpose(1, 2)
        vectors = self.norm(hidden + self.up(gelu(self.down(hidden))))
        return Connected(torch.where(valid_frames(lengths, vectors.shape[1])[..., None], vectors, 0), lengths)
