"""Tokenize one shard: load its audio a window at a time, encode, write, leave a receipt.

A window is what is sorted by length to make batches: longer windows, less padding. The manifest and the size of a batch
alone decide which utterances share one.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cslm.audio.waveform import load_waveform
from cslm.codecs.codec import UnitCodec
from cslm.codecs.units import Units, merge_repeats
from cslm.corpora.intake import checked, printable
from cslm.corpora.manifest import Utterance
from cslm.encoders.audio_batches import AudioBatches
from cslm.errors import UserError
from cslm.units.shards import StoreRow, write_shard
from cslm.units.tokenizing_progress import Noted, Plan, Receipt, Rejected, TokenizingProgress

# Audio in memory at a time, unless one utterance is longer: 20 minutes of the default batches are 77 MB at 16 kHz.
_WINDOW_BATCHES = 60
_CLIPS_AHEAD = 32  # of each thread that loads


@dataclass(frozen=True)
class Job:
    """One shard: its number, and the utterances with the place of their audio."""

    shard: int
    utterances: list[tuple[str, Utterance]]
    witness: str | None = None
    """A file of the corpus that was there when the command began."""


@dataclass(frozen=True)
class _Clip:
    utterance: Utterance
    waveform: NDArray[np.float32]
    notes: list[str]


def tokenize_shard(job: Job, codec: UnitCodec, progress: TokenizingProgress) -> Receipt | None:
    """Make one shard of the store; ``None`` if another process holds it or has just finished it."""
    with progress.claim(job.shard) as mine:
        if not mine:
            return None
        rejected: list[Rejected] = []
        noted: list[Noted] = []
        batches = AudioBatches(codec.runtime.batch_sec)
        rows = [
            _row(clip, units, codec)
            for window in _windows(job, codec, progress.plan, rejected, noted)
            for clip, units in _encode(window, codec, batches)
        ]
        _check_still_there(job, rejected)
        in_documents = progress.plan.in_documents
        shard = write_shard(progress.folder, job.shard, rows, codec.codebook_sizes, in_documents) if rows else None
        receipt = Receipt(job.shard, shard, rejected, batches.num_frames, batches.num_slots, noted)
        progress.write_receipt(receipt)
        return receipt


def _windows(
    job: Job, codec: UnitCodec, plan: Plan, rejected: list[Rejected], noted: list[Noted]
) -> Iterator[list[_Clip]]:
    """Clips in the order of the manifest, a window at a time; what cannot be used, or is odd, is put on a list."""
    window: list[_Clip] = []
    window_sec = 0.0
    for clip in _clips(job, codec, plan):
        if isinstance(clip, Rejected):
            rejected.append(clip)
            continue
        noted += [Noted(clip.utterance.id, clip.utterance.audio, note) for note in clip.notes]
        window.append(clip)
        window_sec += len(clip.waveform) / codec.sample_rate_hz
        if window_sec >= _WINDOW_BATCHES * codec.runtime.batch_sec:
            yield window
            window, window_sec = [], 0.0
    if window:
        yield window


def _clips(job: Job, codec: UnitCodec, plan: Plan) -> Iterator[_Clip | Rejected]:
    """The clips of a job in their order, loaded ahead by threads where a network would wait for them."""

    def load(path: str, utterance: Utterance) -> _Clip | Rejected:
        notes: list[str] = []
        try:
            return _Clip(checked(utterance), _load(path, utterance, codec, plan, notes), notes)
        except UserError as error:
            reason = str(error).replace(path, utterance.audio)
            return Rejected(printable(utterance.id), printable(utterance.audio), printable(reason))

    num_threads = codec.runtime.loading_threads
    if num_threads == 1:
        yield from (load(*pair) for pair in job.utterances)
        return
    ahead: deque[Future[_Clip | Rejected]] = deque()
    with ThreadPoolExecutor(num_threads) as pool:
        for pair in job.utterances:
            ahead.append(pool.submit(load, *pair))
            if len(ahead) > _CLIPS_AHEAD * num_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _check_still_there(job: Job, rejected: list[Rejected]) -> None:
    """Tell files that are missing from a disk that is: then nothing of the shard is written.

    Raises:
        OSError: files and their folders are gone, and so are the witness and every file of the shard that was read.
    """
    left_out = {row.id for row in rejected}
    local = [(path, utterance) for path, utterance in job.utterances if "://" not in path]
    gone = [path for path, utterance in local if utterance.id in left_out and not os.path.exists(os.path.dirname(path))]
    used = [path for path, utterance in local if utterance.id not in left_out]
    if gone and not any(map(os.path.exists, [*used, *([job.witness] if job.witness else [])])):
        where = os.path.dirname(gone[0])
        raise OSError(
            errno.ENOTCONN, f"{where} is not there, nor what else was read for shard {job.shard}: is it mounted?"
        )


def _load(path: str, utterance: Utterance, codec: UnitCodec, plan: Plan, notes: list[str]) -> NDArray[np.float32]:
    if plan.root is not None and not _is_below(path, plan.root):
        raise UserError(f"{path}: lies outside the folder that audio may come from")
    part = (utterance.start_sec, utterance.duration_sec)
    waveform, _ = load_waveform(path, *part, codec.sample_rate_hz, plan.max_sec, utterance.channel, notes)
    if len(waveform) < codec.min_num_samples:
        found_sec, least_sec = (n / codec.sample_rate_hz for n in (len(waveform), codec.min_num_samples))
        raise UserError(f"{path}: too short: {found_sec:.4f} s, this tokenizer needs {least_sec:.4f} s")
    return waveform


def _is_below(path: str, root: str) -> bool:
    try:
        return "://" not in path and os.path.realpath(path).startswith(root.rstrip(os.sep) + os.sep)
    except ValueError:
        return True  # no file can have this name


def _encode(window: list[_Clip], codec: UnitCodec, batches: AudioBatches) -> Iterator[tuple[_Clip, Units]]:
    """Each clip with its units."""
    return zip(window, codec.encode([clip.waveform for clip in window], batches), strict=True)


def _row(clip: _Clip, units: Units, codec: UnitCodec) -> StoreRow:
    utterance = clip.utterance
    return StoreRow(
        id=utterance.id,
        language=utterance.language,
        text=utterance.text,
        duration_sec=len(clip.waveform) / codec.sample_rate_hz,
        units=merge_repeats(units) if units.num_codebooks == 1 else units,
        speaker=utterance.speaker,
        group=utterance.group,
        words=utterance.words,
        document=utterance.document,
        place=utterance.place,
    )
