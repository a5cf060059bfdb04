"""From log-mel to a waveform with no weights: the filters inverted, then Griffin-Lim."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cslm.audio.log_mel import mel_filters
from cslm.decoder.decoder_config import DecoderConfig
from cslm.decoder.griffin_lim import griffin_lim


class GriffinLimVocoder(nn.Module):
    """Natural log-mel magnitudes to waveforms."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.hop_length = config.hop_length
        self.num_iterations = config.num_griffin_lim_iterations
        self.momentum = config.griffin_lim_momentum
        filters = mel_filters(config.sample_rate_hz, config.n_fft, config.num_bands, config.f_min, config.f_max)
        self.register_buffer("inverse", torch.linalg.pinv(filters), persistent=False)

    inverse: Tensor  # (bands, bins)

    def forward(self, log_mel: Tensor, lengths: list[int], generators: list[torch.Generator]) -> Tensor:
        """Waveforms (batch, samples) of log-mel (batch, frames, bands); frame ``m`` is centred at ``m * hop_length``.

        Args:
            lengths: frames of each item; what follows them is silent.
            generators: one an item; draw the phases to start from.
        """
        batch, num_frames, _ = log_mel.shape
        silent_frames = self.inverse.shape[1] * 2 // self.hop_length  # a window beyond the end, alone or in a batch
        magnitudes = log_mel.new_zeros(batch, num_frames + silent_frames, self.inverse.shape[1])
        phases = torch.zeros(magnitudes.shape)
        for row, (length, generator) in enumerate(zip(lengths, generators, strict=True)):
            torch.mm(log_mel[row, :length].exp(), self.inverse, out=magnitudes[row, :length])
            phases[row, :length].uniform_(generator=generator)
        magnitudes.clamp_(min=0.0)
        return griffin_lim(magnitudes, phases.to(magnitudes), self.hop_length, self.num_iterations, self.momentum)
