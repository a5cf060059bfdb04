"""Sources that are a unit store alone: utterances, and groups of utterances that say one thing in several languages."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cslm.batches.document_index import IndexFolder
from cslm.batches.parts import Part
from cslm.batches.source_checks import checked_settings, kept_rows, not_empty, open_store, row_of
from cslm.batches.source_config import WHOLE, CommonSource, SourceConfig
from cslm.sequences.known_texts import open_known_texts
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import TASKS, Draw, Example
from cslm.units.store import StoreRow


class UtteranceSource(CommonSource):
    """Utterances of a store: ``asr``, ``tts``, ``interleaved`` and their like."""

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
        self.store = open_store(name, config, form)
        keep = kept_rows(name, self.store, {"language": config.languages, "speaker": config.speakers}, part)
        self._rows = np.flatnonzero(keep).astype(np.int64)
        self.num_documents = not_empty(name, config, len(self._rows))
        self.languages = sorted(set(self.store.languages()[keep].tolist()))

    def know_texts(self) -> None:
        """Tokenize the texts of the store once per machine, where the task reads them whole."""
        texts_of = TASKS[self.task].texts
        if texts_of is None:
            return
        texts = (text for said in self.store.column("text") for text in texts_of({"text": str(said)}))
        known = open_known_texts(f"store {self.store.digest} {self.task}", texts, self._form.encoder)
        self._form = self._form.knowing(known)

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``."""
        task = TASKS[self.task]
        utterance = row_of(self.store, int(self._rows[index]), task.reads_words)
        found = Example({}, (utterance,), self.store.frame_rate_hz, str(self.store.path))
        return task.write(self._form, found, Draw(draw_seed, progress, self._settings))


class GroupSource(CommonSource):
    """Groups of a store that say one thing in several languages: ``code_switched`` and its like.

    A document begins at each group and goes on to the next ones.
    """

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
        self.store = open_store(name, config, form)
        groups, languages = self.store.column("group"), self.store.languages()
        wanted = {"language": config.languages, "speaker": config.speakers}
        keep = kept_rows(name, self.store, wanted, part) & (groups != None)  # noqa: E711 (element by element)
        rows = np.flatnonzero(keep).astype(np.int64)
        self.languages, language = _numbered(languages[rows])
        _, group = _numbered(groups[rows])
        order, self._starts = _by_group(rows, group, language)
        self._rows, self._language = rows[order], language[order]
        self.num_documents = not_empty(name, config, len(self._starts) - 1)

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``: as many sentences as asked for, or as there are groups."""
        task, generator = TASKS[self.task], np.random.default_rng(draw_seed)
        count = min(self._settings.num_sentences, self.num_documents)
        groups = [(index + step) % self.num_documents for step in range(count)]
        sentences = tuple(self._draw_row(group, generator, task.reads_words) for group in groups)
        found = Example({}, sentences, self.store.frame_rate_hz, str(self.store.path))
        return task.write(self._form, found, Draw(draw_seed, progress, self._settings))

    def _draw_row(self, group: int, generator: np.random.Generator, with_words: bool) -> StoreRow:
        """One row of a group: a language of the group, then a row in it, all equally likely."""
        inside = slice(int(self._starts[group]), int(self._starts[group + 1]))
        languages = self._language[inside]
        candidates = self._rows[inside][languages == generator.choice(np.unique(languages))]
        return row_of(self.store, int(generator.choice(candidates)), with_words)


def _numbered(values: npt.NDArray[Any]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The different strings, sorted, and for every value its number among them."""
    if not len(values):
        return [], np.zeros(0, dtype=np.int64)
    different, numbers = np.unique(values.astype(str), return_inverse=True)
    return different.tolist(), numbers.astype(np.int64)


def _by_group(
    rows: npt.NDArray[np.int64], group: npt.NDArray[np.int64], language: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places in ``rows`` of the groups of two languages or more, in the order of the store, and where each starts.

    The starts end with the number of places.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64)
    pairs = np.unique(np.stack([group, language]), axis=1)
    mixed = np.bincount(pairs[0], minlength=int(group.max()) + 1) >= 2
    first_row = np.full(len(mixed), np.iinfo(np.int64).max)
    np.minimum.at(first_row, group, rows)
    order = np.lexsort((rows, first_row[group]))
    order = order[mixed[group[order]]]
    changes = np.flatnonzero(np.diff(group[order])) + 1
    starts = np.concatenate(([0], changes, [len(order)])) if len(order) else np.zeros(1)
    return order, starts.astype(np.int64)
