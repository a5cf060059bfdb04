from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.audio.silences import cut_at_silences

RATE_HZ = 1000


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60_000), st.integers(0, 5))
def test_pieces_make_up_the_whole_and_none_is_too_long(num_samples, seed):
    waveform = np.random.default_rng(seed).normal(0, 0.1, num_samples).astype(np.float32)
    pieces = cut_at_silences(waveform, RATE_HZ, 10.0, 1.0)
    stops = [start + duration for start, duration in pieces]
    assert pieces[0][0] == 0.0
    np.testing.assert_allclose([start for start, _ in pieces[1:]], stops[:-1])
    np.testing.assert_allclose(stops[-1], num_samples / RATE_HZ)
    assert max(duration for _, duration in pieces) <= 10.0 + 1e-9
    assert len(pieces) == 1 or min(duration for _, duration in pieces) >= 1.0 - 1e-9


def test_the_cut_is_in_the_pause():
    waveform = np.random.default_rng(0).normal(0, 0.3, 16 * RATE_HZ).astype(np.float32)
    waveform[7200:7800] *= 0.001
    ((_, first), (second, _)) = cut_at_silences(waveform, RATE_HZ, 10.0)
    assert 7.25 < first < 7.75
    assert first == second


def test_a_click_in_a_pause_does_not_matter_and_a_short_gap_is_no_pause():
    waveform = np.random.default_rng(0).normal(0, 0.3, 16 * RATE_HZ).astype(np.float32)
    waveform[6000:6020] = 0  # a closure of a consonant
    waveform[8000:8600] *= 0.01
    assert 8.0 < cut_at_silences(waveform, RATE_HZ, 10.0)[0][1] < 8.6


def test_where_all_is_equally_loud_pieces_are_as_long_as_they_may_be():
    pieces = cut_at_silences(np.full(35 * RATE_HZ, 0.5, np.float32), RATE_HZ, 10.0)
    assert [round(duration, 1) for _, duration in pieces] == [10.0, 10.0, 10.0, 5.0]


def test_short_audio_is_one_piece():
    assert cut_at_silences(np.zeros(500, np.float32), RATE_HZ, 10.0) == [(0.0, 0.5)]
