"""Audio of a row of a data set, as a file beside the manifest: as it is encoded there, or as the numbers that it is."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from cslm.corpora.audio_folder import SUFFIXES
from cslm.errors import UserError

_FILES_IN_A_FOLDER = 1000
_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"FORM": ".aiff"}


def write_audio(audio: Any, index: int, output: Path, where: str, sample_rate_hz: int | None) -> str:
    """Place of a row's audio, from the manifest's folder on, or its path where it lies on this machine already.

    Args:
        audio: bytes; a path; ``{"bytes": ..., "path": ...}``; numbers; ``{"array": ..., "sampling_rate": ...}``.
        index: number of the row.
        output: folder of the manifest.
        where: the row, to be named in errors.
        sample_rate_hz: rate of numbers that come without.

    Raises:
        UserError: there is no audio in it, its file is not there, or nobody says the rate.
    """
    content: bytes | None = None
    path = ""
    if isinstance(audio, bytes | bytearray):
        content = bytes(audio)
    elif isinstance(audio, str):
        path = audio
    elif isinstance(audio, dict) and audio.get("array") is not None:
        content = _wav(audio["array"], audio.get("sampling_rate") or sample_rate_hz, where)
    elif isinstance(audio, dict):
        content, path = audio.get("bytes"), str(audio.get("path") or "")
    elif audio is not None:
        content = _wav(audio, sample_rate_hz, where)
    if not content and not path:
        raise UserError(f"{where}: holds no audio")
    if not content:
        if "://" in path:
            return path
        if not os.path.isfile(path):
            raise UserError(f"{where}: its audio {path} is not there")
        return os.path.abspath(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        suffix = next((known for magic, known in _MAGIC.items() if content.startswith(magic)), ".audio")
    name = f"audio/{index // _FILES_IN_A_FOLDER:05d}/{index:08d}{suffix}"
    (output / name).parent.mkdir(parents=True, exist_ok=True)
    (output / name).write_bytes(content)
    return name


def _wav(numbers: Any, sample_rate_hz: int | None, where: str) -> bytes:
    """Numbers ``(num_samples,)`` or ``(num_channels, num_samples)`` as a WAV file that holds just these."""
    try:
        samples = np.asarray(numbers)
    except ValueError:
        samples = np.empty(0, object)
    if samples.dtype.kind not in "iuf" or samples.ndim not in (1, 2) or not samples.size:
        raise UserError(f"{where}: holds {type(numbers).__name__} in place of audio")
    if sample_rate_hz is None:
        raise UserError(f"{where}: holds numbers without a sampling rate: give --sample_rate_hz")
    if samples.dtype.kind in "iu":
        if np.abs(samples.astype(np.int64)).max() > 32768:
            raise UserError(f"{where}: holds numbers beyond 16 bits")
        samples, subtype = np.clip(samples, -32768, 32767).astype(np.int16), "PCM_16"
    else:
        samples, subtype = samples.astype(np.float32), "FLOAT"
    content = io.BytesIO()
    soundfile.write(content, samples.T, int(sample_rate_hz), format="WAV", subtype=subtype)
    return content.getvalue()
