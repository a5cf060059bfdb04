"""Make one recording sound like another speaker, pace, microphone or room.

Every function takes (waveform, sample_rate_hz, generator) and keyword ranges, and returns a new float32 waveform
``(num_samples,)``. The deterministic operations behind them (:func:`change_voice`, :func:`stretch`,
:func:`warp_envelope`) take the amount instead of a generator.
"""

from __future__ import annotations

import numpy as np

from cslm.audio.waveform import resample

_WINDOW_SEC = 0.032
_STRETCH_WINDOW_SEC = 0.03
_STRETCH_SEARCH_SEC = 0.008
_ENVELOPE_QUEFRENCY_SEC = 0.0022
"""Cepstrum up to here is the vocal tract; the pitch of voices lies above."""

Range = tuple[float, float]


def change_speed(
    waveform: np.ndarray, sample_rate_hz: int, generator: np.random.Generator, factors: Range = (0.8, 1.25)
) -> np.ndarray:
    """Speak faster (above 1) or slower, at the same pitch."""
    return change_voice(waveform, sample_rate_hz, speed=_between(factors, generator))


def change_pitch(
    waveform: np.ndarray, sample_rate_hz: int, generator: np.random.Generator, semitones: Range = (-5.0, 5.0)
) -> np.ndarray:
    """Raise or lower the voice, with the same vocal tract and pace."""
    return change_voice(waveform, sample_rate_hz, pitch=2.0 ** (float(generator.uniform(*semitones)) / 12.0))


def change_vocal_tract(
    waveform: np.ndarray, sample_rate_hz: int, generator: np.random.Generator, factors: Range = (0.82, 1.22)
) -> np.ndarray:
    """Move the formants up (above 1: a shorter vocal tract) or down, at the same pitch and pace."""
    return change_voice(waveform, sample_rate_hz, vocal_tract=_between(factors, generator))


def change_gain(
    waveform: np.ndarray, sample_rate_hz: int, generator: np.random.Generator, decibels: Range = (-12.0, 6.0)
) -> np.ndarray:
    """Louder or softer, never beyond [-1, 1]."""
    louder = waveform * 10.0 ** (float(generator.uniform(*decibels)) / 20.0)
    return _within(louder)


