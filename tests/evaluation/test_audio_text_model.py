"""Audio-text models of transformers by their class name: tiny, random, saved as published ones are."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from cslm.errors import UserError
from cslm.evaluation.audio_model_config import AudioModelConfig
from cslm.evaluation.audio_text_model import AskedAloud, TransformersAudioModel
from cslm.generation.decoding import DecodingConfig
from tests.worlds.audio_text_models import make_granite_speech, make_qwen2_audio
from tests.worlds.tiny_checkpoint import tone

KINDS = {
    "qwen2_audio": (make_qwen2_audio, AudioModelConfig("Qwen2AudioForConditionalGeneration")),
    "granite_speech": (
        make_granite_speech,
        AudioModelConfig("GraniteSpeechForConditionalGeneration", audio_token="<|audio|>"),
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def opened(request, tmp_path_factory) -> TransformersAudioModel:
    if request.param == "granite_speech" and find_spec("torchaudio") is None:
        pytest.skip("the features of GraniteSpeech need torchaudio, which this stack has not")
    make, config = KINDS[request.param]
    return TransformersAudioModel(make(tmp_path_factory.mktemp(request.param) / "model"), config)


def asked() -> list[AskedAloud]:
    clips = [
        (tone(seconds, rate, 200.0 + 90 * seconds), rate) for seconds, rate in ((0.5, 16000), (1.7, 8000), (1.1, 16000))
    ]
    words = [("Sum up:\n", ""), ("", "\nIn short?"), ("Say ", " again.")]
    return [AskedAloud(clip, "en", *around) for clip, around in zip(clips, words, strict=True)]


def test_answers_in_a_batch_are_those_of_one_at_a_time(opened):
    together = opened.answer(asked(), DecodingConfig(6, batch_size=3))
    alone = [opened.answer([one], DecodingConfig(6))[0] for one in asked()]
    assert together == alone
    assert all(isinstance(answer, str) for answer in together)
    assert any(together)


def test_the_recording_and_the_words_are_heard(opened):
    first = asked()[0]
    silence = first._replace(clip=(np.zeros(16000, np.float32), 16000))
    inputs = opened._inputs([first, silence])
    features = inputs["input_features"]
    assert not np.allclose(features[0], features[1])
    written = opened._processor.batch_decode(inputs["input_ids"])
    assert all("Sum up:" in text for text in written)


def test_what_cannot_be_opened_is_said_by_name(tmp_path: Path):
    with pytest.raises(UserError, match="has no model Qwen2AudioFor that generates"):
        TransformersAudioModel(tmp_path, AudioModelConfig("Qwen2AudioFor"))
    with pytest.raises(UserError, match="cannot be opened"):
        TransformersAudioModel(tmp_path, AudioModelConfig("Qwen2AudioForConditionalGeneration"))
    with pytest.raises(UserError, match="audio_as is 'wav': choose one of array, base64"):
        AudioModelConfig("Qwen2AudioForConditionalGeneration", audio_as="wav")


def test_drawing_is_refused(opened):
    with pytest.raises(UserError, match="decoded greedily"):
        opened.answer(asked(), DecodingConfig(6, temperature=1.0))
