"""Waveforms in and out of files: any format that libsndfile reads, mono float32 inside, 16-bit WAV out."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import soundfile
import soxr

from cslm.audio.tar_member import PREFIX, open_tar_member
from cslm.errors import UserError

RESAMPLER = f"soxr-hq-{soxr.__libsoxr_version__}"
"""Name and version of the resampling algorithm: it decides samples, so it is part of every codec's fingerprint."""

_PathLike = str | os.PathLike[str]

_SLACK_SEC = 0.1  # what may be missing at the end: padding of an encoder, a rounded duration
_SIZES = re.compile(r"^\s*(?:data|SSND|RIFF|FORM|riff|Riff size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZE = 0x7FFFFF00


def load_waveform(
    path: _PathLike,
    start_sec: float | None = None,
    duration_sec: float | None = None,
    sample_rate_hz: int | None = None,
    max_sec: float | None = None,
) -> tuple[np.ndarray, int]:
    """Read a file, or a part of it, as mono: the mean over the channels.

    Args:
        path: a file, or an fsspec URL (``s3://...``).
        start_sec: where the part begins (default: the beginning).
        duration_sec: how long the part is (default: to the end).
        sample_rate_hz: resample to this rate (default: the file's own).
        max_sec: refuse what is longer, before it is read (default: no limit).

    Returns:
        The waveform, float32 ``(num_samples,)`` in [-1, 1], and its sample rate in Hz.

    Raises:
        UserError: the file is missing, cannot be read as audio, is empty, cut short or too long, does not hold the
            part, or holds values that are not numbers.
    """
    with _open(path) as file:
        rate_hz = file.samplerate
        _check_whole(file, path)
        _check_length(file, path, start_sec, duration_sec, max_sec)
        samples = _read_part(file, path, start_sec, duration_sec)
    if samples.shape[0] == 0:
        raise UserError(f"{path}: holds no samples; remove it or record it again")
    waveform = samples.mean(axis=1, dtype=np.float32) if samples.shape[1] > 1 else samples[:, 0]
    if not np.isfinite(waveform).all():
        raise UserError(f"{path}: holds samples that are not numbers (NaN or infinite); remove it or record it again")
    if sample_rate_hz is not None and sample_rate_hz != rate_hz:
        return resample(waveform, rate_hz, sample_rate_hz), sample_rate_hz
    return np.ascontiguousarray(waveform), rate_hz


def save_waveform(path: _PathLike, waveform: np.ndarray, sample_rate_hz: int, durable: bool = True) -> None:
    """Write mono ``(num_samples,)`` as a 16-bit WAV file, atomically; floats beyond [-1, 1] are clipped.

    Args:
        path: the file; its folder is made if it is not there.
        waveform: float in [-1, 1], or int16, which is written as it is.
        sample_rate_hz: rate of the samples.
        durable: wait until the disk has it. For thousands of files in a folder that is renamed in the end, do without.
    """
    assert waveform.ndim == 1, "a mono waveform"
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            soundfile.write(file, to_int16(waveform), sample_rate_hz, format="WAV", subtype="PCM_16")
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def to_int16(waveform: np.ndarray) -> np.ndarray:
    """Float samples in [-1, 1] as int16, rounded and clipped; int16 comes back as it is."""
    if waveform.dtype == np.int16:
        return waveform
    scaled = np.rint(np.asarray(waveform, dtype=np.float64) * 32768.0)
    clipped: np.ndarray = np.clip(scaled, -32768, 32767).astype(np.int16)
    return clipped


def resample(waveform: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Change the sample rate (soxr, high quality). ``(num_samples,)`` float32 in and out."""
    if from_hz == to_hz:
        return np.asarray(waveform, dtype=np.float32)
    resampled: np.ndarray = soxr.resample(np.asarray(waveform, dtype=np.float32), from_hz, to_hz, quality="HQ")
    return resampled


@contextlib.contextmanager
def _open(path: _PathLike) -> Iterator[Any]:
    name = os.fspath(path)
    with contextlib.ExitStack() as stack:
        try:
            source: Any = name
            if name.startswith(PREFIX):
                source = open_tar_member(name)
            elif "://" in name:
                source = stack.enter_context(fsspec.open(name, "rb"))
            file = stack.enter_context(soundfile.SoundFile(source))
        except (OSError, ValueError, ImportError, soundfile.SoundFileError) as error:
            if "://" not in name and not os.path.isfile(name):
                raise UserError(f"{name}: no such audio file; check the path in the manifest") from None
            if isinstance(error, FileNotFoundError):
                raise UserError(f"{name}: no such audio file ({error}); check the path in the manifest") from None
            if isinstance(error, ConnectionError | TimeoutError):
                raise  # not the file's fault: the next run may find it
            raise UserError(f"{name}: cannot be read as audio ({error}); remove it or convert it again") from None
        yield file


def _read_part(file: Any, path: _PathLike, start_sec: float | None, duration_sec: float | None) -> np.ndarray:
    start = round((start_sec or 0.0) * file.samplerate)
    num_samples = -1 if duration_sec is None else round(duration_sec * file.samplerate)
    if start < 0 or start > file.frames or num_samples < -1:
        raise UserError(
            f"{path}: asked for {duration_sec} s from {start_sec} s on, "
            f"but the file holds {file.frames / file.samplerate:.3f} s; correct the manifest"
        )
    try:
        if start:
            file.seek(start)
        samples: np.ndarray = file.read(num_samples, dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        raise UserError(f"{path}: cannot be read as audio ({error}); remove it or convert it again") from None
    slack = _SLACK_SEC * file.samplerate
    if 0 < len(samples) < file.frames - start - slack and num_samples < 0:
        found_sec, said_sec = len(samples) / file.samplerate, (file.frames - start) / file.samplerate
        raise UserError(f"{path}: is cut short: {found_sec:.2f} s of {said_sec:.2f} s; copy or download it again")
    if len(samples) < num_samples - slack:
        raise UserError(
            f"{path}: asked for {duration_sec} s from {start_sec or 0} s on, "
            f"but the file holds {file.frames / file.samplerate:.3f} s; correct the manifest"
        )
    return samples


def _check_length(
    file: Any, path: _PathLike, start_sec: float | None, duration_sec: float | None, max_sec: float | None
) -> None:
    seconds = file.frames / file.samplerate - (start_sec or 0.0) if duration_sec is None else duration_sec
    if max_sec is not None and seconds > max_sec:
        raise UserError(f"{path}: too long: {seconds:.1f} s, at most {max_sec:g} s can be used at once; cut it")


def _check_whole(file: Any, path: _PathLike) -> None:
    """Refuse a file whose header announces more than is there; libsndfile only notes it in its log.

    Raises:
        UserError: the file is cut short.
    """
    slack = _SLACK_SEC * file.samplerate * file.channels
    for said, found in _SIZES.findall(file.extra_info):
        # what is written while its length is not known says the largest number there is
        if int(said) < _UNKNOWN_SIZE and int(said) - int(found) > slack:
            raise UserError(f"{path}: is cut short: {found} bytes of {said}; copy or download it again")
