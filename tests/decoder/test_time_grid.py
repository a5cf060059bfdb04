from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from cslm.decoder.time_grid import TimeGrid, sample_at

GRID = TimeGrid(25.0, 22050, 256)


def test_a_frame_at_25_hz_lasts_882_samples():
    assert GRID.num_samples(10) == 8820
    assert GRID.num_subframes == 4
    assert TimeGrid(50.0, 22050, 256).num_subframes == 2


@given(st.integers(1, 5000), st.sampled_from([12.5, 25.0, 50.0, 33.3]))
def test_spectrogram_frames_cover_the_sound(num_frames, frame_rate_hz):
    grid = TimeGrid(frame_rate_hz, 22050, 256)
    num_mel_frames = grid.num_mel_frames(num_frames)
    assert (num_mel_frames - 2) * 256 < grid.num_samples(num_frames) <= (num_mel_frames - 1) * 256


@given(st.integers(0, 4000), st.integers(1, 200))
def test_windows_side_by_side_share_no_spectrogram_frame_and_miss_none(start, length):
    first, stop = GRID.first_mel_frame(start), GRID.first_mel_frame(start + length)
    positions = GRID.positions(first, stop - first, start)
    assert (positions >= -1e-3).all() and (positions < length + 1e-3).all()
    assert GRID.positions(first - 1, 1, start)[0] < 0


def test_positions_are_exact_after_an_hour():
    start = 25 * 3600
    first = GRID.first_mel_frame(start)
    expected = first * 256 / 22050 * 25 - start
    assert abs(GRID.positions(first, 1, start)[0] - expected) < 1e-6


def test_values_are_read_between_centres():
    values = torch.tensor([[[0.0], [10.0], [20.0], [99.0]]])
    positions = torch.tensor([[0.0, 0.5, 1.0, 1.75, 2.5, 9.0]])
    found = sample_at(values, torch.tensor([3]), positions)[0, :, 0]
    np.testing.assert_allclose(found, [0, 0, 5, 12.5, 20, 20])
