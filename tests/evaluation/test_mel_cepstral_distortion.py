"""The distortion is that of its definition: zero for the same sound, blind to level and tempo, in decibels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.evaluation.mel_cepstral_distortion import (
    _best_path,
    _totals,
    aligned_distance,
    mel_cepstral_distortion_db,
    mel_cepstrum,
)
from tests.worlds.tiny_checkpoint import tone

RATE = 22050


def test_the_same_sound_is_no_distance_away() -> None:
    sound = tone(0.7, RATE)
    assert mel_cepstral_distortion_db(sound, sound, RATE, RATE) == pytest.approx(0, abs=1e-5)
    louder = mel_cepstral_distortion_db(sound, 0.5 * sound, RATE, RATE)
    other = mel_cepstral_distortion_db(sound, tone(0.7, RATE, 500.0), RATE, RATE)
    assert louder < 0.5 < 2 < other < 40


def test_time_is_aligned() -> None:
    cepstra = np.random.default_rng(0).standard_normal((40, 24))
    slower = np.repeat(cepstra, np.random.default_rng(1).integers(1, 4, size=40), axis=0)
    assert aligned_distance(cepstra, slower) == pytest.approx(0, abs=1e-6)


def test_decibels_are_the_difference_of_the_spectra() -> None:
    """One cosine of 1 dB amplitude in the log spectrum is a root mean square of 1 / sqrt(2) dB."""
    cepstra = np.zeros((5, 24))
    changed = cepstra.copy()
    changed[:, 3] = math.log(10) / 20
    assert aligned_distance(cepstra, changed) == pytest.approx(1 / math.sqrt(2))


def test_coefficients_do_not_hold_the_level() -> None:
    sound = tone(0.3, RATE)
    cepstra = mel_cepstrum(sound, RATE)
    assert cepstra.shape == (1 + len(sound) // 256, 24)
    np.testing.assert_allclose(cepstra, mel_cepstrum(sound * 0.9, RATE), atol=0.03)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**31))
def test_the_path_is_the_best_there_is(rows: int, columns: int, seed: int) -> None:
    distance = np.random.default_rng(seed).random((rows, columns))
    totals = _totals(distance)
    expected = np.full((rows, columns), np.inf)
    for i in range(rows):
        for j in range(columns):
            before = [expected[i - a, j - b] for a, b in ((1, 1), (1, 0), (0, 1)) if i >= a and j >= b]
            expected[i, j] = distance[i, j] + (min(before) if before else 0.0)
    np.testing.assert_allclose(totals, expected)
    path = _best_path(totals)
    assert path[0] == (rows - 1, columns - 1) and path[-1] == (0, 0)
    assert sum(distance[pair] for pair in path) == pytest.approx(expected[-1, -1])
