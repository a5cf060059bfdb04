"""Augmentation: what is changed, and what stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.audio import augment

RATE_HZ = 8000


def buzz(pitch_hz=120.0, duration_sec=1.0, formant_hz=1000.0):
    """Harmonics of a pitch under one broad formant."""
    time = np.arange(int(duration_sec * RATE_HZ)) / RATE_HZ
    harmonics = np.arange(1, int(RATE_HZ / 2 / pitch_hz))
    levels = 1.0 / (1.0 + ((harmonics * pitch_hz - formant_hz) / 250.0) ** 2)
    waves = np.sin(2 * np.pi * pitch_hz * harmonics[:, None] * time[None])
    return (0.05 * levels[:, None] * waves).sum(0).astype(np.float32)


def pitch_of(waveform):
    middle = waveform[2000:6000]
    correlation = np.correlate(middle, middle, "full")[len(middle) - 1 :]
    return RATE_HZ / (30 + int(np.argmax(correlation[30:150])))


def centre_of(waveform):
    spectrum = np.abs(np.fft.rfft(waveform[2000:6000])) ** 2
    return float((spectrum * np.fft.rfftfreq(4000, 1 / RATE_HZ)).sum() / spectrum.sum())


CHANGES = [
    augment.change_speed,
    augment.change_pitch,
    augment.change_vocal_tract,
    augment.change_gain,
    augment.change_channel,
    augment.add_noise,
    augment.add_reverberation,
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_reproducible_and_stays_in_range(change):
    first, second, other = (change(buzz(), RATE_HZ, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert first.dtype == np.float32 and np.abs(first).max() <= 1.0 and np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)
    assert len(first) != len(other) or not np.array_equal(first, other)


def test_speed_changes_the_length_and_not_the_pitch():
    faster = augment.change_voice(buzz(), RATE_HZ, speed=1.25)
    assert abs(len(faster) - RATE_HZ / 1.25) < 10
    assert pitch_of(faster) == pytest.approx(120.0, rel=0.02)


def test_pitch_changes_the_pitch_and_not_the_length_or_the_formant():
    higher = augment.change_voice(buzz(), RATE_HZ, pitch=1.25)
    assert abs(len(higher) - RATE_HZ) < 10
    assert pitch_of(higher) == pytest.approx(150.0, rel=0.02)
    assert centre_of(higher) == pytest.approx(centre_of(buzz()), rel=0.1)


def test_the_vocal_tract_moves_the_formant_and_not_the_pitch():
    shorter = augment.change_voice(buzz(), RATE_HZ, vocal_tract=1.2)
    assert len(shorter) == RATE_HZ
    assert pitch_of(shorter) == pytest.approx(120.0, rel=0.02)
    assert 1.1 < centre_of(shorter) / centre_of(buzz()) < 1.35


def test_no_change_is_no_change():
    np.testing.assert_array_equal(augment.change_voice(buzz(), RATE_HZ), buzz())
    np.testing.assert_allclose(augment.warp_envelope(buzz(), RATE_HZ, 1.0), buzz(), atol=1e-5)


def test_noise_has_the_ratio_asked_for():
    noisy = augment.add_noise(buzz(), RATE_HZ, np.random.default_rng(0), ratios_db=(10.0, 10.0))
    ratio = np.mean(buzz() ** 2) / np.mean((noisy - buzz()) ** 2)
    assert 10 * np.log10(ratio) == pytest.approx(10.0, abs=0.1)


@settings(deadline=None, max_examples=30)
@given(length=st.integers(1, 3000), factor=st.floats(0.6, 1.6), seed=st.integers(0, 9))
def test_any_length_is_taken(length, factor, seed):
    waveform = np.random.default_rng(seed).uniform(-0.5, 0.5, length).astype(np.float32)
    assert len(augment.stretch(waveform, RATE_HZ, factor)) == round(length * factor)
    assert len(augment.warp_envelope(waveform, RATE_HZ, factor)) == length
    changed = augment.change_voice(waveform, RATE_HZ, pitch=factor, vocal_tract=1.1, speed=0.9)
    assert np.isfinite(changed).all()
