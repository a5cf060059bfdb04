"""Sources that imitate: the rows of a store of targets, each with its recording in the place of the transcript."""

from __future__ import annotations

import dataclasses

import numpy as np

from cslm.batches.document_index import IndexFolder
from cslm.batches.parts import Part
from cslm.batches.recording_sources import Recordings, check_transcript, wanted_recordings
from cslm.batches.source_checks import checked_settings, not_empty
from cslm.batches.source_config import WHOLE, CommonSource, SourceConfig, Told
from cslm.batches.weights import Weight, WeightSchedule, weight_at
from cslm.errors import UserError
from cslm.sequences.audio_imitation import TEXT_SHARE
from cslm.sequences.interleaved_vectors import has_word_times
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.task_pool import SEEN
from cslm.sequences.tasks import TASKS, Draw, Example
from cslm.units.sample_store import TARGETS, SampleStore

_TRIED = 64


class ImitationSource(CommonSource):
    """The rows of a store of targets whose recordings can be heard: ``audio_imitation``.

    Raises:
        UserError: no store is named or there, it was made by another language model or template, it holds what is held
            out from training, or a share or weight out of range.
    """

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
        self.task, self._name, self._form = config.task, name, form
        self._settings = checked_settings(name, config, form)
        self._targets = _open_targets(name, config, form)
        self._words, self._documents = _checked_shares(name, config, form), config.text_documents
        self._transcribing_weight = config.transcribing_weight
        self._recordings = Recordings(name, config, form, kept_in)
        self.told += self._recordings.told()
        wanted = wanted_recordings(name, config, self._recordings, part)
        ids = self._targets.column("id")
        rows = self._recordings.rows_of(ids.tolist())
        absent = rows < 0
        if absent.any():
            what = f"targets left out, for {config.manifest} has no recording of them that can be read"
            self.told.append(Told(what, int(absent.sum()), lambda: ids[absent].tolist()))
        kept = np.flatnonzero(~absent & wanted[rows])
        self.num_documents = not_empty(name, config, len(kept), self.told)
        self._places = np.stack([kept, rows[kept]], axis=1)
        answers = self._targets.column("target_language")[kept]
        spoken = self._targets.column("language")[kept]
        self.languages = sorted({str(into or own) for into, own in zip(answers, spoken, strict=True)})
        self.told += self._tell()

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``."""
        place, recording = self._places[index].tolist()
        row, heard = self._targets.row(place), self._recordings.read(recording)
        check_transcript(self._name, f"the target of {row['id']}", row["text"], heard)
        generator = np.random.default_rng([draw_seed, 1])
        interleaves = generator.random() < self._documents
        row[TEXT_SHARE] = float(weight_at(self._words, progress)) if interleaves else 0.0
        found = Example(row, heard=(heard,))
        document = TASKS[self.task].write(self._form, found, Draw(draw_seed, progress, self._settings))
        if row["transcribes"] and self._transcribing_weight != 1:
            return dataclasses.replace(document, loss_weight=self._transcribing_weight)
        return document

    @property
    def targets_digest(self) -> str:
        """Says which targets these are."""
        return self._targets.digest

    def _tell(self) -> list[Told]:
        truncated = self._targets.column("truncated")[self._places[:, 0]]
        told = [Told(f"targets that were cut off, and have no end to learn: {int(truncated.sum()):,}")]
        if self._never_interleaves():
            return told
        tried = [self._recordings.read(int(row)) for row in self._places[:_TRIED, 1]]
        lacking = sum(not has_word_times(heard.text, heard.words) for heard in tried)
        if lacking == len(tried):
            raise UserError(
                f"the source {self._name} has text_words, and the first {len(tried)} recordings have no word times: "
                "align the corpus (words in the manifest), or set text_words to 0"
            )
        if lacking:
            told.append(Told(f"of the first {len(tried)} recordings {lacking} have no word times: never interleaved"))
        return told

    def _never_interleaves(self) -> bool:
        return self._documents == 0 or not _cuts_words(self._words)


def _cuts_words(words: Weight) -> bool:
    """Whether some words of a recording are ever text and others not: also on the way from all of them to none."""
    values = words.values if isinstance(words, WeightSchedule) else [words]
    return any(0 < value < 1 for value in values) or len(set(values)) > 1


def _open_targets(name: str, config: SourceConfig, form: SequenceFormat) -> SampleStore:
    if config.targets is None:
        raise UserError(
            f"the source {name} has the task {config.task} and needs targets: give the folder of a store (make-targets)"
        )
    targets = SampleStore.open(config.targets, TARGETS)
    cells = [cell for cell in targets.header.making.settings["cells"] if cell != SEEN]
    if cells:
        raise UserError(
            f"the source {name}: {config.targets} holds {', '.join(cells)}, which are held out from training: make "
            "targets of the cell seen"
        )
    targets.check_made_with(form.hearing.teacher_hashes, "the model of this run")
    return targets


def _checked_shares(name: str, config: SourceConfig, form: SequenceFormat) -> Weight:
    """The share of words that are text."""
    words = config.text_words
    values = words.values if isinstance(words, WeightSchedule) else [words]
    for key, value in (("text_documents", config.text_documents), *(("text_words", value) for value in values)):
        if not 0 <= value <= 1:
            raise UserError(f"the source {name} has {key} {value}: give a share from 0 to 1")
    if not 0 < config.transcribing_weight < float("inf"):
        raise UserError(
            f"the source {name} has transcribing_weight {config.transcribing_weight}: give a number above 0"
        )
    if _cuts_words(words) and not form.hearing.in_time:
        raise UserError(
            f"the source {name} has text_words, and the vectors of this connector do not follow the time of the "
            "recording, so that no words can be cut from them: choose stacked, convolutions or qformer, or leave it out"
        )
    return words
