"""Waveforms in and out of files: any format that libsndfile reads, mono float32 inside, 16-bit WAV out."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from cslm.audio.audio_source import file_beneath, open_source
from cslm.audio.decoding import AudioReader
from cslm.errors import UserError

RESAMPLER = f"soxr-hq-{soxr.__libsoxr_version__}"
"""Name and version of the resampling algorithm: it decides samples, so it is part of every codec's fingerprint."""
RESAMPLER_QUALITY = "HQ"
"""what soxr is asked for"""

_PathLike = str | os.PathLike[str]

_SLACK_SEC = 0.1  # what may be missing at the end: padding of an encoder, a rounded duration
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def load_waveform(
    path: _PathLike,
    start_sec: float | None = None,
    duration_sec: float | None = None,
    sample_rate_hz: int | None = None,
    max_sec: float | None = None,
    channel: int | None = None,
    notes: list[str] | None = None,
) -> tuple[np.ndarray, int]:
    """Read a file, or a part of it, as mono, to the end of what is there, in blocks.

    Args:
        path: a file, an fsspec URL (``s3://...``), a member of a tar shard (``tar://MEMBER::SHARD``), or a stretch of a
            file (``bytes://START-STOP::PATH``).
        start_sec: where the part begins (default: the beginning).
        duration_sec: how long the part is (default: to the end).
        sample_rate_hz: resample to this rate (default: the file's own).
        max_sec: refuse what is longer, before more of it is read (default: no limit).
        channel: which one, from 0 on (default: the mean of all).
        notes: takes what the file's header says that is not so, where the samples could be read all the same.

    Returns:
        The waveform, float32 ``(num_samples,)`` in [-1, 1], and its sample rate in Hz.

    Raises:
        UserError: the file is missing, cannot be read as audio, is empty, cut short or too long, does not hold the
            part or the channel, or holds values that are not numbers.
        ConnectionError, TimeoutError, MemoryError: not the file's fault.
    """
    name = os.fspath(path)
    part = _Part(name, start_sec, duration_sec, max_sec, channel)
    try:
        with open_source(name) as (file, size), AudioReader(file, size, name) as reader:
            waveform = _collected(reader, part, sample_rate_hz)
            if notes is not None:
                notes += reader.notes
            return waveform, sample_rate_hz or reader.rate_hz
    except (UserError, ConnectionError, TimeoutError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  (here a bad file becomes a rejection, whatever is wrong with it)
        raise _refusal(name, error) from None


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


def loudness(waveform: np.ndarray) -> float:
    """Root of the mean square of samples, ``(num_samples,)``: tells recordings apart that are as long as each other."""
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64)))) if len(waveform) else 0.0


def resample(waveform: np.ndarray, from_hz: float, to_hz: float) -> np.ndarray:
    """Change the sample rate (soxr, high quality). ``(num_samples,)`` float32 in and out."""
    if from_hz == to_hz:
        return np.asarray(waveform, dtype=np.float32)
    resampled: np.ndarray = soxr.resample(
        np.asarray(waveform, dtype=np.float32), from_hz, to_hz, quality=RESAMPLER_QUALITY
    )
    return resampled


@dataclass(frozen=True)
class _Part:
    """What is wanted of a file."""

    name: str
    start_sec: float | None
    duration_sec: float | None
    max_sec: float | None
    channel: int | None

    def asked_too_much(self, held_sec: float) -> UserError:
        """The file ends before the part does."""
        asked = f"asked for {self.duration_sec} s from {self.start_sec or 0} s on"
        if self.duration_sec is None:
            asked = f"asked for what follows {self.start_sec} s"
        return UserError(f"{self.name}: {asked}, but the file holds {held_sec:.3f} s; correct the manifest")

    def asked_for_nothing(self, start_sec: float) -> UserError:
        """The part has no samples; the file may be good."""
        what = "a part of 0 s" if self.duration_sec is not None else "what follows the last sample"
        return UserError(f"{self.name}: asked for {what}, at {start_sec:.3f} s; correct the manifest")

    def too_long(self, seconds: float) -> UserError:
        """More than can be used."""
        most = f"at most {self.max_sec:g} s can be used at once"
        return UserError(f"{self.name}: too long: {seconds:.1f} s, {most}; cut it")


