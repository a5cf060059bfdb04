"""How high a voice is, frame by frame: the autocorrelation of a window over that of its window function.

The method of Boersma (1993, "Accurate short-term analysis of the fundamental frequency"), without a path over frames.
"""

from __future__ import annotations

import torch
from torch import Tensor

LOWEST_HZ, HIGHEST_HZ = 60.0, 500.0
_OCTAVE_COST = 0.02  # of periodicity, for each octave below the highest: of two periods that fit, the shorter


def pitch(waveform: Tensor, sample_rate_hz: int, window_length: int, hop_length: int) -> tuple[Tensor, Tensor]:
    """Pitch in Hz and periodicity (0 to 1), each (batch, num_samples // hop_length + 1), of waveforms (batch, samples).

    Frame ``m`` is centred at ``m * hop_length``. Where nothing is periodic the pitch means nothing.
    """
    window = torch.hann_window(window_length, device=waveform.device)
    padded = torch.nn.functional.pad(waveform, (window_length // 2, window_length // 2))
    frames = padded.unfold(-1, window_length, hop_length)
    frames = (frames - frames.mean(dim=-1, keepdim=True)) * window
    first, last = int(sample_rate_hz / HIGHEST_HZ), int(sample_rate_hz / LOWEST_HZ)
    assert last < window_length, "the window is too short for the lowest pitch"
    shape = _autocorrelation(window)
    raw = _autocorrelation(frames)
    found = raw / (raw[..., :1] * (shape / shape[0])).clamp(min=1e-8)
    lags = torch.arange(first, last, device=waveform.device)
    candidates = found[..., first:last]
    peaks = (candidates >= found[..., first - 1 : last - 1]) & (candidates >= found[..., first + 1 : last + 1])
    costs = _OCTAVE_COST * torch.log2(lags / first)
    best = (candidates - costs).masked_fill(~peaks, -1.0).argmax(dim=-1, keepdim=True)
    left, here, right = (found.gather(-1, best + first + side) for side in (-1, 0, 1))
    curve = (left - 2 * here + right).clamp(max=-1e-6)
    lag = best + first + (0.5 * (left - right) / curve).clamp(-0.5, 0.5)
    return (sample_rate_hz / lag).squeeze(-1), here.clamp(0, 1).squeeze(-1)


def _autocorrelation(frames: Tensor) -> Tensor:
    """Sums of products at lags from 0 on, (..., length)."""
    length = frames.shape[-1]
    power = torch.fft.rfft(frames, n=2 * length).abs().square()
    return torch.fft.irfft(power, n=2 * length)[..., :length]
