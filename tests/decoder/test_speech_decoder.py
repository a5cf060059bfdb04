from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from cslm.codecs.units import Units
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.errors import UserError
from tests.worlds.tone_voices import CARD, FINGERPRINT, NUM_UNITS, random_units, tone_hz


@pytest.fixture
def decoder() -> SpeechDecoder:
    torch.manual_seed(0)
    return SpeechDecoder(CARD).eval()


def loudest_hz(waveform: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform)), 16384))
    return float(spectrum.argmax() * 22050 / 16384)


def test_the_tones_sound(trained):
    """Each unit sounds at its frequency, in both voices, for as long as it should."""
    units = random_units(99, 12)
    ends = np.cumsum(units.durations) * 882
    for voice, name in enumerate(("en", "zh")):
        waveform = trained.decode(units, name)
        assert len(waveform) == ends[-1] and waveform.dtype == np.float32
        right = [
            abs(loudest_hz(waveform[end - length * 882 : end]) / tone_hz(unit, voice) - 1) < 0.08
            for unit, length, end in zip(units.ids[:, 0].tolist(), units.durations.tolist(), ends.tolist(), strict=True)
            if length >= 3
        ]
        assert np.mean(right) > 0.9


def test_durations_are_learnt(trained):
    units = random_units(5, 12, durations=False)
    predicted = trained.predict_durations(units, "en").durations
    assert np.mean(predicted == units.ids[:, 0] + 1) > 0.7
    assert len(trained.decode(units, "en")) == predicted.sum() * 882


def test_an_item_does_not_depend_on_its_neighbours(decoder):
    units = [random_units(seed, num, durations=seed % 2 == 0) for seed, num in enumerate((9, 3, 14, 1, 6))]
    voices = ["en", "zh", "en", "zh", "zh"]
    together = decoder.decode_batch(units, voices)
    for item, voice, waveform in zip(units, voices, together, strict=True):
        np.testing.assert_allclose(decoder.decode(item, voice), waveform, atol=2e-4)


def test_more_than_one_group_at_once(decoder, monkeypatch):
    units = [random_units(seed, 6) for seed in range(4)]
    together = decoder.decode_batch(units, ["en"] * 4)
    monkeypatch.setattr("cslm.decoder.speech_decoder._MEL_FRAMES_AT_ONCE", 100)
    for one, other in zip(together, decoder.decode_batch(units, ["en"] * 4), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_the_generator_decides(decoder):
    units = random_units(0, 8)
    draw = [decoder.decode(units, "en", torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(draw[0], draw[1])
    assert np.abs(draw[0] - draw[2]).max() > 1e-3
    np.testing.assert_array_equal(decoder.decode(units, "en"), decoder.decode(units, "en"))


def test_no_units_no_sound(decoder):
    nothing = Units(np.zeros((0, 1), np.int64))
    waveforms = decoder.decode_batch([nothing, random_units(0, 2), nothing], ["en"] * 3)
    assert [len(waveform) > 0 for waveform in waveforms] == [False, True, False]
    assert decoder.decode_batch([], []) == []


@pytest.mark.parametrize(
    ("ids", "voice", "message"),
    [
        ([[0]], "fr", "no voice 'fr', only en, zh"),
        ([[NUM_UNITS]], "en", "outside the codebooks"),
        ([[-1]], "en", "outside the codebooks"),
        ([[0, 1]], "en", "2 codebooks, the speech decoder knows 1"),
    ],
)
def test_what_does_not_fit_is_refused(decoder, ids, voice, message):
    with pytest.raises(UserError, match=message):
        decoder.decode(Units(np.array(ids)), voice)


def test_saved_and_opened_it_sounds_the_same(decoder, tmp_path):
    decoder.mel_mean.fill_(-3.0)
    decoder.save_pretrained(tmp_path)
    opened = SpeechDecoder.from_pretrained(tmp_path, fingerprint=FINGERPRINT)
    units = random_units(1, 8, durations=False)
    np.testing.assert_array_equal(opened.decode(units, "zh"), decoder.decode(units, "zh"))
    assert opened.card == CARD and opened.voices == ("en", "zh") and opened.sample_rate_hz == 22050
    opened.save_pretrained(tmp_path / "again")
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_units_of_another_tokenizer_name_both_sides(decoder, tmp_path):
    decoder.save_pretrained(tmp_path)
    with pytest.raises(UserError, match=f"speech decoder {tmp_path}.*{FINGERPRINT}.*the checkpoint C.*sha256:other"):
        SpeechDecoder.from_pretrained(tmp_path, "sha256:other", "the checkpoint C")


def test_a_folder_that_is_no_decoder(decoder, tmp_path):
    with pytest.raises(UserError, match="there is no speech decoder"):
        SpeechDecoder.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="not the configuration of a speech decoder"):
        SpeechDecoder.from_pretrained(tmp_path)
    decoder.save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-5000])
    with pytest.raises(UserError, match=r"model\.safetensors cannot be read"):
        SpeechDecoder.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["decoder"]["unheard_of"] = 1
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="unheard_of"):
        SpeechDecoder.from_pretrained(tmp_path)


def test_several_codebooks_are_one_row_a_frame():
    card = type(CARD)(CARD.decoder, FINGERPRINT, (4, 5), 25.0, ("en",))
    units = Units(np.array([[0, 4], [3, 0], [3, 0]]))
    assert len(SpeechDecoder(card).eval().decode(units, "en")) == 3 * 882
