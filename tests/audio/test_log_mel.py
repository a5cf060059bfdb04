"""Log-mel spectrograms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from cslm.audio.log_mel import LOG_FLOOR, LogMel, mel_filters


def test_shapes_with_and_without_a_batch():
    mel = LogMel(16000, 512, 160, 80)
    one = mel(torch.randn(16000))
    assert one.shape == (mel.num_frames(16000), 80) == (101, 80)
    assert mel(torch.randn(3, 16000)).shape == (3, 101, 80)
    assert mel.frame_rate_hz == 100.0


def test_a_clip_alone_is_as_in_a_batch():
    mel, clips = LogMel(16000, 512, 160, 40), torch.randn(4, 8000)
    together = mel(clips)
    for clip, row in zip(clips, together, strict=True):
        torch.testing.assert_close(mel(clip), row)


def test_silence_is_the_floor_and_short_clips_have_a_frame():
    mel = LogMel(16000, 512, 160, 80)
    torch.testing.assert_close(mel(torch.zeros(1600)), torch.full((11, 80), math.log(LOG_FLOOR)))
    assert mel(torch.ones(3)).shape == (1, 80)


@pytest.mark.parametrize("frequency_hz", [300.0, 1000.0, 3000.0])
def test_a_tone_peaks_in_its_band(frequency_hz):
    rate_hz, num_bands = 16000, 80
    tone = torch.sin(2 * math.pi * frequency_hz * torch.arange(rate_hz) / rate_hz)
    loudest = int(LogMel(rate_hz, 1024, 160, num_bands)(tone)[50].argmax())
    filters = mel_filters(rate_hz, 1024, num_bands, 0.0, rate_hz / 2)
    centre_hz = float(filters[:, loudest].argmax()) * rate_hz / 1024
    assert abs(centre_hz - frequency_hz) < 70


def test_filters_are_slaney_s():
    # librosa.filters.mel(sr=16000, n_fft=512, n_mels=40): equal areas; linear below 1 kHz, so equal widths there.
    filters = mel_filters(16000, 512, 40, 0.0, 8000.0)
    assert filters.shape == (257, 40) and float(filters.min()) == 0.0
    edges_hz = [(float(column.nonzero().min()) * 31.25, float(column.nonzero().max()) * 31.25) for column in filters.T]
    widths = [stop - start for start, stop in edges_hz[:10]]
    assert max(widths) - min(widths) <= 31.25 + 1e-6
    np.testing.assert_allclose(filters.sum(0)[20:].numpy() * 31.25, 2.0 / 2.0, rtol=0.15)


def test_the_gradient_is_finite_even_for_silence():
    waveform = torch.zeros(2000, requires_grad=True)
    LogMel(16000, 512, 160, 80)(waveform).sum().backward()
    assert waveform.grad is not None and bool(torch.isfinite(waveform.grad).all())


def test_nothing_is_saved_in_a_checkpoint():
    assert LogMel(16000, 512, 160, 80).state_dict() == {}
