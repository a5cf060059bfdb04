"""Mel-cepstral distortion after time alignment: how far a spoken sentence is from the same sentence in the same voice.

Definition: log-mel (natural logarithm, 80 bands, 22,050 Hz, window 1024, hop 256), orthonormal DCT-II over the bands, coefficients 1 to 24
(the level, coefficient 0, is left out); ``10 / ln 10 * sqrt(2 * sum of squared differences)`` decibels per pair of frames; the
dynamic-time-warping path with steps (1, 0), (0, 1), (1, 1) of least total distance; the mean over the pairs of that path.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from cslm.audio.log_mel import LogMel
from cslm.audio.waveform import resample

SAMPLE_RATE_HZ = 22050
NUM_COEFFICIENTS = 24
_DECIBELS = 10.0 / math.log(10.0) * math.sqrt(2.0)


def mel_cepstrum(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Mel-cepstral coefficients 1 to 24 of a waveform ``(num_samples,)``: ``(num_frames, 24)``, float64."""
    if sample_rate_hz != SAMPLE_RATE_HZ:
        waveform = resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ)
    log_mel = LogMel(SAMPLE_RATE_HZ, n_fft=1024, hop_length=256, num_bands=80, f_min=0.0, f_max=8000.0)
    with torch.no_grad():
        bands = log_mel(torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)))
    return bands.double().numpy() @ _cosines(bands.shape[-1])


def mel_cepstral_distortion_db(first: np.ndarray, second: np.ndarray, first_rate_hz: int, second_rate_hz: int) -> float:
    """The distortion between two waveforms ``(num_samples,)`` in decibels; 0.0 for the same waveform."""
    return aligned_distance(mel_cepstrum(first, first_rate_hz), mel_cepstrum(second, second_rate_hz))


def aligned_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The mean distance in decibels along the best alignment of two cepstra ``(frames, coefficients)``."""
    assert len(first) > 0 and len(second) > 0
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :] - 2.0 * first @ second.T
    distance = _DECIBELS * np.sqrt(np.maximum(squares, 0.0))
    total, steps = _warp(distance)
    return float(total / steps)


def _cosines(num_bands: int) -> np.ndarray:
    """Columns 1 to 24 of the orthonormal DCT-II: ``(num_bands, 24)``."""
    angles = np.outer(np.arange(num_bands) + 0.5, np.arange(1, NUM_COEFFICIENTS + 1)) * (np.pi / num_bands)
    return np.sqrt(2.0 / num_bands) * np.cos(angles)


def _warp(distance: np.ndarray) -> tuple[float, int]:
    """The least total distance from corner to corner and the number of pairs on that path, by anti-diagonals.

    Ties prefer the diagonal step, then the shorter path's neighbour above.
    """
    rows, columns = distance.shape
    skewed = np.full((rows + columns - 1, rows), np.inf)
    for row in range(rows):
        skewed[row : row + columns, row] = distance[row]
    infinity = np.full(rows, np.inf)
    before, last = infinity, infinity
    steps_before, steps_last = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    for diagonal in range(rows + columns - 1):
        choices = np.stack([_down(before, np.inf), _down(last, np.inf), last])
        lengths = np.stack([_down(steps_before, 0), _down(steps_last, 0), steps_last])
        best = choices.argmin(axis=0)
        reach = np.take_along_axis(choices, best[None], axis=0)[0]
        length = np.take_along_axis(lengths, best[None], axis=0)[0]
        if diagonal == 0:
            reach, length = np.where(np.arange(rows) == 0, 0.0, np.inf), np.zeros(rows, dtype=np.int64)
        before, last = last, reach + skewed[diagonal]
        steps_before, steps_last = steps_last, length + 1
    return float(last[rows - 1]), int(steps_last[rows - 1])


def _down(values: np.ndarray, fill: float) -> np.ndarray:
    """The values moved by one row, so that row i holds what row i - 1 held."""
    moved = np.roll(values, 1)
    moved[0] = fill
    return moved
