"""Who speaks: loud is enough for the energy, and not for silero-vad."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cslm.audio.voice_activity import voice_activity
from cslm.audio.waveform import resample
from cslm.generation.turns import until_silence


def judged(name: str, sound: NDArray[np.float32], rate: int) -> list[float]:
    """Of every frame."""
    activity = voice_activity(name, rate)
    frames = sound[: len(sound) // activity.frame_length * activity.frame_length].reshape(-1, activity.frame_length)
    return [activity(frame) for frame in frames]


@pytest.mark.parametrize(("amplitude", "level"), [(1.0, 1.0), (0.1, 1.0), (0.01, 0.5), (0.001, 0.0), (0.0, 0.0)])
def test_energy_is_in_decibels_of_full_scale(amplitude: float, level: float) -> None:
    """A square wave of 0.01 has -40 dB."""
    sound = np.full(1600, amplitude, np.float32)
    assert judged("energy", sound, 16000) == pytest.approx([level] * 5, abs=1e-5)


@pytest.fixture(scope="module")
def spoken() -> NDArray[np.float32]:
    """A sentence at 16,000 Hz, half a second of silence around it."""
    pytest.importorskip("silero_vad", reason="pip install 'cslm[silero]'")
    pytest.importorskip("espeakng_loader", reason="pip install 'cslm[tts]'")
    from cslm.audio.espeak import Synthesizer

    speech = Synthesizer().speak("The cat that Anna keeps is old and grey.", "gmw/en")
    samples = speech.waveform.astype(np.float32) / 2**15
    still = np.zeros(8000, np.float32)
    return np.concatenate([still, resample(samples, speech.sample_rate_hz, 16000), still])


def test_silero_hears_a_voice_and_no_noise(spoken: NDArray[np.float32]) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, len(spoken)).astype(np.float32)
    assert np.mean(np.array(judged("silero", spoken, 16000))[20:-20] > 0.5) > 0.7
    assert max(judged("silero", noise, 16000)) < 0.5 < min(judged("energy", noise, 16000))


def test_silero_hears_the_same_at_another_rate(spoken: NDArray[np.float32]) -> None:
    """Some milliseconds later: of 24,000 Hz a frame may be told by what came before it."""
    here, there = judged("silero", spoken, 16000), judged("silero", resample(spoken, 16000, 24000), 24000)
    assert abs(len(here) - len(there)) <= 1
    assert abs(sum(value > 0.5 for value in here) - sum(value > 0.5 for value in there)) <= 3


def test_a_turn_by_silero_has_the_sentence_and_not_the_noise_before_it(spoken: NDArray[np.float32]) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, 32000).astype(np.float32)
    sound = np.concatenate([noise, spoken, np.zeros(16000, np.float32)])
    heard = sum(len(samples) for samples, _ in until_silence([(sound, 16000)], activity="silero"))
    assert len(spoken) - 2 * 8000 < heard < len(spoken) + 16000


def test_silero_leaves_the_threads_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing the package sets one thread for the whole process: that is mended once, and then left alone."""
    pytest.importorskip("silero_vad", reason="pip install 'cslm[silero]'")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        voice_activity("silero", 16000)
        assert torch.get_num_threads() == 2
        monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("they were touched again"))
        voice_activity("silero", 16000)
    finally:
        monkeypatch.undo()
        torch.set_num_threads(before)
