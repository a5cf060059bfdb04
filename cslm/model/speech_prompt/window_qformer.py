"""A Q-Former over windows: queries look at one window of frames each (SALMONN, arXiv 2310.13289, section 3.1).

The last window of a clip holds the frames that are left, under a mask. Windows behind the end of a clip are not
computed at all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from cslm.model.speech_prompt.connector import Between, Connected, Connector, valid_frames
from cslm.model.speech_prompt.connector_config import QFormerConfig


class WindowQFormer(Connector):
    """``num_queries`` vectors of each ``window`` frames."""

    def __init__(self, settings: QFormerConfig, between: Between) -> None:
        super().__init__()
        self.window, self.num_queries = settings.window, settings.num_queries
        hidden = settings.hidden_dims
        self.frame_norm = nn.LayerNorm(between.dims)
        self.queries = nn.Parameter(0.02 * torch.randn(settings.num_queries, hidden))
        layers = (_Layer(hidden, between.dims, settings.num_heads) for _ in range(settings.num_layers))
        self.layers = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(hidden)
        self.project = nn.Linear(hidden, between.width)
        nn.init.normal_(self.project.weight, std=between.scale / hidden**0.5)
        nn.init.zeros_(self.project.bias)

    def num_vectors(self, num_frames: int) -> int:
        """Those of each window, and of what is left."""
        return max(1, -(-num_frames // self.window)) * self.num_queries

    def forward(self, frames: Tensor, lengths: Tensor, languages: Tensor | None = None) -> Connected:
        """See :class:`Connector`."""
        batch, most, _ = frames.shape
        heard = valid_frames(lengths, most)
        frames = torch.where(heard[..., None], frames, 0)
        windows = pad(frames, (0, 0, 0, -most % self.window)).unflatten(1, (-1, self.window))
        heard = pad(heard, (0, -most % self.window)).unflatten(1, (-1, self.window))
        counts = (lengths + self.window - 1) // self.window
        chosen = valid_frames(counts, windows.shape[1])
        mask, values = heard[chosen][:, None, None], self.frame_norm(windows[chosen])
        hidden = self.queries.expand(len(values), -1, -1)
        for layer in self.layers:
            hidden = layer(hidden, values, mask)
        found = self.project(self.norm(hidden))
        vectors = found.new_zeros(batch, windows.shape[1], self.num_queries, found.shape[-1])
        vectors = vectors.index_put(torch.nonzero(chosen, as_tuple=True), found)
        return Connected(vectors.flatten(1, 2), counts * self.num_queries)


class _Layer(nn.Module):
    """Attention among the queries of a window, attention to its frames, a feed-forward net; norms before each."""

    def __init__(self, width: int, dims: int, num_heads: int) -> None:
        super().__init__()
        self.among, self.to_frames = _Attention(width, width, num_heads), _Attention(width, dims, num_heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.inner, self.outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, hidden: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """(windows, queries, width) in and out.

        Args:
            frames: (windows, window, dims).
            mask: bool (windows, 1, 1, window): which frames there are.
        """
        normed = self.norms[0](hidden)
        hidden = hidden + self.among(normed, normed, None)
        hidden = hidden + self.to_frames(self.norms[1](hidden), frames, mask)
        result: Tensor = hidden + self.outer(gelu(self.inner(self.norms[2](hidden))))
        return result


class _Attention(nn.Module):
    def __init__(self, width: int, dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query, self.key, self.value = nn.Linear(width, width), nn.Linear(dims, width), nn.Linear(dims, width)
        self.result = nn.Linear(width, width)

    def forward(self, asking: Tensor, asked: Tensor, mask: Tensor | None) -> Tensor:
        """(windows, queries, width) from what is asked, (windows, length, dims)."""
        query, key, value = (
            project(states).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for project, states in ((self.query, asking), (self.key, asked), (self.value, asked))
        )
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        found: Tensor = self.result(attended.transpose(1, 2).flatten(2))
        return found
