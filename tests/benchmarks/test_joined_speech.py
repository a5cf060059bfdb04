"""What is heard where windows meet, by hand-made samples; and a decoder that does not stream exactly is found."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from cslm.benchmarks.joined_speech import levels_at_joints, log_mel_difference, step_at_joints
from cslm.decoder.decoder_config import DecoderCard
from cslm.decoder.speech_decoder import SpeechDecoder
from tests.worlds.tone_voices import CARD, random_units


def test_the_largest_step_at_a_joint_by_the_largest_inside() -> None:
    samples = np.array([0.0, 0.1, 0.3, 0.4, 0.8, 0.9], np.float32)  # steps 0.1, 0.2, 0.1, 0.4, 0.1
    assert step_at_joints(samples, np.array([4])) == pytest.approx(0.4 / 0.2)
    assert step_at_joints(samples, np.array([2])) == pytest.approx(0.2 / 0.4)
    assert step_at_joints(samples, np.array([1, 2, 4])) == pytest.approx(0.4 / 0.1)
    assert step_at_joints(samples, np.array([0, 6])) is None  # neither end is a joint
    assert step_at_joints(np.zeros(9, np.float32), np.array([4])) is None


def test_a_level_that_falls_at_a_joint_is_told() -> None:
    samples = np.ones(8000, np.float32)
    samples[3900:4100] = 0.0
    steady, faded = levels_at_joints(samples, np.array([2000, 4000]))
    whole = np.sqrt(7800 / 8000)
    assert steady == pytest.approx(1 / whole) and faded == pytest.approx(np.sqrt(312 / 512) / whole)
    assert levels_at_joints(samples, np.array([100])) == []  # too near to the beginning


@pytest.fixture(scope="module")
def decoder() -> SpeechDecoder:
    torch.manual_seed(0)
    found = SpeechDecoder(DecoderCard(CARD.decoder, CARD.fingerprint, CARD.codebook_sizes, CARD.frame_rate_hz, ("en",)))
    for parameter in found.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return found.eval()


@pytest.mark.parametrize("double", [False, True])
def test_windows_have_the_spectrogram_of_the_whole(decoder: SpeechDecoder, double: bool) -> None:
    same = copy.deepcopy(decoder).double() if double else copy.deepcopy(decoder)
    assert 0 <= log_mel_difference(same, random_units(3, 40, durations=False), "en") < (1e-9 if double else 1e-4)


def test_a_window_that_sees_too_little_is_found(decoder: SpeechDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SpeechDecoder, "mel_reach", 0)
    assert log_mel_difference(copy.deepcopy(decoder), random_units(3, 40, durations=False), "en") > 1e-3
