"""espeak-ng as a synthesizer: names of voices, one in every language, the same samples whatever was said before."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")

from cslm.errors import UserError
from cslm.synthesis.espeak_voices import CLEAR_VARIANTS
from cslm.synthesis.failure import Failure
from cslm.synthesis.synthesizer_config import EspeakConfig, SynthesizerConfig
from cslm.synthesis.synthesizers import SYNTHESIZERS, open_synthesizer


def opened(**options):
    return open_synthesizer(SynthesizerConfig(espeak=EspeakConfig(**options)))


@pytest.mark.parametrize(
    ("language", "accent"),
    [("en", "gmw/en"), ("fr", "roa/fr"), ("de_DE", "gmw/de"), ("ja", "jpx/ja"), ("cmn", "sit/cmn")],
)
def test_the_accent_of_a_language_is_found(language, accent):
    voices = opened()
    assert voices.voices(language) == list(CLEAR_VARIANTS)
    assert voices.facts(language, "m1")["voice"] == f"{accent}+m1"


def test_an_accent_of_ones_own():
    assert opened(accents={"en": "gmw/en-US"}).facts("en", "f1")["voice"] == "gmw/en-US+f1"


def test_a_text_sounds_the_same_whatever_was_said_before():
    voices = opened()
    first = list(voices.speak(["Tom ran home.", "A dog.", "Tom ran home."], "en", "m1"))
    second = list(voices.speak(["Tom ran home."], "en", "m1"))
    other = list(voices.speak(["Tom ran home."], "en", "f1"))
    np.testing.assert_array_equal(first[0][0], first[2][0])
    np.testing.assert_array_equal(first[0][0], second[0][0])
    assert len(other[0][0]) != len(first[0][0]) or np.any(other[0][0] != first[0][0])
    assert first[0][1] == 22050 and first[0][0].dtype == np.float32 and 0.1 < np.abs(first[0][0]).max() <= 1


def test_what_cannot_be_said_is_a_failure_and_the_others_are_said():
    found = list(opened().speak(["...", "いぬ が はしる。", "犬が走る。"], "ja", "m1"))
    assert isinstance(found[0], Failure) and "nothing to say" in found[0].reason
    assert not isinstance(found[1], Failure) and len(found[1][0]) > 5000
    assert found[2] == Failure("espeak-ng reads kana only, and the text has 犬")


@pytest.mark.parametrize(
    ("options", "language", "voice", "says"),
    [
        ({"variants": ["f2"]}, "en", "f2", "differs from run to run"),
        ({"variants": ["zelda"]}, "en", "zelda", "no variant 'zelda'"),
        ({}, "en", "../m1", "no variant"),
        ({}, "ain", "m1", "no voice for ain: give its voice file"),
        ({"rate_wpm": 20}, "en", "m1", "rate_wpm is 20"),
    ],
)
def test_voices_that_there_are_not_are_refused(options, language, voice, says):
    with pytest.raises(UserError, match=says):
        opened(**options).facts(language, voice)


def test_every_section_has_its_class():
    assert set(SYNTHESIZERS) == set(SynthesizerConfig.__dataclass_fields__)
    with pytest.raises(UserError, match="synthesizer: none is given; give the settings of one of espeak"):
        open_synthesizer(SynthesizerConfig())
