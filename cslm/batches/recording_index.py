"""The recordings of a manifest: where their lines begin, and how long each is, found by reading all of them once.

What a header claims is not believed: each file is decoded once per machine, then its length is kept with the run. What
cannot be read is left out, counted and listed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from cslm.audio.waveform import RESAMPLER, load_waveform, loudness
from cslm.batches.document_index import IndexFolder
from cslm.batches.documents import JsonLines
from cslm.batches.parts import name_hash
from cslm.corpora.intake import printable
from cslm.corpora.manifest import Utterance, resolve_audio, utterance_of
from cslm.errors import UserError
from cslm.files.atomic_file import folder_aside
from cslm.files.progress import progress_bar

_FORMAT = 2
_ARRAYS = ("offsets", "names", "ids", "languages", "speakers", "lengths", "loudness")
_TEXTS = "texts.json"
_POLL_SEC = 0.2
_THREADS = 8
FIELDS = ("id", "audio", "text", "language")


@dataclass(frozen=True)
class RecordingIndex:
    """The recordings of a manifest that can be read, in their order."""

    offsets: npt.NDArray[np.int64]
    """place of the line of each, ``(recordings,)``"""
    names: npt.NDArray[np.uint64]
    """hash of what each is called, by which parts are held out, ``(recordings,)``"""
    ids: npt.NDArray[np.uint64]
    """hash of the id of each, ``(recordings,)``"""
    languages: npt.NDArray[np.int32]
    """of each its place among ``language_names``"""
    speakers: npt.NDArray[np.int32]
    """of each its place among ``speaker_names``"""
    lengths: npt.NDArray[np.int64]
    """samples of each, at the rate of the encoder"""
    loudness: npt.NDArray[np.float32]
    """root of the mean square of them; no number where nothing was decoded"""
    language_names: list[str]
    """tags, in the order in which they come"""
    speaker_names: list[str]
    """the empty one where a line names none"""
    rejected: list[dict[str, str]]
    """id, audio and reason of what cannot be read"""

    @property
    def digest(self) -> str:
        """Says which recordings these are, wherever their files lie."""
        found = hashlib.sha256()
        for values in (self.offsets, self.names, self.ids, self.lengths):
            found.update(np.ascontiguousarray(values).data)
        return found.hexdigest()


def index_recordings(
    manifest: JsonLines, rate_hz: int, kept_in: IndexFolder | None = None, decodes: bool = True
) -> RecordingIndex:
    """The index of a manifest; with ``kept_in`` one that was kept before, or that is kept now.

    Args:
        rate_hz: of the samples that are counted.
        decodes: read every recording; without, and with nothing kept, lengths are those that manifest or header claim.

    Raises:
        UserError: a line that is no utterance, or an id that stands in two.
    """
    if kept_in is None:
        return _read_all(manifest, rate_hz, decodes)
    folder = kept_in.path / _key(manifest, rate_hz)
    if kept_in.local_rank == 0:
        if not folder.is_dir():
            _write(_read_all(manifest, rate_hz), folder)
    else:
        while not folder.is_dir():
            if kept_in.working is not None and not kept_in.working.exists():
                raise UserError(f"process 0 stopped before there was an index of {manifest.path}: it says why")
            time.sleep(_POLL_SEC)
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    index = RecordingIndex(**arrays, **json.loads((folder / _TEXTS).read_text(encoding="utf-8")))
    kept_in.digests[manifest.path] = index.digest
    return index


def _read_all(manifest: JsonLines, rate_hz: int, decodes: bool = True) -> RecordingIndex:
    rows = list(_utterances(manifest))
    texts: tuple[dict[str, int], dict[str, int]] = {}, {}
    rejected: list[dict[str, str]] = []
    columns: list[tuple[float, ...]] = []

    def measured(row: tuple[int, Utterance]) -> tuple[int, float] | str:
        claimed = None if decodes else _claimed_length(str(manifest.path), row[1], rate_hz)
        return _measured(str(manifest.path), row[1], rate_hz) if claimed is None else (claimed, math.nan)

    num_threads = min(_THREADS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    with ThreadPoolExecutor(num_threads) as pool:
        told = progress_bar(pool.map(measured, rows), len(rows), f"reading {manifest.path.name}")
        for (offset, utterance), found in zip(rows, told, strict=True):
            if isinstance(found, str):
                reason = {"id": utterance.id, "audio": utterance.audio, "reason": found}
                rejected.append({key: printable(value) for key, value in reason.items()})
                continue
            name = utterance.document or utterance.group or utterance.id
            said = (utterance.language, utterance.speaker or "")
            codes = [numbers.setdefault(text, len(numbers)) for numbers, text in zip(texts, said, strict=True)]
            columns.append((offset, name_hash(name), name_hash(utterance.id), *codes, *found))
    types: tuple[Any, ...] = (np.int64, np.uint64, np.uint64, np.int32, np.int32, np.int64, np.float32)
    arrays = {
        name: np.array([row[place] for row in columns], dtype=kind)
        for place, (name, kind) in enumerate(zip(_ARRAYS, types, strict=True))
    }
    languages, speakers = (list(it) for it in texts)
    return RecordingIndex(**arrays, language_names=languages, speaker_names=speakers, rejected=rejected)


def _utterances(manifest: JsonLines) -> Iterator[tuple[int, Utterance]]:
    """Place and utterance of every line."""
    seen: set[str] = set()
    for found in manifest.scan():
        utterance = utterance_of(found.document, str(manifest.path))
        if utterance.id in seen:
            raise UserError(f"{manifest.path}: the id {utterance.id!r} stands in two lines; make every id unique")
        seen.add(utterance.id)
        yield found.offset, utterance


def _measured(manifest: str, utterance: Utterance, rate_hz: int) -> tuple[int, float] | str:
    """Samples of a recording and their loudness, or why it cannot be read."""
    path = resolve_audio(manifest, utterance)
    try:
        part = utterance.start_sec, utterance.duration_sec
        waveform, _ = load_waveform(path, *part, rate_hz, channel=utterance.channel)
        return len(waveform), loudness(waveform)
    except UserError as error:
        return str(error).replace(path, utterance.audio)


def _claimed_length(manifest: str, utterance: Utterance, rate_hz: int) -> int | None:
    """Samples that the manifest claims for a recording, else its header; None where neither says."""
    if utterance.duration_sec is not None:
        return round(utterance.duration_sec * rate_hz)
    try:
        told = soundfile.info(resolve_audio(manifest, utterance))
    except (OSError, RuntimeError):  # no file of this machine, or none that libsndfile knows
        return None
    return max(0, round((told.frames / told.samplerate - (utterance.start_sec or 0.0)) * rate_hz))


def _key(manifest: JsonLines, rate_hz: int) -> str:
    """Says which lines these are, as they are now, and what is asked of them."""
    files = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in manifest.files]
    what = json.dumps(["recordings", _FORMAT, RESAMPLER, files, rate_hz])
    return hashlib.sha256(what.encode("utf-8")).hexdigest()[:32]


def _write(index: RecordingIndex, folder: Path) -> None:
    """Write the index, whole or not at all; another machine may have been first with the same."""
    try:
        with folder_aside(folder) as aside:
            for name in _ARRAYS:
                np.save(aside / f"{name}.npy", getattr(index, name))
            texts = {name: getattr(index, name) for name in ("language_names", "speaker_names", "rejected")}
            (aside / _TEXTS).write_text(json.dumps(texts), encoding="utf-8")
    except OSError:
        if not folder.is_dir():
            raise
