"""Sound that clients send: WAV files and PCM16, read by a few lines of numpy, within limits.

What a header claims is never believed over what is there. No other format is read, since parsers of many formats are
where servers are broken into.
"""

from __future__ import annotations

import base64
import binascii
import struct
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cslm.serving.limits import LimitsConfig
from cslm.serving.refusals import Refusal

PCM_RATE_HZ = 24000
"""of PCM16 without a header, in and out"""

_TO_THE_END = 0xFFFFFFFF  # the size that programs claim which write to a pipe
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WIDTHS = {_PCM: (8, 16, 24, 32), _FLOAT: (32,)}
_MOST_CHANNELS = 2


class _Format(NamedTuple):
    kind: int
    num_channels: int
    rate_hz: int
    bits: int

    @property
    def frame_bytes(self) -> int:
        return self.num_channels * self.bits // 8


def read_base64(text: str, most_bytes: int, name: str) -> bytes:
    """What base64 stands for.

    Raises:
        Refusal: it is none, or too long.
    """
    if len(text) > 4 * (most_bytes // 3 + 1):
        raise Refusal("audio_too_large", f"{name} holds more than {most_bytes} bytes: send less", 413, name)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal("invalid_base64", f"{name} is not base64: encode the bytes of the sound", param=name) from None


def read_pcm16(data: bytes, limits: LimitsConfig, name: str) -> NDArray[np.float32]:
    """Samples ``(num_samples,)`` in [-1, 1] of PCM16 at 24,000 a second.

    Raises:
        Refusal: half a sample, or too long.
    """
    if len(data) % 2:
        raise Refusal("invalid_pcm", f"{name} has {len(data)} bytes, and a sample has two: send whole ones", param=name)
    _check_duration(len(data) // 2, PCM_RATE_HZ, limits, name)
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


def read_wav(data: bytes, limits: LimitsConfig, name: str) -> tuple[NDArray[np.float32], int]:
    """Mono samples ``(num_samples,)`` in [-1, 1] of a WAV file, and their rate in Hz; two channels become their mean.

    Raises:
        Refusal: no WAV file, one that is broken or says what is not so, or one beyond the limits.
    """
    if len(data) < 12 or data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        raise Refusal("invalid_wav", f"{name} is no WAV file: send WAV with PCM samples", param=name)
    form: _Format | None = None
    place = 12
    while place + 8 <= len(data):
        label, size = struct.unpack_from("<4sI", data, place)
        place += 8
        if label == b"data":
            if form is None:
                raise Refusal("invalid_wav", f"{name} has samples before their format", param=name)
            return _read_samples(memoryview(data)[place:], size, form, limits, name), form.rate_hz
        if size > len(data) - place:
            raise Refusal("invalid_wav", f"{name} claims {size} bytes where {len(data) - place} are left", param=name)
        if label == b"fmt ":
            form = _read_format(data[place : place + size], limits, name)
        place += size + size % 2
    raise Refusal("invalid_wav", f"{name} holds no samples: send a WAV file that is whole", param=name)


def _read_format(chunk: bytes, limits: LimitsConfig, name: str) -> _Format:
    if len(chunk) < 16:
        raise Refusal("invalid_wav", f"{name} has a format of {len(chunk)} bytes, and 16 are the least", param=name)
    kind, num_channels, rate_hz, bytes_a_sec, frame_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if kind == _EXTENSIBLE and len(chunk) >= 26:
        kind = struct.unpack_from("<H", chunk, 24)[0]
    if bits not in _WIDTHS.get(kind, ()):
        message = f"{name} holds samples of format {kind} with {bits} bits: send PCM with 16"
        raise Refusal("unsupported_wav", message, param=name)
    if not 1 <= num_channels <= _MOST_CHANNELS:
        raise Refusal("unsupported_wav", f"{name} has {num_channels} channels: send one", param=name)
    if not limits.min_rate_hz <= rate_hz <= limits.max_rate_hz:
        wanted = f"send {limits.min_rate_hz} to {limits.max_rate_hz}"
        raise Refusal("unsupported_sample_rate", f"{name} claims {rate_hz} samples a second: {wanted}", param=name)
    form = _Format(kind, num_channels, rate_hz, bits)
    if frame_bytes != form.frame_bytes or bytes_a_sec != rate_hz * frame_bytes:
        message = f"{name} claims {frame_bytes} bytes a frame and {bytes_a_sec} a second, which its format denies"
        raise Refusal("invalid_wav", message, param=name)
    return form


def _read_samples(left: memoryview, size: int, form: _Format, limits: LimitsConfig, name: str) -> NDArray[np.float32]:
    if size == _TO_THE_END:
        size = len(left) // form.frame_bytes * form.frame_bytes
    if size > len(left):
        raise Refusal("invalid_wav", f"{name} claims {size} bytes of samples where {len(left)} are left", param=name)
    if size % form.frame_bytes:
        raise Refusal("invalid_wav", f"{name} ends within a sample", param=name)
    num_frames = size // form.frame_bytes
    if not num_frames:
        raise Refusal("empty_audio", f"{name} holds no sound: record it again", param=name)
    _check_duration(num_frames, form.rate_hz, limits, name)
    samples = _as_floats(left[:size], form).reshape(num_frames, form.num_channels).mean(axis=1, dtype=np.float32)
    if not np.isfinite(samples).all():
        raise Refusal("invalid_wav", f"{name} holds samples that are not numbers", param=name)
    return samples.clip(-1, 1)


def _as_floats(data: memoryview, form: _Format) -> NDArray[np.float32]:
    if form.kind == _FLOAT:
        return np.frombuffer(data, "<f4")
    if form.bits == 8:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / np.float32(128)
    if form.bits == 24:  # the low byte of four is 0
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.view("<i4")[:, 0].astype(np.float32) / np.float32(2**31)
    whole = np.frombuffer(data, f"<i{form.bits // 8}")
    return whole.astype(np.float32) / np.float32(2 ** (form.bits - 1))


def _check_duration(num_samples: int, rate_hz: int, limits: LimitsConfig, name: str) -> None:
    if num_samples > limits.max_audio_sec * rate_hz:
        seconds = num_samples / rate_hz
        message = f"{name} lasts {seconds:.1f} s, and {limits.max_audio_sec:g} s are the most: send a shorter one"
        raise Refusal("audio_too_long", message, 413, name)
