"""A HiFi-GAN of transformers as the vocoder: as far as it reaches and no further, so that parts are the whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from cslm.codecs.units import Units
from cslm.decoder.decoder_config import DecoderCard, DecoderConfig
from cslm.decoder.hifigan_vocoder import CLASSES, HifiGanVocoder, pretrained_hifigan, shape_of
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.decoder.speech_stream import SpeechStream
from cslm.errors import UserError
from tests.worlds.tone_voices import CARD, TINY, random_units

CONFIG = replace(TINY, vocoder="hifigan")
SHAPES = [
    {"upsample_rates": [8, 8, 4], "upsample_kernel_sizes": [16, 16, 8]},
    {"upsample_rates": [16, 16], "upsample_kernel_sizes": [16, 18], "resblock_kernel_sizes": [7],
     "resblock_dilation_sizes": [[1, 3, 5]]},
    {"upsample_rates": [4, 4, 4, 4], "upsample_kernel_sizes": [8, 8, 8, 8], "resblock_kernel_sizes": [3, 11],
     "resblock_dilation_sizes": [[1, 9], [1]]},
]  # fmt: skip


def tiny(kind: str = CLASSES[0], **changed: Any) -> Any:
    """Random, and loud enough to be heard."""
    small = {"upsample_initial_channel": 16, "resblock_kernel_sizes": [3, 5],
             "resblock_dilation_sizes": [[1, 3], [1, 2]], **SHAPES[0], **changed}  # fmt: skip
    torch.manual_seed(0)
    cls = getattr(transformers, kind)
    model = cls(cls.config_class(**small)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.ConvTranspose1d):
            module.reset_parameters()
    model.scale.fill_(0.25)
    model.mean.fill_(-1.0)
    return model


def vocoder_of(model: Any, config: DecoderConfig = CONFIG) -> HifiGanVocoder:
    vocoder = HifiGanVocoder(config, shape_of(model))
    vocoder.take(model)
    return vocoder.eval()


def decoder_with(model: Any) -> SpeechDecoder:
    torch.manual_seed(0)
    card = DecoderCard(CONFIG, CARD.fingerprint, CARD.codebook_sizes, 25.0, CARD.voices, shape_of(model))
    decoder = SpeechDecoder(card)
    decoder.vocoder.take(model)
    decoder.mel_mean.fill_(-4.0)
    return decoder.eval()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_sample_depends_on_the_frames_of_its_reach_and_on_no_other(shape: dict[str, Any]) -> None:
    vocoder = vocoder_of(tiny(**shape)).double()
    num_frames, place = 2 * vocoder.reach + 9, vocoder.reach + 4
    mel = torch.randn(1, num_frames, 80, dtype=torch.float64) - 4
    other = mel.clone()
    other[0, place] += 2.0
    with torch.inference_mode():
        difference = vocoder(mel, [num_frames], [0])[0] - vocoder(other, [num_frames], [0])[0]
    changed = torch.nonzero(difference[0].view(num_frames, 256).abs().amax(dim=1)).flatten().tolist()
    assert max(place - changed[0], changed[-1] - place) == vocoder.reach


def test_the_reach_on_the_page_is_that_of_the_shape_of_speecht5() -> None:
    shape = shape_of(tiny(**SHAPES[2])) | {
        "resblock_kernel_sizes": [3, 7, 11], "resblock_dilation_sizes": [[1, 3, 5]] * 3,
    }  # fmt: skip
    told = {"upsample_rates": [4, 4, 4, 4], "upsample_kernel_sizes": [8, 8, 8, 8]}
    default = transformers.SpeechT5HifiGanConfig()
    assert all(list(getattr(default, name)) == value for name, value in told.items())
    assert [list(steps) for steps in default.resblock_dilation_sizes] == shape["resblock_dilation_sizes"]
    reach = HifiGanVocoder(CONFIG, shape).reach
    assert f"`hifigan` | nothing here: others have trained it | {reach} frames, {reach * 256 / 16000:.2f} s" in (
        Path(__file__).parents[2] / "docs" / "streaming.md"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", CLASSES)
def test_what_is_streamed_is_the_whole(kind: str) -> None:
    decoder = decoder_with(tiny(kind))
    units = random_units(5, 60, durations=False)
    whole = decoder.decode(units, "en")
    for size, a_time in ((1, 1), (7, 24)):
        stream = SpeechStream(decoder, "en", 0, a_time)
        sounds = [stream.push(Units(units.ids[start : start + size])) for start in range(0, len(units), size)]
        parts = np.concatenate([sound.samples for sound in [*sounds, stream.finish()]])
        assert sum(len(sound.samples) > 0 for sound in sounds) > 3 and np.abs(whole).max() > 0.01
        np.testing.assert_allclose(parts, whole, rtol=0, atol=1e-4 * np.abs(whole).max())


def test_an_item_sounds_the_same_beside_a_longer_one() -> None:
    vocoder = vocoder_of(tiny())
    mel = torch.randn(2, 20, 80)
    with torch.inference_mode():
        together, _ = vocoder(mel, [20, 11], [0, 0])
        alone, _ = vocoder(mel[1:, :11], [11], [0])
    torch.testing.assert_close(together[1, : 11 * 256], alone[0])
    assert together.shape == (2, 20 * 256) and not together[1, 11 * 256 :].any()


def test_it_makes_what_the_model_makes_of_such_spectrograms() -> None:
    """Ours are natural logarithms of magnitudes; most models were trained on those to the base of 10."""
    model, mel = tiny(), torch.randn(1, 12, 80) - 4
    with torch.inference_mode():
        torch.testing.assert_close(vocoder_of(model)(mel, [12], [0])[0], model(mel / np.log(10)))
        natural = vocoder_of(model, replace(CONFIG, vocoder_log_base=None))
        torch.testing.assert_close(natural(mel, [12], [0])[0], model(mel))


@pytest.mark.parametrize("kind", CLASSES)
def test_a_saved_decoder_needs_nothing_else(kind: str, tmp_path: Path) -> None:
    tiny(kind).save_pretrained(tmp_path / "vocoder")
    config = replace(CONFIG, sample_rate_hz=16000) if kind == CLASSES[0] else CONFIG
    model = pretrained_hifigan(config, tmp_path / "vocoder")
    assert type(model).__name__ == kind
    decoder = decoder_with(model)
    decoder.save_pretrained(tmp_path / "decoder")
    units = random_units(3, 12, durations=False)
    again = SpeechDecoder.from_pretrained(tmp_path / "decoder")
    np.testing.assert_array_equal(again.decode(units, "zh"), decoder.decode(units, "zh"))
    assert not any(parameter.requires_grad for parameter in again.vocoder.parameters())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"hop_length": 512, "n_fft": 2048}, "decoder.hop_length is 512, and the HiFi-GAN has 256: set hop_length 256"),
        ({"num_bands": 64}, "decoder.num_bands is 64"),
        ({"sample_rate_hz": 24000}, "makes 16000 samples a second: set decoder.sample_rate_hz 16000"),
    ],
)
def test_a_model_of_other_spectrograms_is_refused(changed: dict[str, int], message: str, tmp_path: Path) -> None:
    tiny().save_pretrained(tmp_path)
    config = replace(CONFIG, **{"sample_rate_hz": 16000, **changed})
    with pytest.raises(UserError, match=message):
        pretrained_hifigan(config, tmp_path)


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="decoder.vocoder_model: .* cannot be read"):
        pretrained_hifigan(CONFIG, tmp_path / "nothing")
    transformers.LlamaConfig().save_pretrained(tmp_path)
    with pytest.raises(UserError, match="is a model of type llama; hifigan reads those of SpeechT5HifiGan"):
        pretrained_hifigan(CONFIG, tmp_path)
    with pytest.raises(UserError, match="kernels of this HiFi-GAN shift"):
        vocoder_of(tiny(upsample_kernel_sizes=[15, 16, 8]))
    with pytest.raises(UserError, match="name the model in decoder.vocoder_model"):
        HifiGanVocoder(CONFIG)
