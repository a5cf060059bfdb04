from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from cslm.decoder.convolution import length_mask
from cslm.decoder.duration import LONGEST_PREDICTION_SEC, DurationPredictor, duration_loss, whole_frames


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=50))
def test_whole_frames_keep_the_tempo(logs):
    found, _ = whole_frames(torch.tensor(logs), 25.0)
    exact = torch.tensor(logs).exp().clamp(1, 25 * LONGEST_PREDICTION_SEC)
    assert found.min() >= 1
    assert abs(int(found.sum()) - float(exact.sum())) <= 0.51


def test_nonsense_does_not_ask_for_hours():
    assert whole_frames(torch.tensor([1e4]), 100.0)[0].item() == 100 * LONGEST_PREDICTION_SEC
    assert whole_frames(torch.zeros(0), 25.0)[0].shape == (0,)


def test_padding_does_not_reach_a_prediction():
    torch.manual_seed(0)
    predictor = DurationPredictor((5,), 2, width=8, kernel_size=3)
    ids, voices = torch.tensor([[[1], [2], [3], [0], [0]]]), torch.tensor([1])
    alone = predictor(ids[:, :3], voices, torch.ones(1, 3, 1))
    padded = predictor(ids, voices, length_mask(torch.tensor([3]), 5))
    torch.testing.assert_close(alone, padded[:, :3])


def test_the_loss_counts_trained_rows_only():
    predicted = torch.tensor([[0.0, 5.0, 1.0]])
    durations = torch.tensor([[1, 3, 1]])
    assert duration_loss(predicted, durations, torch.tensor([[1.0, 0.0, 1.0]])).item() == 1.0
