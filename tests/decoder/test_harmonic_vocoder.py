"""The vocoder that learns: pitch, an oscillator that goes on turning, and spectra that a net shapes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cslm.audio.log_mel import LogMel
from cslm.audio.pitch import pitch
from cslm.codecs.units import Units
from cslm.decoder.decoder_config import DecoderCard, DecoderConfig
from cslm.decoder.harmonic_vocoder import HarmonicVocoder, vocoder_errors
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.decoder.speech_stream import SpeechStream
from cslm.errors import UserError
from tests.worlds.tone_voices import CARD, random_units

SMALL = DecoderConfig(vocoder="harmonic", vocoder_width=32, num_vocoder_blocks=1)
RATE = 22050


def voice(hz: float, seconds: float, glide: float = 0.0, seed: int = 0) -> np.ndarray:
    """A buzz with the spectrum of a vowel, and some breath."""
    time = np.arange(int(seconds * RATE)) / RATE
    turns = hz * time + glide * time**2 / 2
    harmonics = sum(np.cos(2 * np.pi * k * turns) / (1 + ((k * hz - 700) / 500) ** 2) for k in range(1, 25))
    return (0.1 * harmonics + 0.003 * np.random.default_rng(seed).standard_normal(len(time))).astype(np.float32)


def log_mel(waveform: np.ndarray) -> torch.Tensor:
    return LogMel(RATE, 1024, 256, 80, 0.0, 8000.0)(torch.from_numpy(waveform))


@pytest.mark.parametrize("hz", [75.0, 120.0, 200.0, 340.0])
def test_pitch_is_found(hz):
    found, periodicity = pitch(torch.from_numpy(voice(hz, 1.0))[None], RATE, 1024, 256)
    inside = slice(4, found.shape[1] - 4)
    assert (found[0, inside] / hz - 1).abs().max() < 0.01 and periodicity[0, inside].min() > 0.8
    noise = torch.randn(1, RATE, generator=torch.Generator().manual_seed(0))
    assert pitch(noise, RATE, 1024, 256)[1].median() < 0.4


def trained_vocoder(steps: int) -> tuple[HarmonicVocoder, list[float]]:
    torch.manual_seed(0)
    vocoder = HarmonicVocoder(SMALL)
    optimizer = torch.optim.AdamW(vocoder.parameters(), lr=4e-3)
    numbers, losses = np.random.default_rng(0), []
    for step in range(steps):
        waves = [voice(numbers.uniform(90, 250), 0.5, numbers.uniform(-60, 60), step) for _ in range(3)]
        mels = torch.stack([log_mel(wave)[:40] for wave in waves])
        waveform = torch.from_numpy(np.stack(waves))[:, : 40 * 256].view(3, 40, 256)
        noise = torch.randn(waveform.shape)
        loss = vocoder_errors(vocoder, mels, waveform, torch.ones(3, 40, 1), noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return vocoder.eval(), losses


@pytest.fixture(scope="module")
def learnt():
    return trained_vocoder(150)


def test_it_learns_a_voice_in_seconds(learnt):
    vocoder, losses = learnt
    assert np.mean(losses[-10:]) < 0.6 * np.mean(losses[:10])
    wave = voice(163.0, 1.0)
    wanted = log_mel(wave)[:80]
    with torch.inference_mode():
        made = vocoder(wanted[None], [80], [0])[0][0].numpy()
    found, _ = pitch(torch.from_numpy(made)[None], RATE, 1024, 256)
    assert (found[0, 10:70] / 163.0 - 1).abs().median() < 0.06  # a semitone, after so few steps
    audible = wanted[10:70] > wanted.max() - 5
    assert (log_mel(made)[10:70] - wanted[10:70]).abs()[audible].mean() < 0.45


def test_a_steady_tone_stays_steady(learnt):
    """The net sees the same frame over and over; the oscillator goes on turning, window after window."""
    vocoder, _ = learnt
    frame = log_mel(voice(150.0, 1.0))[40]
    with torch.inference_mode():
        made = vocoder(frame.expand(1, 200, -1), [200], [0])[0][0].numpy()
    middle = made[20 * 256 : 180 * 256].reshape(-1, 2048)
    levels = np.sqrt((middle**2).mean(axis=1))
    assert levels.max() / levels.min() < 1.1


def test_each_correction_brings_the_sound_nearer_to_what_was_wanted(learnt):
    vocoder, _ = learnt
    wanted = log_mel(voice(163.0, 1.0))[:80]
    distances = []
    try:
        for vocoder.num_corrections in (0, 1, 2, 4):
            with torch.inference_mode():
                made = vocoder(wanted[None], [80], [0])[0][0].numpy()
            distances.append(float((log_mel(made)[10:70] - wanted[10:70]).abs().mean()))
    finally:
        vocoder.num_corrections = SMALL.num_vocoder_corrections
    assert distances == sorted(distances, reverse=True) and distances[2] < 0.6 * distances[0]


def test_the_end_of_an_answer_sounded_otherwise_in_a_batch(learnt):
    """The frames of padding behind it sounded, and windows overlap."""
    vocoder, _ = learnt
    short, long = log_mel(voice(150.0, 0.4))[:30], log_mel(voice(200.0, 1.0))[:70]
    padded = torch.stack([torch.cat([short, torch.zeros(40, short.shape[1])]), long])
    with torch.inference_mode():
        alone = vocoder(short[None], [30], [0])[0][0]
        together = vocoder(padded, [30, 70], [0, 1])[0][0]
    torch.testing.assert_close(together[: 30 * 256], alone, atol=1e-5, rtol=0)
    assert not together[32 * 256 :].any()


def speaking(**changes) -> SpeechDecoder:
    torch.manual_seed(0)
    config = replace(CARD.decoder, vocoder="harmonic", vocoder_width=32, num_vocoder_blocks=2, **changes)
    decoder = SpeechDecoder(DecoderCard(config, CARD.fingerprint, CARD.codebook_sizes, 25.0, CARD.voices)).eval()
    for parameter in decoder.parameters():
        parameter.data.add_(0.05 * torch.randn_like(parameter))
    decoder.mel_mean.fill_(-3.0)
    return decoder


@pytest.mark.parametrize("double", [False, True])
def test_what_is_streamed_is_the_whole_the_phase_is_carried(double):
    decoder = speaking().double() if double else speaking()
    units = random_units(1, 80, durations=False)
    whole = decoder.decode(units, "en")
    for a_time in (1, 8, 24):
        stream = SpeechStream(decoder, "en", 0, a_time)
        sounds = [stream.push(Units(units.ids[row : row + 1])) for row in range(len(units))] + [stream.finish()]
        parts = np.concatenate([sound.samples for sound in sounds])
        assert len(parts) == len(whole) and sum(len(sound.samples) > 0 for sound in sounds) > 8
        tolerance = 1e-6 if double else 2e-3  # single samples; a turn of the oscillator adds up
        np.testing.assert_allclose(parts, whole, rtol=0, atol=tolerance * np.abs(whole).max())


def test_it_sounds_soon_and_is_saved_and_opened(tmp_path):
    decoder = speaking()
    assert decoder.vocoder.reach * 256 / RATE < 0.25
    decoder.save_pretrained(tmp_path)
    opened = SpeechDecoder.from_pretrained(tmp_path)
    units = random_units(1, 8)
    np.testing.assert_array_equal(opened.decode(units, "zh"), decoder.decode(units, "zh"))


def test_a_vocoder_that_is_not_there():
    with pytest.raises(UserError, match="decoder.vocoder is 'vocos': choose one of griffin_lim, hifigan, harmonic"):
        SpeechDecoder(replace(CARD, decoder=DecoderConfig(vocoder="vocos")))
