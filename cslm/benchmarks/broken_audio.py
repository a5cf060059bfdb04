"""Ways to break an audio file, with the reason that each is rejected for, and ways to be odd and still be read."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

LONGEST_SEC = 3.0
"""What ``--max_sec`` has to be for the files that are too long."""

BREAKAGES = {
    "missing": "no such audio file",
    "empty": "cannot be read as audio",
    "text": "cannot be read as audio",
    "folder": "(no such audio file|cannot be read as audio)",
    "header only": "(holds no samples|cannot be read|cut short)",
    "no samples": "holds no samples",
    "cut short": "is cut short: .* copy or download it again",
    "cut short flac": "cannot be read as audio",
    "not numbers": "holds samples that are not numbers",
    "5 ms": "too short: 0.0050 s",
    "too long": r"too long: 4.0 s, at most 3 s can be used at once",
    "outside": "lies outside the folder that audio may come from",
}
"""Kind of breakage to a regular expression that its reason fits."""

FURTHER_BREAKAGES = {
    "cut short ogg": "is cut short: .* copy or download it again",
    "cut short opus": "is cut short: .* copy or download it again",
    "cut short mp3": "is cut short: .* copy or download it again",
    "cut short aiff": "is cut short: .* copy or download it again",
    "cut short au": "is cut short: .* copy or download it again",
    "two rates": "streams of 16000 Hz, 1 channels and of 8000 Hz",
    "web page": "cannot be read as audio",
    "nul in its name": "no such audio file",
}
"""The same for formats and names that few have."""

ODDITIES = {
    "wav of a pipe": False,
    "wav of a stopped program": True,
    "wav that declares a quarter": True,
    "flac of a pipe": False,
    "mp3 without a count": False,
    "two ogg streams": True,
    "mp3 beside its shadow": False,
}
"""Kind of file whose header is no help, and whether that is noted; each holds a second of audio."""

_RATE_HZ = 16000


def write_broken_file(kind: str, folder: Path, name: str) -> str:
    """Write a file that is broken in one of the ways; returns its path from ``folder``."""
    file = folder / f"{name}.wav"
    if kind == "outside":
        soundfile.write(folder.parent / file.name, _noise(1.0), _RATE_HZ)
        return f"../{file.name}"
    if kind == "nul in its name":
        return f"{name}\0.wav"
    _WAYS[kind](file)
    return file.name


def write_odd_file(kind: str, folder: Path, name: str) -> str:
    """Write a file that is odd in one of the ways; returns its path from ``folder``."""
    file = folder / f"{name}.mp3"
    file.write_bytes(_ODD[kind]())
    if kind == "mp3 beside its shadow":
        (folder / f"._{name}.mp3").write_bytes(b"\0\5\x16\7" + bytes(100))
    return file.name


def _noise(seconds: float) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-0.1, 0.1, round(seconds * _RATE_HZ)).astype(np.float32)


def _write(samples: NDArray[np.float32], **options: str) -> Callable[[Path], None]:
    return lambda file: soundfile.write(file, samples, _RATE_HZ, **options)


def _cut(num_bytes: int, form: str = "WAV") -> Callable[[Path], None]:
    def write(file: Path) -> None:
        soundfile.write(file, _noise(1.0), _RATE_HZ, format=form)
        file.write_bytes(file.read_bytes()[:num_bytes])

    return write


def _encoded(form: str, seconds: float = 1.0, rate_hz: int = _RATE_HZ, subtype: str | None = None) -> bytes:
    content = io.BytesIO()
    soundfile.write(content, _noise(seconds), rate_hz, format=form, subtype=subtype)
    return content.getvalue()


def _with(content: bytes, place: int, *fields: bytes) -> bytes:
    """The same bytes with others at a place."""
    field = b"".join(fields)
    return content[:place] + field + content[place + len(field) :]


def _wav_of_size(num_bytes: int) -> bytes:
    content = _encoded("WAV")
    return _with(content, content.index(b"data") + 4, struct.pack("<I", num_bytes))


def _flac_without_count() -> bytes:
    content = _encoded("FLAC")
    return _with(content, 21, bytes([content[21] & 0xF0, 0, 0, 0, 0]))


def _mp3_without_count() -> bytes:
    content = _encoded("MP3")
    return content[content.index(content[:2], 4) :]


def _half(form: str, subtype: str | None = None) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        content = _encoded(form, subtype=subtype)
        file.write_bytes(content[: len(content) // 2])

    return write


_ODD: dict[str, Callable[[], bytes]] = {
    "wav of a pipe": lambda: _wav_of_size(0x7FFFF000),
    "wav of a stopped program": lambda: _wav_of_size(0),
    "wav that declares a quarter": lambda: _wav_of_size(_RATE_HZ // 2),
    "flac of a pipe": _flac_without_count,
    "mp3 without a count": _mp3_without_count,
    "two ogg streams": lambda: _encoded("OGG", 0.5) + _encoded("OGG", 0.5),
    "mp3 beside its shadow": lambda: _encoded("MP3"),
}
_WAYS: dict[str, Callable[[Path], object]] = {
    "missing": lambda file: None,
    "empty": lambda file: file.write_bytes(b""),
    "text": lambda file: file.write_bytes(b"hello"),
    "folder": Path.mkdir,
    "header only": _cut(44),
    "no samples": _write(_noise(0.0)),
    "cut short": _cut(9000),
    "cut short flac": _cut(9000, "FLAC"),
    "not numbers": _write(np.full(800, np.nan, np.float32), subtype="FLOAT"),
    "5 ms": _write(_noise(0.005)),
    "too long": _write(_noise(4.0)),
    "cut short ogg": _half("OGG"),
    "cut short opus": _half("OGG", "OPUS"),
    "cut short mp3": _half("MP3"),
    "cut short aiff": _half("AIFF"),
    "cut short au": _half("AU"),
    "two rates": lambda file: file.write_bytes(_encoded("OGG") + _encoded("OGG", rate_hz=8000)),
    "web page": lambda file: file.write_bytes(b"<!DOCTYPE html><html>404</html>"),
}
