"""Speech that is made part by part is the speech of the whole."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from cslm.codecs.units import Units
from cslm.decoder.decoder_config import DecoderConfig
from cslm.decoder.frame_noise import NORMAL, UNIFORM, frame_noise
from cslm.decoder.speech_decoder import SpeechDecoder
from cslm.decoder.speech_stream import SpeechStream
from cslm.errors import UserError
from tests.worlds.tone_voices import CARD, FINGERPRINT, random_units

SCALE = 0.05


class WrittenOut(nn.Module):
    """In the place of a vocoder: its samples are the numbers of the spectrogram, scaled, one frame after another."""

    reach, lead, is_trained = 3, 0, False

    def __init__(self) -> None:
        super().__init__()
        self.windows: list[tuple[int, torch.Tensor]] = []

    def forward(self, log_mel, lengths, seeds, first_frame=0, carried=None):
        self.windows.append((first_frame, log_mel[0]))
        batch, num_frames, num_bands = log_mel.shape
        sound = log_mel.new_zeros(batch, num_frames, 256)
        sound[..., :num_bands] = log_mel * SCALE
        return sound.view(batch, -1), None


def new_decoder(**changes) -> SpeechDecoder:
    """Untrained, but every net says something."""
    torch.manual_seed(0)
    config = DecoderConfig(**{**{name: getattr(CARD.decoder, name) for name in CARD.decoder.__dict__}, **changes})
    decoder = SpeechDecoder(type(CARD)(config, FINGERPRINT, CARD.codebook_sizes, CARD.frame_rate_hz, CARD.voices))
    for parameter in decoder.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    decoder.mel_mean.fill_(-4.0)
    return decoder.eval()


def streamed(decoder: SpeechDecoder, units: Units, voice: str, sizes: int, a_time: int = 1, seed: int = 0) -> list:
    stream, sounds = SpeechStream(decoder, voice, seed, a_time), []
    for start in range(0, len(units), sizes):
        sounds.append(stream.push(Units(units.ids[start : start + sizes])))
    return [*sounds, stream.finish()]


def joined(sounds: list) -> np.ndarray:
    return np.concatenate([sound.samples for sound in sounds])


@pytest.mark.parametrize(
    "changes",
    [{}, {"num_blocks": 5, "num_condition_blocks": 2, "num_flow_blocks": 3, "width": 32}, {"num_flow_steps": 0},
     {"duration_kernel_size": 5, "num_condition_blocks": 0}, {"temperature": 1.0}],
)  # fmt: skip
@pytest.mark.parametrize("double", [False, True])
def test_the_spectrogram_is_that_of_the_whole(changes, double):
    decoder = new_decoder(**changes)
    decoder.vocoder = WrittenOut()
    decoder = decoder.double() if double else decoder
    units = random_units(3, 60, durations=False)
    whole = decoder.decode(units, "zh")
    for sizes, a_time in ((1, 1), (3, 5), (7, 24), (100, 1)):
        parts = joined(streamed(decoder, units, "zh", sizes, a_time))
        assert len(parts) == len(whole)
        np.testing.assert_allclose(parts, whole, rtol=0, atol=SCALE * 1e-4)


def test_the_durations_were_copied_for_every_reply():
    """Once is enough, and again where the weights have changed since."""
    decoder = new_decoder()
    copied = decoder.durations.in_double()
    assert decoder.durations.in_double() is copied and "_in_double" not in str([*decoder.state_dict()])
    with torch.no_grad():
        decoder.durations.linear.bias.add_(1.0)
    again = decoder.durations.in_double()
    assert again is not copied and torch.equal(again.linear.bias, decoder.durations.linear.bias.double())


def test_in_double_precision_to_nine_places():
    """Samples are given out in single precision, so the frames are compared before."""
    decoder = new_decoder(num_blocks=3, num_flow_blocks=2).double()
    units = random_units(3, 50, durations=False)
    lasting = decoder.predict_durations(units, "en")
    with torch.inference_mode():
        whole, _ = decoder._log_mel([lasting], [0], [7])
    decoder.vocoder = WrittenOut()
    streamed(decoder, units, "en", 1, seed=7)
    assert len(decoder.vocoder.windows) > 20
    known = torch.zeros(len(whole[0]), dtype=torch.bool)
    for first, window in decoder.vocoder.windows:
        known[first : first + len(window)] = True
        torch.testing.assert_close(window, whole[0, first : first + len(window)], rtol=0, atol=1e-9)
    assert known.all()


@pytest.mark.parametrize("num_iterations", [0, 2, 24])
def test_griffin_lim_is_streamed_too_with_all_that_it_reaches(num_iterations):
    decoder = new_decoder(num_griffin_lim_iterations=num_iterations)
    units = random_units(5, 80, durations=False)
    whole = decoder.decode(units, "en")
    sounds = streamed(decoder, units, "en", 5, 8)
    assert len(joined(sounds)) == len(whole)
    assert sum(len(sound.samples) > 0 for sound in sounds) > 3
    np.testing.assert_allclose(joined(sounds), whole, rtol=0, atol=5e-4 * np.abs(whole).max())


def test_a_sustained_tone_is_as_smooth_at_joints_as_inside(trained):
    """One unit over and over: what is faded, or begins anew, is heard as a pulse."""
    units = Units(np.full((60, 1), 5))
    sounds = streamed(trained, units, "en", 4, 8)
    waveform, joints = joined(sounds), np.cumsum([len(sound.samples) for sound in sounds])[:-1]
    joints = np.unique(joints[(joints > 4000) & (joints < len(waveform) - 4000)])
    assert len(joints) > 5
    jumps = np.abs(np.diff(waveform))
    levels = np.sqrt(np.convolve(waveform**2, np.ones(512) / 512, "same"))
    inside = np.ones(len(jumps), bool)
    inside[[*joints, *(joints - 1)]] = False
    steady = slice(4000, len(waveform) - 4000)
    assert jumps[joints - 1].max() <= 1.05 * jumps[steady][inside[steady]].max()
    assert levels[joints].max() <= 1.05 * levels[steady].max() and levels[joints].min() >= 0.95 * levels[steady].min()


def test_samples_come_before_all_units_are_known_and_say_what_has_sounded():
    decoder = new_decoder(num_griffin_lim_iterations=0)
    units = random_units(1, 40, durations=False)
    lasting = decoder.predict_durations(units, "en").durations
    sounds, heard = streamed(decoder, units, "en", 1), 0
    first = next(place for place, sound in enumerate(sounds) if len(sound.samples))
    assert first < 20
    for sound in sounds:
        heard += len(sound.samples)
        assert all(heard - len(sound.samples) < end <= heard for end in sound.unit_ends)
    assert [end for sound in sounds for end in sound.unit_ends] == (np.cumsum(lasting) * 882).tolist()


def test_where_windows_end_does_not_depend_on_how_units_come():
    decoder = new_decoder(num_griffin_lim_iterations=3)
    units = random_units(2, 70, durations=False)
    one, many = (joined(streamed(decoder, units, "en", sizes, 8)) for sizes in (1, 70))
    assert np.array_equal(one, many)


def test_several_codebooks_and_an_utterance_without_units():
    card = type(CARD)(CARD.decoder, FINGERPRINT, (4, 5), 25.0, ("en",))
    torch.manual_seed(0)
    decoder = SpeechDecoder(card).eval()
    units = Units(np.random.default_rng(0).integers(0, 4, (50, 2)))
    whole = decoder.decode(units, "en")
    parts = joined(streamed(decoder, units, "en", 3))
    assert len(parts) == len(whole) == 50 * 882
    np.testing.assert_allclose(parts, whole, rtol=0, atol=5e-4 * np.abs(whole).max())
    assert len(SpeechStream(decoder, "en").finish().samples) == 0
    with pytest.raises(UserError, match="no voice 'fr'"):
        SpeechStream(decoder, "fr")
    with pytest.raises(UserError, match="outside the codebooks"):
        SpeechStream(decoder, "en").push(Units(np.array([[4, 0]])))


def test_noise_belongs_to_the_frame():
    for kind in (NORMAL, UNIFORM):
        whole = frame_noise(2**62 - 1, kind, 0, 200, 7)
        for first, count in ((0, 1), (31, 2), (32, 32), (5, 150), (199, 1), (64, 0)):
            assert torch.equal(frame_noise(2**62 - 1, kind, first, count, 7), whole[first : first + count])
        assert not torch.equal(whole, frame_noise(0, kind, 0, 200, 7))
    numbers = frame_noise(1, NORMAL, 0, 4000, 20)
    assert abs(float(numbers.mean())) < 0.01 and abs(float(numbers.std()) - 1) < 0.01
    halves = numbers[:2000].flatten(), numbers[2000:].flatten()
    assert abs(float((halves[0] * halves[1]).mean())) < 0.02


def test_a_stream_leaves_the_decoder_as_it_was():
    decoder = new_decoder()
    before = copy.deepcopy(decoder.state_dict())
    streamed(decoder, random_units(0, 12), "en", 2)
    for name, value in decoder.state_dict().items():
        assert torch.equal(value, before[name]) and value.dtype == before[name].dtype
