"""Frames of Whisper's encoder over the true length of clips, and recordings of any length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from transformers import AutoFeatureExtractor, AutoModel

from cslm.encoders.encoder_config import EncoderConfig, HearingConfig, LongAudioConfig, WhisperEncoderConfig
from cslm.encoders.encoders import open_hearing
from cslm.encoders.runtime import Runtime
from cslm.encoders.whisper_features import WhisperFeatures
from cslm.errors import UserError
from tests.worlds.asr_models import write_whisper
from tests.worlds.small_corpus import glide


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return write_whisper(tmp_path_factory.mktemp("models") / "whisper")


def features(folder, whole_window: bool, batch_sec: float = 60.0) -> WhisperFeatures:
    return WhisperFeatures(str(folder), None, whole_window, Runtime(batch_sec=batch_sec), "a test")


def theirs(folder, waveform: np.ndarray) -> torch.Tensor:
    """(1500, dims) as a user of transformers takes them."""
    inputs = AutoFeatureExtractor.from_pretrained(folder)(waveform, sampling_rate=16000, return_tensors="pt")
    with torch.inference_mode():
        return AutoModel.from_pretrained(folder).eval().encoder(inputs.input_features).last_hidden_state[0]


def test_a_whole_window_gives_the_frames_of_transformers(whisper):
    clip = glide(1, 1.7)
    found = dict(features(whisper, True)([clip]))[0]
    assert len(found) == 85
    torch.testing.assert_close(found, theirs(whisper, clip)[:85], atol=1e-5, rtol=1e-5)


def test_thirty_seconds_are_the_same_either_way(whisper):
    clip = glide(2, 30.0)
    found = dict(features(whisper, False)([clip]))[0]
    assert len(found) == 1500
    torch.testing.assert_close(found, theirs(whisper, clip), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("whole_window", [False, True])
def test_number_of_frames_and_neighbours(whisper, whole_window):
    extract = features(whisper, whole_window)
    clips = [glide(seed, sec) for seed, sec in enumerate((0.31, 1.7, 0.9, 0.55, 1.2))] + [glide(9, 1.0)[:1]]
    together = dict(extract(clips))
    for index, clip in enumerate(clips):
        alone = dict(extract([clip]))[0]
        assert len(alone) == len(together[index]) == extract.num_frames(len(clip)) > 0
        assert (alone - together[index]).abs().max() <= 1e-5 * alone.abs().max()


def hearing(folder, **long_audio) -> HearingConfig:
    return HearingConfig(EncoderConfig(whisper=WhisperEncoderConfig(str(folder))), LongAudioConfig(**long_audio))


def test_long_recordings_go_in_pieces_of_one_length(whisper):
    extract = open_hearing(hearing(whisper), Runtime())
    clip = glide(3, 61.0)
    assert extract.num_pieces(len(clip)) == 3
    found = dict(extract([clip, glide(4, 0.5)]))
    assert [len(found[0]), len(found[1])] == [extract.num_frames(len(clip)), 25]
    ends = np.linspace(0, len(clip), 4).round().astype(int)
    alone = [dict(extract([clip[start:stop]]))[0] for start, stop in pairwise(ends)]
    assert (found[0] - torch.cat(alone)).abs().max() <= 1e-5 * found[0].abs().max()


def test_lengths_that_are_refused_are_named_with_their_limit(whisper):
    refusing = open_hearing(hearing(whisper, most_sec=2.0, beyond="refuse"), Runtime())
    assert refusing.fault(32000) is None and refusing.fault(0).startswith("too short")
    assert refusing.fault(48000) == "too long: 3.0 s, long_audio.most_sec is 2"
    assert open_hearing(hearing(whisper, longest_sec=60), Runtime()).fault(16000 * 61).endswith("longest_sec is 60")
    with pytest.raises(UserError, match="most_sec is 31, and the encoder whisper takes at most 30 s"):
        open_hearing(hearing(whisper, most_sec=31), Runtime())
    with pytest.raises(UserError, match="beyond is 'cut': choose one of pieces, refuse"):
        LongAudioConfig(beyond="cut")
