"""From log-mel to a waveform with no weights: the filters inverted, then Griffin-Lim."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cslm.audio.log_mel import mel_filters
from cslm.decoder.decoder_config import DecoderConfig
from cslm.decoder.frame_noise import UNIFORM, frame_noise
from cslm.decoder.griffin_lim import griffin_lim


class GriffinLimVocoder(nn.Module):
    """Natural log-mel magnitudes to waveforms."""

    is_trained = False
    lead = 0

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.hop_length = config.hop_length
        self.num_iterations = config.num_griffin_lim_iterations
        self.momentum = config.griffin_lim_momentum
        filters = mel_filters(config.sample_rate_hz, config.n_fft, config.num_bands, config.f_min, config.f_max)
        self.register_buffer("inverse", torch.linalg.pinv(filters), persistent=False)

    inverse: Tensor  # (bands, bins)

    @property
    def reach(self) -> int:
        """Frames on each side that a sample depends on: every iteration spreads as far as windows overlap."""
        return (self.num_iterations + 1) * (self.inverse.shape[1] * 2 // self.hop_length - 1)

    def forward(
        self,
        log_mel: Tensor,
        lengths: list[int],
        seeds: list[int],
        first_frame: int = 0,
        carried: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """As :class:`~cslm.decoder.vocoders.Vocoder`; seeds draw the phases to start from, nothing is carried."""
        batch, num_frames, _ = log_mel.shape
        num_bins = self.inverse.shape[1]
        silent_frames = num_bins * 2 // self.hop_length  # a window beyond the end, alone or in a batch
        magnitudes = log_mel.new_zeros(batch, num_frames + silent_frames, num_bins)
        phases = torch.zeros(magnitudes.shape)
        for row, (length, seed) in enumerate(zip(lengths, seeds, strict=True)):
            torch.mm(log_mel[row, :length].exp(), self.inverse, out=magnitudes[row, :length])
            phases[row, :length] = frame_noise(seed, UNIFORM, first_frame, length, num_bins)
        magnitudes.clamp_(min=0.0)
        phases = phases.to(magnitudes)
        return griffin_lim(magnitudes, phases, self.hop_length, self.num_iterations, self.momentum), None
