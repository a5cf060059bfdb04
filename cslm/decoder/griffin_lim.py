"""Griffin-Lim: a waveform whose spectrogram has the given magnitudes, without any trained weights.

The fast form with momentum (Perraudin, Balazs and Sondergaard 2013). Frames, windows and overlap-add are done on whole
batches, so that an iteration is little more than its two Fourier transforms.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_TINY = 1e-12


def griffin_lim(magnitudes: Tensor, phases: Tensor, hop_length: int, num_iterations: int, momentum: float) -> Tensor:
    """Waveforms (batch, (frames - 1) * hop_length) from magnitudes.

    Args:
        magnitudes: (batch, frames, bins) of a centred short-time Fourier transform with a periodic Hann window as long
            as the transform, ``2 * (bins - 1)``; frame ``m`` is centred at sample ``m * hop_length``.
        phases: (batch, frames, bins) where to start, in turns from 0 to 1 (random ones do).
        hop_length: samples between frames, a divisor of the window length.
        num_iterations: more sounds cleaner; 16 to 32 is usual.
        momentum: 0 is plain Griffin-Lim, 0.99 the fast form.
    """
    length = 2 * (magnitudes.shape[-1] - 1)
    assert length % hop_length == 0, "the hop must divide the window"
    window = torch.hann_window(length, device=magnitudes.device, dtype=magnitudes.dtype)
    ones = torch.ones_like(magnitudes[:1, :, :1]).expand(1, magnitudes.shape[1], length)
    # enough windows overlap everywhere but in the two ends, which are cut off
    weights = _overlap_add(ones, window * window, hop_length).clamp(min=1e-2).reciprocal()
    spectrum = torch.polar(magnitudes, phases * (2 * math.pi))
    previous: Tensor | None = None
    for _ in range(num_iterations):
        waveform = _overlap_add(torch.fft.irfft(spectrum, n=length), window, hop_length) * weights
        rebuilt = torch.fft.rfft(waveform.unfold(-1, length, hop_length) * window)
        target = rebuilt if previous is None else _beyond(previous, rebuilt, momentum)
        previous = rebuilt
        spectrum = target * (magnitudes / (_absolute(target) + _TINY))
    waveform = _overlap_add(torch.fft.irfft(spectrum, n=length), window, hop_length) * weights
    return waveform[:, length // 2 : waveform.shape[1] - length // 2]


def _beyond(previous: Tensor, current: Tensor, momentum: float) -> Tensor:
    """``current + momentum * (current - previous)`` in one pass over real and imaginary parts."""
    moved = torch.lerp(torch.view_as_real(previous), torch.view_as_real(current), 1 + momentum)
    return torch.view_as_complex(moved)


def _absolute(spectrum: Tensor) -> Tensor:
    """Absolute values of complex numbers; on the CPU by numpy, which does it ten times faster than torch."""
    if spectrum.device.type == "cpu":
        return torch.from_numpy(np.abs(spectrum.numpy()))
    return spectrum.abs()


def _overlap_add(frames: Tensor, window: Tensor, hop_length: int) -> Tensor:
    """(batch, frames, length) times ``window`` (length,) to (batch, (frames - 1) * hop_length + length)."""
    batch, num_frames, length = frames.shape
    overlap = length // hop_length
    parts = frames.reshape(batch, num_frames, overlap, hop_length)
    total = frames.new_zeros(batch, num_frames + overlap - 1, hop_length)
    for part, piece in enumerate(window.view(overlap, hop_length)):
        total[:, part : part + num_frames].addcmul_(parts[:, :, part], piece)
    return total.view(batch, -1)
