"""Sources that read recordings: the utterances of a manifest, and documents that name a question of one.

Only the places of lines and the lengths of recordings are held in memory; a file is decoded when its row is made.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cslm.audio.waveform import load_waveform
from cslm.batches.document_index import IndexFolder, index_documents
from cslm.batches.document_sources import chain_of_source, core_field, document_fields, kept_documents, names_used
from cslm.batches.documents import JsonLines
from cslm.batches.language_balance import BalancedSource, check_exponent
from cslm.batches.parts import Part, name_hash
from cslm.batches.recording_index import FIELDS, RecordingIndex, index_recordings
from cslm.batches.source_checks import (
    check_chain_keys,
    check_languages,
    checked_settings,
    documents_path,
    not_empty,
    spelt_tokens,
    writing_tokens,
)
from cslm.batches.source_config import WHOLE, CommonSource, SourceConfig, Told
from cslm.codecs.encoder_hash import ENCODER
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import resolve_audio, utterance_of
from cslm.corpora.text_documents import language_fields
from cslm.errors import UserError
from cslm.sequences.audio_tasks import writes_chain
from cslm.sequences.hearing import Heard, Hearing
from cslm.sequences.sequence import Clip, Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import TASKS, Draw, Example
from cslm.units.sample_store import FRAMES, SampleStore

_SAME_LOUDNESS = 1e-3
"""relative; resampled on another machine, samples differ in their last digits"""


@dataclass(frozen=True)
class RecordedClip:
    """A recording, or a part of one, that is decoded when it is asked for."""

    path: str
    start_sec: float | None
    duration_sec: float | None
    channel: int | None
    sample_rate_hz: int
    num_samples: int

    def read(self) -> npt.NDArray[np.float32]:
        """Its samples ``(num_samples,)``.

        Raises:
            UserError: the file is another than when its length was taken.
        """
        part = self.start_sec, self.duration_sec, self.sample_rate_hz
        found, _ = load_waveform(self.path, *part, channel=self.channel)
        if len(found) != self.num_samples:
            raise UserError(
                f"{self.path} has {len(found):,} samples, and had {self.num_samples:,} when the run began: give it "
                "back, or train in another output folder"
            )
        return found


@dataclass(frozen=True)
class StoredFrames:
    """A recording as the encoder hears it, in a store."""

    store: SampleStore
    row: int

    def read(self) -> npt.NDArray[np.float32]:
        """Its frames ``(frames, dims)``."""
        found = self.store.row(self.row, ("frames", "num_frames"))
        frames: npt.NDArray[np.float32] = found["frames"].astype(np.float32).reshape(found["num_frames"], -1)
        return frames


class Recordings:
    """The recordings of the manifest of a source, those that the model can hear.

    Raises:
        UserError: no manifest is named or there, a line that is no utterance, or a model that hears nothing.
    """

    def __init__(self, name: str, config: SourceConfig, form: SequenceFormat, kept_in: IndexFolder | None) -> None:
        if config.manifest is None:
            raise UserError(
                f"the source {name} has the task {config.task} and needs a manifest: give a JSON Lines file"
            )
        self.hearing = form.hearing
        self._manifest = JsonLines(Path(config.manifest), FIELDS)
        rate_hz = self.hearing.sample_rate_hz
        self.index: RecordingIndex = index_recordings(self._manifest, rate_hz, kept_in, self.hearing.decodes)
        lengths, where = np.unique(self.index.lengths, return_inverse=True)
        faults = [self.hearing.fault(length) for length in lengths.tolist()]
        self.heard = np.array([fault is None for fault in faults], dtype=np.bool_)[where]
        """which of them can be heard, ``(recordings,)``"""
        self._faults = {row: str(faults[where[row]]) for row in np.flatnonzero(~self.heard).tolist()}
        self._frames = None if config.frames is None else _open_frames(name, config, self.hearing)
        self._places = np.full(len(self.heard), -1, dtype=np.int64)
        if self._frames is not None:
            rows = self.rows_of(self._frames.column("id").tolist())
            self._places[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
            self._check_heard(name, self._frames)
        self._unstored = self.heard & (self._places < 0) & (self._frames is not None)
        self.heard &= ~self._unstored

    def _check_heard(self, name: str, frames: SampleStore) -> None:
        """Make sure that frames are of recordings as long and as loud as the manifest's, where these were decoded.

        Raises:
            UserError: one is of another, by id.
        """
        stored = np.flatnonzero(self._places >= 0)
        lengths = frames.column("num_samples")[self._places[stored]]
        now = self.index.loudness[stored]
        others = lengths != self.index.lengths[stored]
        if "loudness" in frames.columns:
            others |= ~np.isclose(frames.column("loudness")[self._places[stored]], now, rtol=_SAME_LOUDNESS, atol=1e-6)
        others &= ~np.isnan(now)  # what manifest or header claim is rounded
        if others.any():
            place = int(np.flatnonzero(others)[0])
            row, length = int(stored[place]), int(lengths[place])
            raise UserError(
                f"the source {name}: the store {frames.path} has heard another recording as {self.read(row).id} than "
                f"{self._manifest.path} names now ({length:,} samples, and {int(self.index.lengths[row]):,}, "
                "or of another loudness): make the frames again"
            )

    def read(self, row: int) -> Heard:
        """The recording of a row of the index; its file is not opened."""
        record = self._manifest.read(int(self.index.offsets[row]))
        utterance, num_samples = utterance_of(record, str(self._manifest.path)), int(self.index.lengths[row])
        path = resolve_audio(self._manifest.path, utterance)
        part = utterance.start_sec, utterance.duration_sec, utterance.channel
        clip: Clip = RecordedClip(path, *part, self.hearing.sample_rate_hz, num_samples)
        if self._frames is not None and self._places[row] >= 0:
            clip = StoredFrames(self._frames, int(self._places[row]))
        return Heard(utterance.id, clip, num_samples, utterance.text, utterance.language, utterance.words)

    def rows_of(self, ids: list[str]) -> npt.NDArray[np.int64]:
        """The row of each id ``(ids,)``; -1 where there is none that can be read."""
        order = np.argsort(self.index.ids)
        hashes = np.array([name_hash(it) for it in ids], dtype=np.uint64)
        places = np.searchsorted(self.index.ids, hashes, sorter=order).clip(max=max(0, len(order) - 1))
        if not len(order):
            return np.full(len(ids), -1, dtype=np.int64)
        found = order[places]
        return np.where(self.index.ids[found] == hashes, found, -1)

    def told(self) -> list[Told]:
        """What is left out, and what is heard in pieces."""
        told = []
        if self.index.rejected:
            first = self.index.rejected[0]["reason"]
            names = [row["id"] for row in self.index.rejected]
            told.append(Told(f"recordings that cannot be read are left out ({first})", len(names), lambda: names))
        for kind, count in Counter(fault.split(":")[0] for fault in self._faults.values()).items():
            first = next(fault for fault in self._faults.values() if fault.startswith(kind))
            told.append(Told(f"recordings left out, {first}", count, partial(self._names, kind)))
        if unstored := np.flatnonzero(self._unstored).tolist():
            what = "recordings left out, for the store of frames has none of them"
            told.append(Told(what, len(unstored), lambda: [self.read(row).id for row in unstored]))
        lengths, counts = np.unique(self.index.lengths[self.heard], return_counts=True)
        in_pieces = sum(
            count
            for length, count in zip(lengths.tolist(), counts.tolist(), strict=True)
            if self.hearing.num_pieces(length) > 1
        )
        if in_pieces:
            told.append(Told(f"recordings heard in pieces, for they are longer than the encoder takes: {in_pieces:,}"))
        return told

    def _names(self, kind: str) -> list[str]:
        return [self.read(row).id for row, fault in self._faults.items() if fault.startswith(kind)]


def _open_frames(name: str, config: SourceConfig, hearing: Hearing) -> SampleStore:
    """The frames of a source.

    Raises:
        UserError: no such store, or one of another encoder.
    """
    store = SampleStore.open(str(config.frames), FRAMES)
    wanted = {ENCODER: hearing.hashes[ENCODER]} if ENCODER in hearing.hashes else {}
    store.check_made_with(wanted, f"the source {name} with its settings and long_audio")
    return store


class RecordingSource(BalancedSource):
    """The recordings of a manifest one by one: ``audio_asr`` and its like."""

    store = None

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        form: SequenceFormat,
        part: Part = WHOLE,
        kept_in: IndexFolder | None = None,
    ) -> None:
        super().__init__(name, config)
        self.task, self._form, self._settings = config.task, form, checked_settings(name, config, form)
        self._recordings = Recordings(name, config, form, kept_in)
        self.told += self._recordings.told()
        self._rows = np.flatnonzero(wanted_recordings(name, config, self._recordings, part)).astype(np.int64)
        self.num_documents = not_empty(name, config, len(self._rows), self.told)
        index = self._recordings.index
        check_exponent(name, config.language_exponent)
        self._balance_languages(config, index.languages[self._rows], index.language_names)

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``."""
        found = Example({}, heard=(self._recordings.read(int(self._rows[index])),))
        return TASKS[self.task].write(self._form, found, Draw(draw_seed, progress, self._settings))


