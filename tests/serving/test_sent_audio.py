"""Sound to clients: the parts join to what the whole is resampled to."""

from __future__ import annotations

import io
import wave

import numpy as np
import pytest
import soxr

from cslm.audio.waveform import RESAMPLER_QUALITY
from cslm.serving.sent_audio import SentSound, pcm16, wav_file
from tests.worlds.tiny_checkpoint import tone


@pytest.mark.parametrize("piece", [1, 100, 5000, 10**6])
@pytest.mark.parametrize("rate", [22050, 16000, 24000])
def test_parts_join_to_the_whole(piece: int, rate: int) -> None:
    whole = tone(0.3, rate)
    sound = SentSound(rate)
    parts = [sound.push(whole[start : start + piece]) for start in range(0, len(whole), piece)]
    joined = np.concatenate([*parts, sound.finish()])
    expected = whole if rate == 24000 else soxr.resample(whole, rate, 24000, RESAMPLER_QUALITY)
    assert len(joined) == len(expected) == sound.num_samples
    np.testing.assert_allclose(joined, expected, atol=2e-6)


def test_places_of_one_rate_in_the_other() -> None:
    sound = SentSound(22050)
    assert sound.place_sent(22050) == 24000 and sound.place_made(1000) == 22050 and sound.place_made(0.5) == 11


def test_a_wav_file_is_one() -> None:
    samples = tone(0.1, 24000)
    with wave.open(io.BytesIO(wav_file(pcm16(samples)))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 24000)
        read = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    np.testing.assert_allclose(read / 32767, samples, atol=2e-5)
    assert pcm16(np.array([2.0, -2.0], np.float32)) == b"\xff\x7f\x00\x80"