def change_channel(
    waveform: np.ndarray,
    sample_rate_hz: int,
    generator: np.random.Generator,
    decibels: float = 8.0,
    num_points: int = 6,
) -> np.ndarray:
    """Another microphone: a smooth random frequency response of up to ``decibels`` up and down."""
    length = _fast_length(len(waveform) + sample_rate_hz // 10)
    frequencies_hz = np.fft.rfftfreq(length, 1.0 / sample_rate_hz)
    points_hz = np.concatenate([[0.0], np.geomspace(100.0, sample_rate_hz / 2, num_points)])
    response_db = np.interp(frequencies_hz, points_hz, generator.uniform(-decibels, decibels, num_points + 1))
    spectrum = np.fft.rfft(waveform, length) * 10.0 ** (response_db / 20.0)
    return _within(np.fft.irfft(spectrum, length)[: len(waveform)])


def add_noise(
    waveform: np.ndarray,
    sample_rate_hz: int,
    generator: np.random.Generator,
    ratios_db: Range = (5.0, 40.0),
    slopes: Range = (0.0, 2.0),
) -> np.ndarray:
    """Add noise of a random signal-to-noise ratio and colour (power falls with frequency to the power ``slopes``)."""
    length = _fast_length(len(waveform))
    shape = np.fft.rfftfreq(length, 1.0 / sample_rate_hz)
    shape[0] = shape[1]
    slope = float(generator.uniform(*slopes))
    noise = np.fft.irfft(np.fft.rfft(generator.standard_normal(length)) * shape ** (-slope / 2), length)[
        : len(waveform)
    ]
    ratio = 10.0 ** (float(generator.uniform(*ratios_db)) / 20.0)
    return _within(waveform + noise * (_loudness(waveform) / (ratio * max(_loudness(noise), 1e-9))))


def add_reverberation(
    waveform: np.ndarray,
    sample_rate_hz: int,
    generator: np.random.Generator,
    decays_sec: Range = (0.05, 0.4),
    levels: Range = (0.05, 0.4),
) -> np.ndarray:
    """A small room: noise that dies away by 60 dB in a random time, mixed with the direct sound."""
    decay_sec = _between(decays_sec, generator)
    time_sec = np.arange(int(decay_sec * sample_rate_hz)) / sample_rate_hz
    tail = generator.standard_normal(len(time_sec)) * 10.0 ** (-3.0 * time_sec / decay_sec)
    tail *= _between(levels, generator) / max(float(np.sqrt(np.sum(tail**2))), 1e-9)
    length = _fast_length(len(waveform) + len(tail))
    echo = np.fft.irfft(np.fft.rfft(waveform, length) * np.fft.rfft(tail, length), length)[: len(waveform)]
    return _within(waveform + echo)


def change_voice(
    waveform: np.ndarray, sample_rate_hz: int, pitch: float = 1.0, vocal_tract: float = 1.0, speed: float = 1.0
) -> np.ndarray:
    """Multiply pitch, formants and pace, each by its own factor.

    Resampling moves all three at once; the envelope is then warped and the time stretched to where they belong.
    """
    changed = np.asarray(waveform, dtype=np.float32)
    if pitch != 1.0:
        changed = resample(changed, sample_rate_hz * pitch, sample_rate_hz)
    if vocal_tract != pitch:
        changed = warp_envelope(changed, sample_rate_hz, vocal_tract / pitch)
    return changed if pitch == speed else stretch(changed, sample_rate_hz, pitch / speed)


def stretch(waveform: np.ndarray, sample_rate_hz: int, factor: float) -> np.ndarray:
    """Make a waveform ``factor`` times as long at the same pitch (WSOLA: windows moved to where they fit best)."""
    window_length = 2 * int(_STRETCH_WINDOW_SEC * sample_rate_hz / 2)
    hop, search = window_length // 2, int(_STRETCH_SEARCH_SEC * sample_rate_hz)
    num_windows = max(1, round(len(waveform) * factor / hop))
    padded = np.concatenate([np.zeros(hop + search), waveform, np.zeros(2 * window_length + 2 * search)])
    window = np.hanning(window_length + 1)[:-1]
    output = np.zeros((num_windows + 2) * hop)
    position = search
    for index in range(num_windows + 1):
        output[index * hop : index * hop + window_length] += window * padded[position : position + window_length]
        wanted = padded[position + hop : position + hop + window_length]
        target = search + int((index + 1) * hop / factor)
        target = min(target, len(padded) - window_length - search - 1)
        region = padded[target - search : target + search + window_length]
        position = target - search + int(np.argmax(np.correlate(region, wanted, mode="valid")))
    return output[hop : hop + round(len(waveform) * factor)].astype(np.float32)


def warp_envelope(waveform: np.ndarray, sample_rate_hz: int, factor: float) -> np.ndarray:
    """Move the spectral envelope to ``factor`` times its frequencies; pitch, phases and duration stay."""
    length = 2 ** round(np.log2(_WINDOW_SEC * sample_rate_hz))
    hop = length // 4
    padded = np.concatenate([np.zeros(length), waveform, np.zeros(length + hop)])
    window = np.hanning(length + 1)[:-1]
    frames = np.lib.stride_tricks.sliding_window_view(padded, length)[::hop]
    spectrum = np.fft.rfft(frames * window)
    envelope = _log_envelope(spectrum, int(_ENVELOPE_QUEFRENCY_SEC * sample_rate_hz))
    bins = np.arange(envelope.shape[1])
    source = np.minimum(bins / factor, envelope.shape[1] - 1.0)
    below = np.minimum(source.astype(int), envelope.shape[1] - 2)
    share = source - below
    moved = envelope[:, below] * (1.0 - share) + envelope[:, below + 1] * share
    gain = np.exp(np.clip(moved - envelope, -6.0, 6.0))
    changed = np.fft.irfft(spectrum * gain, length) * window
    output = np.zeros(len(padded))
    for index, frame in enumerate(changed):
        output[index * hop : index * hop + length] += frame
    return _within(output[length : length + len(waveform)] / 1.5)


def _log_envelope(spectrum: np.ndarray, order: int) -> np.ndarray:
    """Log magnitudes ``(num_frames, num_bins)`` smoothed over frequency by their lowest ``order`` cepstral values."""
    magnitude = np.abs(spectrum)
    floor = 1e-4 * magnitude.max(axis=1, keepdims=True) + 1e-7
    cepstrum = np.fft.irfft(np.log(magnitude + floor))
    cepstrum[:, order : cepstrum.shape[1] - order + 1] = 0.0
    smooth: np.ndarray = np.fft.rfft(cepstrum).real
    return smooth


def _between(factors: Range, generator: np.random.Generator) -> float:
    """A factor whose logarithm is uniform."""
    return float(np.exp(generator.uniform(np.log(factors[0]), np.log(factors[1]))))


def _loudness(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform)))) if len(waveform) else 0.0


def _within(waveform: np.ndarray) -> np.ndarray:
    peak = float(np.abs(waveform).max(initial=0.0))
    scaled: np.ndarray = (waveform / peak if peak > 1.0 else waveform).astype(np.float32)
    return scaled


def _fast_length(length: int) -> int:
    return 1 << max(length - 1, 1).bit_length()