def check_transcript(name: str, made: str, text: str, heard: Heard) -> None:
    """Make sure that what was made of a transcript is that of the manifest's.

    Args:
        made: what it is, as in "the target of u1".

    Raises:
        UserError: it was made from another transcript.
    """
    if text != heard.text:
        raise UserError(
            f"the source {name}: {made} was made from the transcript {text!r}, and the manifest says {heard.text!r}: "
            "make it again from this manifest"
        )


def wanted_recordings(
    name: str, config: SourceConfig, recordings: Recordings, part: Part = WHOLE
) -> npt.NDArray[np.bool_]:
    """Which recordings the filters of a source and the part leave, ``(recordings,)``.

    Raises:
        UserError: a filter names a language or a speaker that the manifest does not have.
    """
    index = recordings.index
    keep = recordings.heard & part.keeps(index.names)
    filters = (
        ("language", config.languages, index.language_names, index.languages),
        ("speaker", config.speakers, index.speaker_names, index.speakers),
    )
    for what, asked, names, codes in filters:
        if asked is None:
            continue
        missing = [value for value in asked if value not in names]
        if missing:
            raise UserError(
                f"the source {name} wants {what} {', '.join(missing)}, which {config.manifest} does not have; it has "
                f"{', '.join(sorted(names)[:20])}"
            )
        keep &= np.isin(codes, [names.index(value) for value in asked])
    check_told_languages(name, recordings, np.flatnonzero(keep))
    return keep


