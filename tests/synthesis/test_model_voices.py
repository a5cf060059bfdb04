"""VITS and SpeechT5 as synthesizers: voices, determinism, and texts that they would say only in part."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

from cslm.errors import MissingExtraError, UserError
from cslm.synthesis.failure import Failure
from cslm.synthesis.speecht5_voices import SpeechT5Voices
from cslm.synthesis.synthesizer_config import SpeechT5Config, VitsConfig
from cslm.synthesis.vits_voices import VitsVoices
from tests.worlds import speech_models

TEXTS = ["tom ran home", "a dog saw it", "tom ran home"]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Models of both kinds, made once."""
    folder = tmp_path_factory.mktemp("voices")
    speech_models.vits(folder / "mms-tts-eng")
    speech_models.vits(folder / "mms-tts-fra", seed=1)
    speech_models.vits(folder / "vctk", num_speakers=3)
    speech_models.speecht5(folder / "speecht5", folder / "hifigan")
    speech_models.x_vectors(folder / "xvectors", "anna", "bert")
    return folder


def vits(models, name="mms-tts-{iso3}", **options):
    return VitsVoices(VitsConfig(str(models / name), device="cpu", **options))


def speecht5(models, **options):
    folders = {"model": "speecht5", "vocoder": "hifigan", "voices": "xvectors"} | options
    return SpeechT5Voices(
        SpeechT5Config(**{name: str(models / folder) for name, folder in folders.items()}, device="cpu")
    )


def test_mms_has_a_model_of_one_voice_for_each_language(models):
    voices = vits(models)
    assert voices.voices("en") == voices.voices("fr") == ["0"]
    assert not voices.names_are_speakers
    assert voices.facts("en", "0")["model"] != voices.facts("fr", "0")["model"]
    with pytest.raises(UserError, match="no folder .*mms-tts-deu"):
        voices.voices("de")


def test_a_model_of_several_speakers_speaks_all_languages_with_them(models):
    voices = vits(models, "vctk")
    assert voices.voices("en") == ["0", "1", "2"] and voices.names_are_speakers
    one, other = (next(voices.speak(TEXTS[:1], "en", name))[0] for name in "02")
    assert len(one) != len(other) or np.any(one != other)
    with pytest.raises(UserError, match="has the voices 0 to 2, not '3'"):
        voices.facts("en", "3")


@pytest.mark.parametrize("kind", ["vits", "speecht5"])
def test_a_text_sounds_the_same_whatever_is_said_before_and_otherwise_with_another_seed(models, kind):
    def opened(seed):
        if kind == "vits":
            return vits(models, seed=seed), "0"
        config = SpeechT5Config(str(models / "speecht5"), str(models / "hifigan"), str(models / "xvectors"), seed=seed)
        return SpeechT5Voices(config), "anna"

    synthesizer, voice = opened(0)
    first = list(synthesizer.speak(TEXTS, "en", voice))
    alone = list(opened(0)[0].speak(TEXTS[1:2], "en", voice))
    other = list(opened(1)[0].speak(TEXTS[1:2], "en", voice))
    np.testing.assert_array_equal(first[0][0], first[2][0])
    np.testing.assert_array_equal(first[1][0], alone[0][0])
    assert len(first[1][0]) != len(other[0][0]) or np.any(first[1][0] != other[0][0])
    assert first[0][0].dtype == np.float32 and first[0][0].ndim == 1 and len(first[0][0]) >= 32


def test_the_rate_of_the_files_is_the_models(models):
    assert next(vits(models).speak(TEXTS[:1], "en", "0"))[1] == 2000
    assert next(speecht5(models).speak(TEXTS[:1], "en", "anna"))[1] == 16000


def test_faster_speech_is_shorter(models):
    slow, fast = (next(vits(models, speaking_rate=rate).speak(TEXTS[:1], "en", "0"))[0] for rate in (0.5, 4.0))
    assert len(fast) < len(slow)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("he had 3 dogs", "the voice cannot read 3"),
        ("été à Paris", "the voice cannot read à é"),
        ("...", "nothing to say"),
        ("Tom, ran!", None),
    ],
)
def test_letters_that_a_voice_would_leave_out_are_a_failure(models, text, says):
    (found,) = list(vits(models).speak([text], "en", "0"))
    assert (found.reason if isinstance(found, Failure) else None) == says or says in found.reason


@pytest.mark.skipif(importlib.util.find_spec("uroman") is not None, reason="uroman is installed")
def test_a_voice_that_needs_latin_letters_is_refused_without_what_makes_them(models):
    speech_models.vits(models / "mms-tts-hin", is_uroman=True)
    with pytest.raises(MissingExtraError, match=r"uroman: pip install 'cslm\[mms\]'"):
        vits(models).voices("hi")


def test_voices_of_speecht5_are_x_vectors(models, tmp_path):
    voices = speecht5(models)
    assert voices.voices("en") == ["anna", "bert"]
    one, other = (next(voices.speak(TEXTS[:1], "en", name))[0] for name in voices.voices("en"))
    assert len(one) != len(other) or np.any(one != other)
    assert voices.facts("en", "anna") != voices.facts("en", "bert")
    with pytest.raises(UserError, match="has no voice 'carl'; it has anna, bert"):
        voices.facts("en", "carl")
    speech_models.x_vectors(tmp_path / "long", "dora", dims=7)
    with pytest.raises(UserError, match="an x-vector has 7 numbers, the model takes 4"):
        list(speecht5(models, voices=str(tmp_path / "long")).speak(TEXTS, "en", "dora"))
    with pytest.raises(UserError, match="no x-vectors"):
        speecht5(models, voices=str(tmp_path))


def test_what_speecht5_cannot_say_whole_is_a_failure(models):
    found = list(speecht5(models).speak(["tom saw 木", "tom " * 40, "?"], "en", "anna"))
    assert [one.reason.split(":")[0] for one in found] == [
        "the voice does not know all letters of the text",
        "is too long for the voice",
        "the voice does not know all letters of the text",
    ]
    speech_models.speecht5(models / "endless", models / "endless-vocoder", ends=False)
    (found,) = list(speecht5(models, model="endless").speak(["tom"], "en", "anna"))
    assert found == Failure("the voice finds no end of the text")


def test_a_model_that_is_none_is_refused(models, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="synthesizer.vits.model"):
        vits(models, str(tmp_path / "empty")).voices("en")
    with pytest.raises(UserError, match=r"synthesizer.speecht5.vocoder: .* has no weights for|cannot be opened"):
        speecht5(models, vocoder="mms-tts-eng").facts("en", "anna")
