"""Twelve ways to break an audio file, and the reason that each is rejected for."""

from __future__ import annotations

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

_RATE_HZ = 16000


def write_broken_file(kind: str, folder: Path, name: str) -> str:
    """Write a file that is broken in one of the ways; returns its path from ``folder``."""
    file = folder / f"{name}.wav"
    if kind == "outside":
        soundfile.write(folder.parent / file.name, _noise(1.0), _RATE_HZ)
        return f"../{file.name}"
    _WAYS[kind](file)
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
}
