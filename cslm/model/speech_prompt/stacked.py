"""Two layers over stacked frames, each vector from frames of its own: AZeroS (arXiv 2601.06086), Ultravox."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, relu

from cslm.model.speech_prompt.connector import Between, Connected, Connector, valid_frames
from cslm.model.speech_prompt.connector_config import StackedConfig


class StackedFrames(Connector):
    """``stride`` frames side by side, two linear layers with a ReLU between them, a norm.

    The last frames of a clip are filled up with zeros, as if silence of the encoder followed.
    """

    def __init__(self, settings: StackedConfig, between: Between) -> None:
        super().__init__()
        self.stride = settings.stride
        hidden = settings.hidden_dims or between.width
        self.first = nn.Linear(between.dims * settings.stride, hidden)
        self.second = nn.Linear(hidden, between.width)
        self.norm = nn.LayerNorm(between.width)
        nn.init.constant_(self.norm.weight, between.scale)

    def num_vectors(self, num_frames: int) -> int:
        """One for each ``stride`` frames, and for what is left."""
        return max(1, -(-num_frames // self.stride))

    def forward(self, frames: Tensor, lengths: Tensor, languages: Tensor | None = None) -> Connected:
        """See :class:`Connector`."""
        most = frames.shape[1]
        frames = torch.where(valid_frames(lengths, most)[..., None], frames, 0)
        stacked = pad(frames, (0, 0, 0, -most % self.stride)).unflatten(1, (-1, self.stride)).flatten(2)
        counts = (lengths + self.stride - 1) // self.stride
        vectors = self.norm(self.second(relu(self.first(stacked))))
        return Connected(torch.where(valid_frames(counts, vectors.shape[1])[..., None], vectors, 0), counts)
