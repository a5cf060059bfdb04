"""Unit frames to log-mel frames: a mean by convolutions, and what the mean leaves by conditional flow matching.

The flow is optimal-transport conditional flow matching, as in CosyVoice and Matcha-TTS: on the straight path from noise
``x0`` to data ``x1``, ``x_t = (1 - t) x0 + t x1``, a net learns the velocity ``x1 - x0``, and Euler steps follow it.
Here ``x1`` is the difference between the log-mel and its predicted mean: most of the work is the mean's, and few steps
of a small net are enough for the rest.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from cslm.decoder.convolution import ResidualConvolution, length_mask
from cslm.decoder.time_grid import read_inside

RESIDUAL_SCALE = 0.5  # standard deviations of the log-mel: about what the mean leaves


class UnitEncoder(nn.Module):
    """Merged units with their durations and a voice to a condition and a mean for every spectrogram frame.

    Most blocks run over merged units, several times fewer than spectrogram frames; each unit then gives
    ``num_subframes`` vectors from its beginning to its end, read at the exact times of the spectrogram frames.
    """

    def __init__(
        self,
        codebook_sizes: tuple[int, ...],
        num_voices: int,
        num_bands: int,
        num_subframes: int,
        width: int,
        num_blocks: int,
        condition_width: int,
        num_condition_blocks: int,
    ) -> None:
        super().__init__()
        self.num_subframes = num_subframes
        self.units = nn.ModuleList(nn.Embedding(size, width) for size in codebook_sizes)
        self.voices = nn.Embedding(num_voices, width)
        self.duration = nn.Linear(1, width)
        self.blocks = nn.ModuleList(ResidualConvolution(width, 3) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)
        self.subframes = nn.Linear(width, num_subframes * condition_width)
        self.condition_blocks = nn.ModuleList(
            ResidualConvolution(condition_width, 3) for _ in range(num_condition_blocks)
        )
        self.mean = nn.Linear(condition_width, num_bands)

    @property
    def reach(self) -> int:
        """Rows on each side that the vectors of a row depend on."""
        return len(self.blocks)

    def forward(
        self, ids: Tensor, durations: Tensor, lengths: Tensor, voices: Tensor, positions: Tensor, mel_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Condition (batch, mel frames, condition width) and mean (batch, mel frames, bands), normalised log-mel.

        Args:
            ids: (batch, rows, codebooks) merged units.
            durations: (batch, rows) unit frames that each row lasts.
            lengths: (batch,) rows that are not padding.
            voices: (batch,) indices of voices.
            positions: (batch, mel frames) centres of the spectrogram frames, in rows (``TimeGrid.positions``).
            mel_mask: (batch, mel frames, 1), 0 in padding.
        """
        hidden = torch.stack([table(ids[..., codebook]) for codebook, table in enumerate(self.units)]).sum(dim=0)
        hidden = hidden + self.voices(voices)[:, None]
        hidden = hidden + self.duration(durations.clamp(min=1).to(hidden).log().unsqueeze(-1))
        mask = length_mask(lengths, ids.shape[1]).to(hidden)
        for block in self.blocks:
            hidden = block(hidden, mask)
        parts = self.subframes(self.norm(hidden)).view(len(ids), ids.shape[1], self.num_subframes, -1)
        condition = read_inside(parts, lengths, positions)
        for block in self.condition_blocks:
            condition = block(condition, mel_mask)
        return condition, self.mean(condition)


class FlowMatching(nn.Module):
    """The velocity of the residual log-mel, given the condition, the mean and the time on the path."""

    def __init__(self, num_bands: int, condition_width: int, width: int, num_blocks: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(num_bands, width)
        self.condition = nn.Linear(condition_width + num_bands, width)
        self.time = nn.Sequential(nn.Linear(TIME_WIDTH, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(ResidualConvolution(width, 3) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)
        self.outputs = nn.Linear(width, num_bands)
        nn.init.zeros_(self.outputs.weight)
        nn.init.zeros_(self.outputs.bias)

    def forward(self, state: Tensor, time: Tensor, condition: Tensor, mask: Tensor) -> Tensor:
        """Velocity (batch, mel frames, bands) at ``state`` of the same shape and ``time`` (batch,) from 0 to 1.

        ``condition`` is :meth:`prepare`'s, (batch, mel frames, width): computed once, used by every step.
        """
        shift = self.time(_time_features(time))[:, None]
        hidden = self.inputs(state) + condition
        for block in self.blocks:
            hidden = block(hidden, mask, shift)
        velocity: Tensor = self.outputs(self.norm(hidden))
        return velocity

    def prepare(self, condition: Tensor, mean: Tensor) -> Tensor:
        """What the steps need of the encoder's ``condition`` and ``mean``: (batch, mel frames, width)."""
        prepared: Tensor = self.condition(torch.cat([condition, mean], dim=-1))
        return prepared

    def errors(
        self, residual: Tensor, noise: Tensor, time: Tensor, condition: Tensor, mean: Tensor, mask: Tensor
    ) -> Tensor:
        """Squared error of the velocity, averaged over bands: (batch, mel frames).

        Args:
            residual: (batch, mel frames, bands) log-mel minus its mean, in the units of the normalised log-mel.
            noise: the same shape, standard normal.
            time: (batch,) from 0 to 1.
            condition, mean: the encoder's.
            mask: (batch, mel frames, 1).
        """
        target = residual / RESIDUAL_SCALE
        moment = time[:, None, None]
        state = (1 - moment) * noise + moment * target
        velocity = self(state, time, self.prepare(condition, mean), mask)
        errors: Tensor = (velocity - (target - noise)) ** 2
        return errors.mean(dim=-1)

    def sample(self, noise: Tensor, condition: Tensor, mean: Tensor, mask: Tensor, num_steps: int) -> Tensor:
        """Follow the flow from ``noise`` (batch, mel frames, bands) in Euler steps; the residual, same shape.

        Steps are short at first and longer later (CosyVoice's cosine schedule). No steps: no residual.
        """
        if num_steps == 0:
            return torch.zeros_like(noise)
        prepared = self.prepare(condition, mean)
        times = [1 - math.cos(math.pi / 2 * step / num_steps) for step in range(num_steps + 1)]
        state = noise
        for now, then in itertools.pairwise(times):
            time = noise.new_full((len(noise),), now)
            state = state + (then - now) * self(state, time, prepared, mask)
        return state * RESIDUAL_SCALE


TIME_WIDTH = 64


def _time_features(time: Tensor) -> Tensor:
    """(batch, TIME_WIDTH) sines and cosines of ``time`` (batch,), from one turn to about a hundred."""
    rates = torch.logspace(0, 2, TIME_WIDTH // 2, device=time.device, dtype=time.dtype) * 2
    angles = time[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
