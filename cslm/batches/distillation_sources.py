"""Sources that distil: recordings whose transcripts have a teacher's state in a store (LAD, arXiv 2603.07025)."""

from __future__ import annotations

import numpy as np

from cslm.batches.document_index import IndexFolder
from cslm.batches.language_balance import BalancedSource, check_exponent
from cslm.batches.parts import Part
from cslm.batches.recording_sources import Recordings, check_transcript, wanted_recordings
from cslm.batches.source_checks import checked_settings, not_empty
from cslm.batches.source_config import WHOLE, SourceConfig, Told
from cslm.errors import UserError
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import TASKS, Draw, Example
from cslm.units.sample_store import TEACHER_STATES, SampleStore


class DistillationSource(BalancedSource):
    """The recordings that have a teacher's state: ``audio_distillation``.

    Raises:
        UserError: no store is named or there, it was made by another language model or template, or a key out of range.
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
        check_exponent(name, config.language_exponent)
        if config.loss_weight != 1:
            raise UserError(
                f"the source {name} has loss_weight {config.loss_weight}, and its task writes no token that is learnt: "
                "weigh the losses instead (losses.output_distillation.weight)"
            )
        self._states = _open_states(name, config, form)
        self._recordings = Recordings(name, config, form, kept_in)
        self.told += self._recordings.told()
        wanted = wanted_recordings(name, config, self._recordings, part)
        ids = self._states.column("id")
        rows = self._recordings.rows_of(ids.tolist())
        untaught = wanted.copy()
        untaught[rows[rows >= 0]] = False
        if untaught.any():
            places = np.flatnonzero(untaught)
            what = f"recordings left out, for {config.teacher_states} has no state of their transcript"
            self.told.append(Told(what, len(places), lambda: [self._recordings.read(int(it)).id for it in places]))
        kept = np.flatnonzero((rows >= 0) & wanted[rows])
        self.num_documents = not_empty(name, config, len(kept), self.told)
        self._places = np.stack([kept, rows[kept]], axis=1)
        codes = self._recordings.index.languages[rows[kept]]
        self._balance_languages(config, codes, self._recordings.index.language_names)
        self.told += self._tell()

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``; nothing of it is drawn.

        Raises:
            UserError: its transcript is not the one that the teacher has read.
        """
        place, recording = self._places[index].tolist()
        row, heard = self._states.row(place), self._recordings.read(recording)
        check_transcript(self._name, f"the teacher's state of {row['id']}", row["text"], heard)
        found = Example(row, heard=(heard,))
        return TASKS[self.task].write(self._form, found, Draw(draw_seed, progress, self._settings))

    def _tell(self) -> list[Told]:
        """Transcripts that have more ids than their recording has vectors: no vectors are held against them."""
        hearing, told = self._form.hearing, []
        lengths, where = np.unique(self._recordings.index.lengths[self._places[:, 1]], return_inverse=True)
        places = np.array([hearing.num_places(length) for length in lengths.tolist()])[where]
        longer = self._places[self._states.column("num_ids")[self._places[:, 0]] > places, 0]
        if len(longer):
            what = "transcripts of more tokens than their recordings have vectors, left out of input_distillation"
            what += f" (of {len(self._places):,})"
            ids = self._states.column("id")
            told.append(Told(what, len(longer), lambda: ids[longer].tolist()))
        unknown = [it for it in self.languages if it not in hearing.languages]
        if hearing.languages and unknown:
            told.append(
                Told(f"languages that the gate does not tell apart ({', '.join(unknown)}): it learns none of them")
            )
        return told


def _open_states(name: str, config: SourceConfig, form: SequenceFormat) -> SampleStore:
    if config.teacher_states is None:
        raise UserError(
            f"the source {name} has the task {config.task} and needs teacher_states: give the folder of a store "
            "(make-teacher-states)"
        )
    states = SampleStore.open(config.teacher_states, TEACHER_STATES)
    states.check_made_with(form.hearing.teacher_hashes, "the model of this run")
    return states
