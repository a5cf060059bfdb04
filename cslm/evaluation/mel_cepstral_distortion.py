"""Mel-cepstral distortion after time alignment: how far a spoken sentence is from the same sentence in the same voice.

Definition: natural log-mel magnitudes (80 bands to 8 kHz, 22,050 Hz, window 1024, hop 256); their cepstrum (the
coefficients whose cosines add up to the log spectrum), coefficients 1 to 24, so without the level, coefficient 0. Two
frames are ``10 / ln 10 * sqrt(2 * sum of squared differences)`` decibels apart, which is the root mean square of the
difference of their smoothed spectra. The mean over the pairs of the dynamic-time-warping path of least total distance,
with steps (1, 0), (0, 1) and (1, 1).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from cslm.audio.log_mel import LogMel
from cslm.audio.waveform import resample

SAMPLE_RATE_HZ = 22050
NUM_BANDS, NUM_COEFFICIENTS = 80, 24
_DECIBELS = 10.0 / math.log(10.0) * math.sqrt(2.0)


def mel_cepstrum(waveform: np.ndarray, sample_rate_hz: int) -> np.ndarray:
    """Mel-cepstral coefficients 1 to 24 of a waveform ``(num_samples,)``: ``(num_frames, 24)``, float64."""
    if sample_rate_hz != SAMPLE_RATE_HZ:
        waveform = resample(waveform, sample_rate_hz, SAMPLE_RATE_HZ)
    with torch.no_grad():
        bands = _log_mel()(torch.from_numpy(np.ascontiguousarray(waveform, dtype=np.float32)))
    return bands.double().numpy() @ _cosines()


def mel_cepstral_distortion_db(first: np.ndarray, second: np.ndarray, first_rate_hz: int, second_rate_hz: int) -> float:
    """The distortion between two waveforms ``(num_samples,)`` in decibels; 0.0 for the same waveform."""
    return aligned_distance(mel_cepstrum(first, first_rate_hz), mel_cepstrum(second, second_rate_hz))


def aligned_distance(first: np.ndarray, second: np.ndarray) -> float:
    """The mean distance in decibels along the best alignment of two cepstra ``(frames, coefficients)``."""
    assert len(first) > 0 and len(second) > 0
    squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1)[None, :] - 2.0 * first @ second.T
    distance = _DECIBELS * np.sqrt(np.maximum(squares, 0.0))
    path = _best_path(_totals(distance))
    return float(np.mean([distance[row, column] for row, column in path]))


@lru_cache(maxsize=1)
def _log_mel() -> LogMel:
    return LogMel(SAMPLE_RATE_HZ, n_fft=1024, hop_length=256, num_bands=NUM_BANDS, f_min=0.0, f_max=8000.0)


def _cosines() -> np.ndarray:
    """From log-mel to cepstrum ``(bands, 24)``: the log spectrum is the sum of the coefficients times their cosines."""
    angles = np.outer(np.arange(NUM_BANDS) + 0.5, np.arange(1, NUM_COEFFICIENTS + 1)) * (np.pi / NUM_BANDS)
    return 2.0 / NUM_BANDS * np.cos(angles)


def _totals(distance: np.ndarray) -> np.ndarray:
    """The least total distance of a path from the first pair to each pair, ``(rows, columns)``.

    A row is entered once from the row above, straight or diagonally, and then followed to the right: with the running
    sum of the row that is a running minimum.
    """
    totals = np.empty_like(distance)
    totals[0] = np.cumsum(distance[0])
    for row in range(1, len(distance)):
        above = totals[row - 1]
        entered = np.minimum(above, np.concatenate([[np.inf], above[:-1]]))
        running = np.cumsum(distance[row])
        totals[row] = running + np.minimum.accumulate(entered - running + distance[row])
    return totals


def _best_path(totals: np.ndarray) -> list[tuple[int, int]]:
    """The pairs of the best path, from the last to the first; ties go diagonally."""
    row, column = totals.shape[0] - 1, totals.shape[1] - 1
    path = [(row, column)]
    while row or column:
        steps = [(row - 1, column - 1), (row - 1, column), (row, column - 1)]
        row, column = min((step for step in steps if min(step) >= 0), key=lambda step: float(totals[step]))
        path.append((row, column))
    return path
