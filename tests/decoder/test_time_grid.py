from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from cslm.decoder.time_grid import TimeGrid, read_inside

GRID = TimeGrid(25.0, 22050, 256)


def test_a_frame_at_25_hz_lasts_882_samples():
    assert GRID.num_samples(10) == 8820


@given(st.integers(1, 5000), st.sampled_from([12.5, 25.0, 50.0, 33.3]))
def test_spectrogram_frames_cover_the_sound(num_frames, frame_rate_hz):
    grid = TimeGrid(frame_rate_hz, 22050, 256)
    num_mel_frames = grid.num_mel_frames(num_frames)
    assert (num_mel_frames - 2) * 256 < grid.num_samples(num_frames) <= (num_mel_frames - 1) * 256


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.sampled_from([12.5, 25.0, 100.0]))
def test_positions_say_how_far_into_which_unit(durations, frame_rate_hz):
    grid = TimeGrid(frame_rate_hz, 22050, 256)
    total = sum(durations)
    num_mel_frames = grid.num_mel_frames(total)
    borders = np.concatenate([[0], np.cumsum(durations)])
    for index, position in enumerate(grid.positions(0, num_mel_frames, np.array(durations))):
        unit_frame = index * 256 / 22050 * frame_rate_hz
        if unit_frame >= total:
            assert position == len(durations)
            continue
        row = int(np.searchsorted(borders, unit_frame, side="right")) - 1
        assert abs(position - (row + (unit_frame - borders[row]) / durations[row])) < 1e-6


def test_positions_are_exact_after_an_hour():
    first = 86 * 3600
    found = GRID.positions(first, 1, np.ones(25 * 3600, np.int64))[0]
    assert abs(found - first * 256 / 22050 * 25) < 1e-6


def test_values_are_read_inside_a_row():
    values = torch.tensor([[[[0.0], [10.0]], [[50.0], [60.0]], [[99.0], [99.0]]]])
    positions = torch.tensor([[0.0, 0.25, 0.9999, 1.0, 1.75, 2.0, 9.0]])
    found = read_inside(values, torch.tensor([2]), positions)[0, :, 0]
    np.testing.assert_allclose(found, [0, 2.5, 9.999, 50, 57.5, 60, 60], rtol=1e-5)