def check_told_languages(name: str, recordings: Recordings, rows: npt.NDArray[np.int64]) -> None:
    """Make sure that a connector that is told the languages knows those of these recordings.

    Raises:
        UserError: it does not know one.
    """
    hearing, index = recordings.hearing, recordings.index
    if not hearing.is_told_languages:
        return
    spoken = [index.language_names[code] for code in np.unique(index.languages[rows]).tolist()]
    unknown = [language for language in spoken if language_tag(language) not in hearing.languages]
    if unknown:
        raise UserError(
            f"the source {name} has recordings in {', '.join(unknown)}, and the connector, which is told the language "
            f"(gate.network given), knows {', '.join(hearing.languages)}: leave them out by the key languages of the "
            "source, or add them to the model's"
        )


class RecordedDialogueSource(CommonSource):
    """Documents that name a question of a manifest: ``audio_dialogue`` and its like."""

    store = None

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        form: SequenceFormat,
        part: Part = WHOLE,
        kept_in: IndexFolder | None = None,
    ) -> None:
        super().__init__(name, config)
        self.task, self._form = config.task, writing_tokens(name, config, form)
        self._settings = checked_settings(name, config, form)
        self._recordings = Recordings(name, config, form, kept_in)
        self.told += self._recordings.told()
        chain = chain_of_source(config) if _asks_for_chain(name, config) else None
        fields = TASKS[config.task].fields if chain is None else document_fields(config, chain)
        self._documents = JsonLines(documents_path(name, config), fields)
        languages = language_fields(TASKS[config.task].fields)
        core = () if chain is None else core_field(chain)
        index = index_documents(self._documents, ("question", *languages, *core), kept_in)
        columns = range(1, 1 + len(languages))
        check_languages(name, config, index, columns)
        self.spelt_tokens = spelt_tokens(self._form, index)
        kept = np.flatnonzero(kept_documents(config, index, columns, part))
        rows = self._recordings.rows_of(index.names[0])[index.codes[kept, 0]]
        spoken = (rows >= 0) & self._recordings.heard[rows]
        check_told_languages(name, self._recordings, rows[spoken])
        if not spoken.all():
            names = [index.names[0][code] for code in index.codes[kept[~spoken], 0].tolist()]
            what = f"documents left out, for their question cannot be heard in {config.manifest}"
            self.told.append(Told(what, len(names), lambda: names))
        kept, rows = kept[spoken], rows[spoken]
        self.num_documents = not_empty(name, config, len(kept), self.told)
        self._places = np.stack([index.offsets[kept], rows], axis=1)
        self.languages = names_used(index, kept, columns, chain)
        if chain is not None:
            check_chain_keys(name, config, self.languages)

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``."""
        offset, row = self._places[index].tolist()
        found = Example(self._documents.read(offset), heard=(self._recordings.read(row),))
        return TASKS[self.task].write(self._form, found, Draw(draw_seed, progress, self._settings))


def _asks_for_chain(name: str, config: SourceConfig) -> bool:
    """Whether a chain is written; else the answer alone."""
    try:
        return writes_chain(config.order)
    except UserError as error:
        raise UserError(f"the source {name}: {error}") from None
