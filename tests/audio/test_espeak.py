"""The synthesizer: samples, word times, voices."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.audio import espeak
from cslm.errors import MissingExtraError, UserError

pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")


@pytest.fixture
def synthesizer():
    return espeak.Synthesizer()


def test_every_word_has_its_time(synthesizer):
    text = "In the village, Anna doesn't sing."
    speech = synthesizer.speak(text, "gmw/en", rate_wpm=180)
    assert speech.waveform.dtype == np.int16 and speech.sample_rate_hz == synthesizer.sample_rate_hz == 22050
    assert [word for word, _, _ in speech.words] == ["In", "the", "village", "Anna", "doesn't", "sing"]
    times = [time for _, start, end in speech.words for time in (start, end)]
    assert times == sorted(times) and times[-1] <= len(speech.waveform) / 22050


def test_a_pause_belongs_to_no_word(synthesizer):
    speech = synthesizer.speak("Hello there, my friend.", "gmw/en")
    (_, _, end), (_, start, _) = speech.words[1], speech.words[2]
    assert start - end > 0.05
    pause = speech.waveform[int(end * 22050) + 1 : int(start * 22050)]
    assert np.abs(pause).max() < 0.02 * np.abs(speech.waveform).max()


def test_chinese_has_a_time_for_every_character(synthesizer):
    speech = synthesizer.speak("安娜在村里工作，对吗？", "sit/cmn", rate_wpm=250)
    assert "".join(word for word, _, _ in speech.words) == "安娜在村里工作对吗"
    assert all(end > start for _, start, end in speech.words)


def test_rate_pitch_and_voice_are_heard(synthesizer):
    plain = synthesizer.speak("One two three.", "gmw/en", 150, 50).waveform
    assert len(synthesizer.speak("One two three.", "gmw/en", 250, 50).waveform) < 0.8 * len(plain)
    assert not np.array_equal(synthesizer.speak("One two three.", "gmw/en", 150, 80).waveform, plain)
    assert not np.array_equal(synthesizer.speak("One two three.", "gmw/en+f2", 150, 50).waveform, plain)


def test_after_a_reset_the_same_calls_give_the_same_samples(synthesizer):
    def say():
        synthesizer.reset()
        return [synthesizer.speak(text, "gmw/en-US+f1").waveform for text in ("First.", "Then this.")]

    first = say()
    synthesizer.speak("Something else.")
    for before, after in zip(first, say(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_unknown_voice_and_empty_text(synthesizer):
    with pytest.raises(UserError, match="no voice 'xx/none'"):
        synthesizer.speak("Hello.", "xx/none")
    for nothing in ("", "?!"):
        with pytest.raises(UserError, match="nothing to say"):
            synthesizer.speak(nothing, "gmw/en")
    assert len(synthesizer.speak("Hello.", "gmw/en").waveform)


def test_without_the_extra_one_line_says_what_to_install(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(espeak, "_ENGINE", espeak._Engine())
    monkeypatch.setattr(espeak.importlib, "import_module", missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'cslm\[tts\]'"):
        espeak.Synthesizer()
