from __future__ import annotations

import math

import pytest
import torch

from cslm.audio.log_mel import LogMel
from cslm.decoder.decoder_config import DecoderConfig
from cslm.decoder.griffin_lim import griffin_lim
from cslm.decoder.griffin_lim_vocoder import GriffinLimVocoder


def chirp(num_samples: int = 12 * 256) -> torch.Tensor:
    time = torch.arange(num_samples) / 22050
    return 0.3 * torch.sin(2 * math.pi * (400 * time + 1500 * time**2)) + 0.1 * torch.sin(2 * math.pi * 1700 * time)


def magnitudes(waveform: torch.Tensor) -> torch.Tensor:
    return LogMel(22050, 1024, 256, 80).magnitudes(waveform)


def distance(num_iterations: int, momentum: float = 0.99) -> float:
    wanted = magnitudes(chirp())[None]
    phases = torch.rand(wanted.shape, generator=torch.Generator().manual_seed(0))
    found = magnitudes(griffin_lim(wanted, phases, 256, num_iterations, momentum))
    return float((found - wanted).norm() / wanted.norm())


def test_iterations_bring_the_spectrum_nearer():
    assert distance(60) < distance(20) < distance(0)
    assert distance(60) < 0.12


def test_true_phases_give_the_waveform_back():
    waveform = chirp()
    spectrum = torch.stft(
        waveform, 1024, 256, window=torch.hann_window(1024), center=True, pad_mode="constant", return_complex=True
    ).T
    found = griffin_lim(spectrum.abs()[None], (spectrum.angle() / (2 * math.pi))[None], 256, 3, 0.99)[0]
    torch.testing.assert_close(found, waveform[: len(found)], atol=2e-4, rtol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.99])
def test_silence_stays_silent_and_finite(momentum):
    waveform = griffin_lim(torch.zeros(2, 9, 513), torch.rand(2, 9, 513), 256, 5, momentum)
    assert waveform.shape == (2, 8 * 256)
    assert waveform.abs().max() < 1e-6


def test_the_vocoder_keeps_the_log_mel_of_a_sound():
    config = DecoderConfig(num_griffin_lim_iterations=40)
    transform = LogMel(22050, 1024, 256, 80, 0.0, 8000.0)
    wanted = transform(chirp())
    waveform = GriffinLimVocoder(config)(wanted[None], [len(wanted)], [0])[0]
    found = transform(waveform[0])[: len(wanted)]
    audible = wanted[2:-2] > wanted.max() - 4
    assert (found[2 : len(wanted) - 2] - wanted[2:-2]).abs()[audible].mean() < 0.25
