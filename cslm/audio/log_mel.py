"""Log-mel spectrograms on torch, with the Slaney mel scale (that of librosa and of most neural vocoders)."""

from __future__ import annotations

import math

import torch
from torch import nn

LOG_FLOOR = 1e-5
"""Magnitudes below this count as silence."""

_POWER_FLOOR = 1e-12  # keeps the gradient of the square root finite

_LINEAR_HZ_PER_MEL = 200.0 / 3
_LOG_START_HZ = 1000.0
_LOG_START_MEL = _LOG_START_HZ / _LINEAR_HZ_PER_MEL
_LOG_STEP = math.log(6.4) / 27.0


class LogMel(nn.Module):
    """Waveforms to natural log-mel magnitudes; frame ``i`` is centred at sample ``i * hop_length``."""

    def __init__(
        self,
        sample_rate_hz: int,
        n_fft: int,
        hop_length: int,
        num_bands: int,
        f_min: float = 0.0,
        f_max: float | None = None,
    ) -> None:
        """Make the analysis window (Hann, ``n_fft`` samples) and the filters.

        Args:
            sample_rate_hz: rate of the waveforms.
            n_fft: samples in a window.
            hop_length: samples between frames.
            num_bands: mel bands.
            f_min: lower edge of the lowest band, Hz.
            f_max: upper edge of the highest band, Hz (default: half the sample rate).
        """
        super().__init__()
        self.sample_rate_hz, self.n_fft, self.hop_length, self.num_bands = sample_rate_hz, n_fft, hop_length, num_bands
        self.f_min, self.f_max = f_min, sample_rate_hz / 2 if f_max is None else f_max
        filters = mel_filters(sample_rate_hz, n_fft, num_bands, self.f_min, self.f_max)
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.register_buffer("filters", filters, persistent=False)

    window: torch.Tensor
    filters: torch.Tensor

    @property
    def frame_rate_hz(self) -> float:
        """Frames in a second."""
        return self.sample_rate_hz / self.hop_length

    def num_frames(self, num_samples: int) -> int:
        """Frames of a waveform of ``num_samples`` samples."""
        return 1 + num_samples // self.hop_length

    def magnitudes(self, waveform: torch.Tensor) -> torch.Tensor:
        """Short-time spectrum: ``(..., time)`` to ``(..., num_frames, n_fft // 2 + 1)``, ends padded with silence."""
        spectrum = torch.stft(
            waveform,
            self.n_fft,
            self.hop_length,
            window=self.window,
            center=True,
            pad_mode="constant",
            return_complex=True,
        )
        return magnitudes_of(spectrum).transpose(-1, -2)

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        """``(time,)`` or ``(batch, time)`` float32 to ``(..., num_frames, num_bands)``."""
        return log_mel_of(self.magnitudes(waveform), self.filters)


def magnitudes_of(spectrum: torch.Tensor) -> torch.Tensor:
    """Magnitudes of complex numbers, twice as fast as ``abs()``, with a gradient everywhere."""
    power = spectrum.real.square() + spectrum.imag.square()
    return (power + _POWER_FLOOR).sqrt()


def log_mel_of(magnitudes: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Natural log-mel ``(..., num_bands)`` of magnitudes ``(..., bins)`` and :func:`mel_filters`."""
    return (magnitudes @ filters).clamp(min=LOG_FLOOR).log()


def mel_filters(sample_rate_hz: int, n_fft: int, num_bands: int, f_min: float, f_max: float) -> torch.Tensor:
    """Triangles of equal area, ``(n_fft // 2 + 1, num_bands)`` float32: magnitudes times this are mel bands."""
    frequencies_hz = torch.linspace(0, sample_rate_hz / 2, n_fft // 2 + 1, dtype=torch.float64)
    edges_mel = torch.linspace(_hz_to_mel(f_min), _hz_to_mel(f_max), num_bands + 2, dtype=torch.float64)
    edges_hz = _mel_to_hz(edges_mel)
    widths_hz = edges_hz[1:] - edges_hz[:-1]
    ramps = edges_hz[None, :] - frequencies_hz[:, None]
    rising = -ramps[:, :-2] / widths_hz[None, :-1]
    falling = ramps[:, 2:] / widths_hz[None, 1:]
    triangles = torch.minimum(rising, falling).clamp(min=0)
    return (triangles * (2.0 / (edges_hz[2:] - edges_hz[:-2]))[None, :]).to(torch.float32)


def _hz_to_mel(frequency_hz: float) -> float:
    if frequency_hz < _LOG_START_HZ:
        return frequency_hz / _LINEAR_HZ_PER_MEL
    return _LOG_START_MEL + math.log(frequency_hz / _LOG_START_HZ) / _LOG_STEP


def _mel_to_hz(mel: torch.Tensor) -> torch.Tensor:
    linear = mel * _LINEAR_HZ_PER_MEL
    logarithmic = _LOG_START_HZ * torch.exp(_LOG_STEP * (mel - _LOG_START_MEL))
    return torch.where(mel < _LOG_START_MEL, linear, logarithmic)
