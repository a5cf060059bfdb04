"""Listeners: what they hear does not depend on who else is heard, and what they cannot hear is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cslm.errors import UserError
from cslm.synthesis.failure import Failure
from cslm.synthesis.listener_config import AsrListenerConfig, ListenerConfig, PocketSphinxListenerConfig
from cslm.synthesis.listeners import LISTENERS, open_listener
from tests.worlds.asr_models import write_ctc, write_whisper
from tests.worlds.small_corpus import glide

CLIPS = [(glide(seed, 0.5 + 0.3 * seed), 16000 if seed % 2 else 22050) for seed in range(3)]


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    return write_whisper(tmp_path_factory.mktemp("models") / "whisper")


@pytest.fixture(scope="module")
def ctc(tmp_path_factory) -> Path:
    return write_ctc(tmp_path_factory.mktemp("models") / "wav2vec2-de")


def asr(model: Path | str, **options):
    return open_listener(ListenerConfig(asr=AsrListenerConfig(str(model), **options)))


def test_a_whisper_hears_each_clip_as_if_it_were_alone(whisper):
    together = asr(whisper).hear(CLIPS, "de")
    alone = [asr(whisper, batch_size=1).hear([clip], "de")[0] for clip in CLIPS]
    assert together == alone and all(isinstance(text, str) and text for text in together)
    assert asr(whisper).hear(CLIPS, "en") != together  # it is told the language


def test_a_whisper_that_cannot_hear_so_much_says_so(whisper):
    long = (glide(5, 31.0), 16000)
    first, second = asr(whisper).hear([long, CLIPS[0]], "de")
    assert isinstance(first, Failure) and "31.0 s are more than the listener hears (30 s)" in first.reason
    assert second == asr(whisper).hear([CLIPS[0]], "de")[0]


def test_a_ctc_model_hears_each_clip_alone(ctc):
    listener = asr(ctc, languages=["de"])
    together = listener.hear(CLIPS, "de")
    assert together == [listener.hear([clip], "de")[0] for clip in reversed(CLIPS)][::-1]
    assert any(together) and len(set(together)) == 3
    (short,) = listener.hear([(np.zeros(8, np.float32), 16000)], "de")
    assert isinstance(short, Failure) and "too short" in short.reason


def test_the_language_is_known_or_named(whisper, ctc):
    with pytest.raises(UserError, match=r"is not known to hear ja \(it hears de, en\)"):
        asr(whisper).hear(CLIPS, "ja")
    with pytest.raises(UserError, match="nobody says what it hears"):
        asr(ctc).facts("de")
    named = asr(str(ctc).replace("-de", "-{language}"))
    assert named.facts("de") == asr(ctc, languages=["de-DE"]).facts("de")
    assert asr("nowhere/at-all", models={"de": str(ctc)}).facts("de") == named.facts("de")
    with pytest.raises(UserError, match="cannot be opened"):
        named.facts("fr")


def test_facts_are_the_weights_and_no_path(whisper, tmp_path):
    before = asr(whisper).facts("de")
    assert before == asr(whisper).facts("en") and str(whisper) not in json.dumps(before)
    assert asr(write_whisper(tmp_path / "copy")).facts("de") == before
    assert asr(write_whisper(tmp_path / "other", seed=1)).facts("de") != before


def test_pocketsphinx_hears_english_alone(tmp_path):
    pytest.importorskip("pocketsphinx", reason="the extra ear is not installed")
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    from cslm.audio.espeak import Synthesizer

    rows = [{"text": "where does anna live", "language": "en"}, {"text": "what does she eat", "language": "en"}]
    (tmp_path / "told.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    settings = PocketSphinxListenerConfig([str(tmp_path / "told.jsonl")], num_workers=1)
    listener = open_listener(ListenerConfig(pocketsphinx=settings))
    speech = Synthesizer().speak("Where does Anna live?", "gmw/en-US")
    clip = (speech.waveform.astype(np.float32) / 32768, speech.sample_rate_hz)
    assert listener.hear([clip], "en") == ["where does anna live"]
    with pytest.raises(UserError, match="hears English alone, not de"):
        listener.hear([clip], "de")
    (tmp_path / "told.jsonl").write_text(json.dumps({"text": "wo wohnt anna", "language": "de"}) + "\n")
    with pytest.raises(UserError, match="no text with language en"):
        open_listener(ListenerConfig(pocketsphinx=settings))


def test_one_listener_is_given(ctc):
    assert set(LISTENERS) == set(ListenerConfig.__dataclass_fields__)
    with pytest.raises(UserError, match="none is given; give the settings of one of asr, pocketsphinx"):
        open_listener(ListenerConfig())
    with pytest.raises(UserError, match="batch_size is 0"):
        AsrListenerConfig(str(ctc), batch_size=0)
    with pytest.raises(UserError, match="choose float32"):
        AsrListenerConfig(str(ctc), dtype="int8")
