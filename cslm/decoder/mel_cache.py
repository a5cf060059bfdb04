"""Log-mel spectrograms of a corpus, computed once into a file that is mapped into memory.

The folder holds ``mels.f16`` (all frames one after the other, half precision), for a vocoder that is trained
``waves.i16`` (the samples from the centre of each frame to the next, 16 bits), ``offsets.npy`` (where each utterance
begins, in frames) and, written last, ``header.json`` (what they were made from, and mean and deviation of every band).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.audio.log_mel import LogMel
from cslm.audio.waveform import load_waveform
from cslm.decoder.decoder_config import DecoderConfig
from cslm.decoder.vocoders import is_trained
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.files.progress import progress_bar

HEADER_FILE = "header.json"
OFFSETS_FILE = "offsets.npy"
MELS_FILE = "mels.f16"
WAVES_FILE = "waves.i16"

_LARGEST_GAP_SEC = 0.2  # between the audio and what its units last: codecs drop or fill up the last frames


@dataclass(frozen=True)
class AudioPart:
    """Where the audio of one utterance is, and how long its units say that it lasts."""

    path: str
    start_sec: float | None
    duration_sec: float | None
    units_sec: float
    channel: int | None = None


class MelCache:
    """The spectrograms of a list of utterances, by index."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        """Use :func:`build_mel_cache`."""
        self.mean = np.array(header["mean"], np.float32)
        self.deviation = np.array(header["deviation"], np.float32)
        self.offsets: NDArray[np.int64] = np.load(folder / OFFSETS_FILE)
        shape = (int(self.offsets[-1]), len(self.mean))
        self._mels = np.memmap(folder / MELS_FILE, np.float16, mode="r", shape=shape)
        self.samples_a_frame = int(header["samples_a_frame"])
        """kept of each frame: the hop length, or none where no vocoder is trained"""
        self._waves: NDArray[np.int16] = np.zeros((shape[0], 0), np.int16)
        if self.samples_a_frame:
            waves_shape = (shape[0], self.samples_a_frame)
            self._waves = np.memmap(folder / WAVES_FILE, np.int16, mode="r", shape=waves_shape)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def num_frames(self) -> NDArray[np.int64]:
        """(utterances,) spectrogram frames of each."""
        return np.diff(self.offsets)

    def read(self, index: int, first_frame: int, num_frames: int) -> NDArray[np.float32]:
        """(num_frames, bands) natural log-mel of a part of one utterance."""
        start = self._start(index, first_frame, num_frames)
        return self._mels[start : start + num_frames].astype(np.float32)

    def read_waveform(self, index: int, first_frame: int, num_frames: int) -> NDArray[np.float32]:
        """(num_frames, samples_a_frame) samples in [-1, 1] of a part of one utterance."""
        start = self._start(index, first_frame, num_frames)
        return self._waves[start : start + num_frames].astype(np.float32) / 32767.0

    def _start(self, index: int, first_frame: int, num_frames: int) -> int:
        start = int(self.offsets[index]) + first_frame
        assert start + num_frames <= self.offsets[index + 1], "beyond the end of the utterance"
        return start


def build_mel_cache(folder: Path, parts: Sequence[AudioPart], config: DecoderConfig, num_workers: int) -> MelCache:
    """Compute the spectrograms of ``parts``, or open those that are there and were made from the same.

    Raises:
        UserError: audio that cannot be read, or that does not last as long as its units.
    """
    key = _key(parts, config)
    header = _read_header(folder)
    if header is None or header["key"] != key:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            header = {"key": key, **_write_mels(folder, parts, config, num_workers)}
            write_atomically(folder / HEADER_FILE, (json.dumps(header) + "\n").encode())
        finally:
            if not (folder / HEADER_FILE).is_file():
                shutil.rmtree(folder)
    return MelCache(folder, header)


def open_mel_cache(folder: Path) -> MelCache:
    """Open what :func:`build_mel_cache` has just made, in another process."""
    header = _read_header(folder)
    assert header is not None, f"no spectrograms in {folder}"
    return MelCache(folder, header)


def _write_mels(folder: Path, parts: Sequence[AudioPart], config: DecoderConfig, num_workers: int) -> dict[str, Any]:
    lengths: list[int] = []
    total, squares = np.zeros(config.num_bands), np.zeros(config.num_bands)
    samples_a_frame = config.hop_length if is_trained(config) else 0
    with (folder / MELS_FILE).open("wb") as file, (folder / WAVES_FILE).open("wb") as waves:
        mels = _mels_in_order(parts, config, num_workers)
        for mel, waveform in progress_bar(mels, len(parts), "spectrograms"):
            lengths.append(len(mel))
            total += mel.sum(axis=0, dtype=np.float64)
            squares += np.square(mel, dtype=np.float64).sum(axis=0)
            file.write(mel.astype(np.float16).tobytes())
            if samples_a_frame:
                waves.write(_samples_16(waveform, len(mel) * samples_a_frame))
    np.save(folder / OFFSETS_FILE, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))
    count = max(1, sum(lengths))
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-4))
    return {"mean": mean.tolist(), "deviation": deviation.tolist(), "samples_a_frame": samples_a_frame}


def _samples_16(waveform: NDArray[np.float32], num_samples: int) -> bytes:
    """So many samples in 16 bits, filled up with silence."""
    filled = np.zeros(num_samples, np.float32)
    filled[: len(waveform)] = waveform[:num_samples]
    return np.round(filled.clip(-1, 1) * 32767).astype(np.int16).tobytes()


def _mels_in_order(
    parts: Sequence[AudioPart], config: DecoderConfig, num_workers: int
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Spectrograms and waveforms in the order of ``parts``; a few are made ahead, in threads."""
    transform = LogMel(
        config.sample_rate_hz, config.n_fft, config.hop_length, config.num_bands, config.f_min, config.f_max
    )
    ahead: deque[Future[tuple[NDArray[np.float32], NDArray[np.float32]]]] = deque()
    with ThreadPoolExecutor(num_workers) as pool:
        for part in parts:
            ahead.append(pool.submit(_mel, part, transform))
            if len(ahead) > 4 * num_workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _mel(part: AudioPart, transform: LogMel) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    span = (part.start_sec, part.duration_sec)
    waveform, rate_hz = load_waveform(part.path, *span, transform.sample_rate_hz, channel=part.channel)
    gap_sec = len(waveform) / rate_hz - part.units_sec
    if abs(gap_sec) > _LARGEST_GAP_SEC:
        raise UserError(
            f"{part.path} lasts {len(waveform) / rate_hz:.2f} s, its units in the store {part.units_sec:.2f} s: "
            "name the manifest that the store was made from, or tokenize it again"
        )
    with torch.inference_mode():
        mel: NDArray[np.float32] = transform(torch.from_numpy(waveform)).numpy()
    return mel, waveform


def _key(parts: Sequence[AudioPart], config: DecoderConfig) -> str:
    digest = hashlib.sha256()
    spectrogram = (config.sample_rate_hz, config.n_fft, config.hop_length, config.num_bands, config.f_min, config.f_max)
    if is_trained(config):
        digest.update(b"with waveforms\n")
    digest.update(repr(spectrogram).encode())
    for part in parts:
        channel = "" if part.channel is None else f"|{part.channel}"
        digest.update(f"\n{part.path}|{part.start_sec}|{part.duration_sec}|{part.units_sec:.4f}{channel}".encode())
    return digest.hexdigest()


def _read_header(folder: Path) -> dict[str, Any] | None:
    path = folder / HEADER_FILE
    if not path.is_file():
        return None
    header = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(header, dict)
    return header