def _collected(reader: AudioReader, part: _Part, sample_rate_hz: int | None) -> np.ndarray:
    """The waveform of the part, at the rate that is wanted; only the result is ever held whole."""
    rate_hz = reader.rate_hz
    if not all(math.isfinite(seconds * rate_hz) for seconds in (part.start_sec or 0.0, part.duration_sec or 0.0)):
        raise UserError(
            f"{part.name}: asked for {part.duration_sec} s from {part.start_sec} s on; correct the manifest"
        )
    start = round((part.start_sec or 0.0) * rate_hz)
    wanted = None if part.duration_sec is None else round(part.duration_sec * rate_hz)
    if start < 0 or (wanted is not None and wanted < 0):
        raise UserError(
            f"{part.name}: asked for {part.duration_sec} s from {part.start_sec} s on; correct the manifest"
        )
    if part.channel is not None and not 0 <= part.channel < reader.num_channels:
        raise UserError(f"{part.name}: has no channel {part.channel}, but {reader.num_channels} (counted from 0)")
    _check_length(reader, part, start)
    if (skipped := reader.skip(start)) < start:
        raise part.asked_too_much(skipped / rate_hz)
    collected = bytearray()
    stream = None
    if sample_rate_hz is not None and sample_rate_hz != rate_hz:
        stream = soxr.ResampleStream(rate_hz, sample_rate_hz, 1, "float32", RESAMPLER_QUALITY)
    found = 0
    for block in reader.blocks(wanted):
        found += len(block)
        if part.max_sec is not None and found > part.max_sec * rate_hz and wanted is None:
            raise part.too_long(max(found, (reader.num_said or 0) - start) / rate_hz)
        mono = _mono(block, part)
        collected += (mono if stream is None else stream.resample_chunk(mono)).tobytes()
    if stream is not None:
        collected += stream.resample_chunk(np.empty(0, np.float32), last=True).tobytes()
    _check_whole(reader, part, start, found, wanted)
    return np.frombuffer(collected, dtype=np.float32)


def _mono(block: np.ndarray, part: _Part) -> np.ndarray:
    """One channel of a block ``(num_frames, num_channels)``, or the mean of all: ``(num_frames,)``."""
    if part.channel is not None or block.shape[1] == 1:
        mono = np.ascontiguousarray(block[:, part.channel or 0])
    else:
        mono = block.mean(axis=1, dtype=np.float32)
    if not np.isfinite(mono).all():
        raise UserError(
            f"{part.name}: holds samples that are not numbers (NaN or infinite); remove it or record it again"
        )
    return mono


def _check_length(reader: AudioReader, part: _Part, start: int) -> None:
    """Refuse what is too long before it is read, where that is known."""
    seconds = part.duration_sec
    if seconds is None and reader.num_said is not None and not reader.is_counted:
        seconds = (reader.num_said - start) / reader.rate_hz
    if part.max_sec is not None and seconds is not None and seconds > part.max_sec:
        raise part.too_long(seconds)


def _check_whole(reader: AudioReader, part: _Part, start: int, found: int, wanted: int | None) -> None:
    """Compare what was found with what was wanted, or promised; note where there is more than promised."""
    rate_hz, slack = reader.rate_hz, _SLACK_SEC * reader.rate_hz
    if wanted is not None:
        if found < wanted - slack:
            raise part.asked_too_much((start + found) / rate_hz)
    elif reader.num_said is not None and found > 0:
        promised = reader.num_said - start
        said = f"{found / rate_hz:.2f} s of {promised / rate_hz:.2f} s"
        if found < promised - slack:
            raise UserError(f"{part.name}: is cut short: {said}; copy or download it again")
        if found > promised + slack:
            reader.notes.append(
                f"its header says {(start + promised) / rate_hz:.2f} s, {(start + found) / rate_hz:.2f} s are there"
            )
    if not found and (wanted == 0 or start):
        raise part.asked_for_nothing(start / rate_hz)
    if not found:
        raise UserError(f"{part.name}: holds no samples; remove it or record it again")


def _refusal(name: str, error: Exception) -> UserError:
    """Why a file is rejected, without addresses in memory: same file, same words."""
    beneath = file_beneath(name)
    if isinstance(error, FileNotFoundError) or ("://" not in beneath and not os.path.isfile(beneath)):
        why = f" ({error})" if "://" in name else ""
        return UserError(f"{name}: no such audio file{why}; check its path")
    said = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error) or type(error).__name__
    reason = _ADDRESS.sub("", " ".join(said.split()))
    return UserError(f"{name}: cannot be read as audio ({reason}); remove it or convert it again")
