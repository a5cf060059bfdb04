"""Audio files as real programs leave them: headers that lie, files cut short, streams one after the other."""

from __future__ import annotations

import io
import struct

import numpy as np
import soundfile

RATE_HZ = 16000


def sound(seconds=18.0, channels=1, rate_hz=RATE_HZ, seed=0):
    """Noise that is loud and quiet in turns, ``(num_samples, channels)``."""
    count = round(seconds * rate_hz)
    noise = np.random.default_rng(seed).normal(0, 0.1, (count, channels))
    return (noise * np.sin(np.arange(count) / rate_hz)[:, None]).astype(np.float32)


def encoded(kind, samples=None, rate_hz=RATE_HZ, **options):
    """The bytes of a file of this format."""
    content = io.BytesIO()
    soundfile.write(content, sound() if samples is None else samples, rate_hz, format=kind, **options)
    return content.getvalue()


def patched(content, place, replacement):
    """The same bytes, with others at a place."""
    return content[:place] + replacement + content[place + len(replacement) :]


def wav(content=None, riff_size=None, data_size=None, after=b""):
    """A WAV file whose header says these sizes."""
    content = encoded("WAV") if content is None else content
    if riff_size is not None:
        content = patched(content, 4, struct.pack("<I", riff_size))
    if data_size is not None:
        content = patched(content, content.index(b"data") + 4, struct.pack("<I", data_size))
    return content + after


def flac_of_a_pipe(content=None, total=0):
    """A FLAC file whose header counts so many samples; 0 where nobody knew."""
    content = encoded("FLAC") if content is None else content
    return patched(patched(content, 22, struct.pack(">I", total)), 21, bytes([content[21] & 0xF0]))


def mp3_without_count(samples, rate_hz=RATE_HZ, mode="VARIABLE"):
    """MP3 frames without the first one, which counts them."""
    content = encoded("MP3", samples, rate_hz, bitrate_mode=mode, compression_level=0.5)
    assert b"Xing" in content[:64] or b"Info" in content[:64]
    return content[content.index(content[:2], 4) :]
