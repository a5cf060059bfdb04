from __future__ import annotations

import numpy as np
import pytest

from cslm.encoders.audio_batches import AudioBatches, in_order

LENGTHS = [100, 900, 300, 50, 2000, 310]


def test_batches_hold_so_many_seconds():
    batches = AudioBatches(batch_sec=10)
    assert list(batches.groups(LENGTHS, 100)) == [[3, 0, 2], [5], [1], [4]]
    assert (batches.num_frames, batches.num_slots) == (sum(LENGTHS), sum(LENGTHS) + 250 + 200)
    assert batches.padding_share == pytest.approx(450 / 4110)


def test_they_count_on_over_calls():
    batches = AudioBatches(batch_sec=1e-6)
    for _ in range(2):
        assert list(batches.groups([2, 1], 50)) == [[1], [0]]
    assert (batches.num_frames, batches.num_slots, batches.padding_share) == (6, 6, 0.0)


def test_nothing_batched_is_nothing_padded():
    batches = AudioBatches(20)
    assert list(batches.groups([], 50)) == []
    assert batches.padding_share == 0.0


def test_results_come_with_their_index():
    waveforms = [np.full(size, size, np.float32) for size in (3, 1, 2)]
    found = AudioBatches(4).run(lambda few: [len(one) for one in few], waveforms, [3, 1, 2], 1.0)
    pairs = list(found)
    assert pairs == [(1, 1), (2, 2), (0, 3)]
    assert in_order(pairs) == [3, 1, 2]
