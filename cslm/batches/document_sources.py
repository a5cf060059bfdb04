"""Sources that are a file or folder of documents: text, and dialogues that name the utterances of a unit store."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from cslm.batches.document_index import DocumentIndex, IndexFolder, documents_key, index_documents
from cslm.batches.documents import JsonLines
from cslm.batches.parts import Part
from cslm.batches.source_checks import (
    check_chain_keys,
    check_languages,
    checked_settings,
    documents_path,
    in_languages,
    kept_rows,
    not_empty,
    open_store,
    spelt_tokens,
    writing_tokens,
)
from cslm.batches.source_config import WHOLE, CommonSource, SourceConfig
from cslm.corpora.text_documents import language_fields
from cslm.errors import UserError
from cslm.sequences.chains import CHAINS, CORE_LANGUAGE, Chain
from cslm.sequences.known_texts import open_known_texts
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import TASKS, Draw, Example

_MOST_NAMED = 3


class DialogueSource(CommonSource):
    """Spoken questions and answers, of one turn or several: documents that name utterances of a store."""

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
        self.store = open_store(name, config, form)
        chain = chain_of_source(config)
        assert chain is not None, "dialogues have a chain"
        self._documents = JsonLines(documents_path(name, config), document_fields(config, chain), in_turns=True)
        languages = language_fields(TASKS[config.task].fields)
        spoken_fields = ("question", "answer") if chain.speaks else ("question",)
        index = index_documents(self._documents, (*spoken_fields, *languages, *core_field(chain)), kept_in)
        columns = range(len(spoken_fields), len(spoken_fields) + len(languages))
        check_languages(name, config, index, columns)
        self.spelt_tokens = spelt_tokens(self._form, index)
        begins = np.flatnonzero(np.diff(index.offsets, prepend=-1))  # the first turn of each document
        wanted = kept_documents(config, index, columns, part)
        kept = np.flatnonzero(_whole(wanted, begins))
        rows = [self._store_rows(index, kept, column) for column in range(len(spoken_fields))]
        if chain.speaks:
            in_voice = kept_rows(name, self.store, {"speaker": config.speakers})
            wanted[kept] = in_voice[rows[-1]]
            still = _whole(wanted, begins)[kept]
            kept, rows = kept[still], [row[still] for row in rows]
        offsets, counts = np.unique(index.offsets[kept], return_counts=True)
        self.num_documents = not_empty(name, config, len(offsets))
        self._offsets, self._ends, self._rows = offsets, np.cumsum(counts), np.stack(rows, axis=1)
        self.languages = names_used(index, kept, columns, chain)
        check_chain_keys(name, config, self.languages)

    def _store_rows(self, index: DocumentIndex, kept: npt.NDArray[np.int64], column: int) -> npt.NDArray[np.int64]:
        """The rows of the store that a field of the turns ``kept`` names, ``(kept,)``."""
        used, places = np.unique(index.codes[kept, column], return_inverse=True)
        names = index.names[column]
        rows = np.array([self.store.index_of(names[code]) for code in used.tolist()], dtype=np.int64)
        return rows[places]

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index`` with all its turns; nothing of it is drawn but where its compression says so.

        Raises:
            UserError: an answer of several chunks without word times, in an order that has to cut it.
        """
        first = int(self._ends[index - 1]) if index else 0
        rows = self._rows[first : int(self._ends[index])].reshape(-1).tolist()
        document = self._documents.read(int(self._offsets[index]))
        utterances = tuple(self.store.row(row) for row in rows)
        found = Example(document, utterances, self.store.frame_rate_hz, str(self.store.path))
        return TASKS[self.task].write(self._form, found, Draw(draw_seed, progress, self._settings))


class TextSource(CommonSource):
    """Documents of text: ``translation``, ``instruction``, ``text``, ``text_dialogue`` and their like."""

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        form: SequenceFormat,
        part: Part = WHOLE,
        kept_in: IndexFolder | None = None,
    ) -> None:
        super().__init__(name, config)
        self.task, self._form, self.store = config.task, writing_tokens(name, config, form), None
        self._settings = checked_settings(name, config, form)
        chain = chain_of_source(config)
        self._documents = JsonLines(documents_path(name, config), document_fields(config, chain))
        languages = language_fields(TASKS[config.task].fields)
        roles = [field for field in TASKS[config.task].fields if field == "messages"]
        index = index_documents(self._documents, (*languages, *core_field(chain), *roles), kept_in)
        columns = range(len(languages))
        check_languages(name, config, index, columns)
        kept = np.flatnonzero(kept_documents(config, index, columns, part))
        if roles:
            _check_roles(form, self._documents, index, kept)
        self.spelt_tokens = spelt_tokens(self._form, index)
        self.num_documents = not_empty(name, config, len(kept))
        self._offsets = index.offsets if len(kept) == len(index.offsets) else index.offsets[kept]
        self.languages = names_used(index, kept, columns, chain)
        if chain is not None:
            check_chain_keys(name, config, self.languages)

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``.

        Raises:
            UserError: it cannot be written, by file and line.
        """
        offset = int(self._offsets[index])
        found = Example(self._documents.read(offset))
        try:
            return TASKS[self.task].write(self._form, found, Draw(draw_seed, progress, self._settings))
        except UserError as error:
            raise UserError(f"{self._documents.where(offset)}: {error}") from None

    def know_texts(self) -> None:
        """Tokenize the texts of the documents once per machine, where the task reads them whole."""
        texts_of = TASKS[self.task].texts
        if texts_of is None:
            return
        texts = (text for found in self._documents.scan() for text in texts_of(found.document))
        name = f"documents {documents_key(self._documents, (self.task,))}"
        self._form = self._form.knowing(open_known_texts(name, texts, self._form.encoder))


def chain_of_source(config: SourceConfig) -> Chain | None:
    """The chain of modality that a source writes; None where its task writes none."""
    return CHAINS[config.order] if "order" in TASKS[config.task].reads else None


def document_fields(config: SourceConfig, chain: Chain | None) -> tuple[str, ...]:
    """The fields of the documents: those of the task, and those that its chain writes besides.

    An answer that is not spoken is no utterance.
    """
    own = TASKS[config.task].fields
    if chain is None:
        return own
    needed = (field for field in own if field != "answer" or chain.speaks)
    return tuple(dict.fromkeys((*needed, *chain.fields, *core_field(chain))))


def core_field(chain: Chain | None) -> tuple[str, ...]:
    """The field that names the core language of a document; none where the chain has no such language."""
    return (CORE_LANGUAGE,) if chain is not None and chain.has_core else ()


def kept_documents(
    config: SourceConfig, index: DocumentIndex, columns: Iterable[int], part: Part
) -> npt.NDArray[np.bool_]:
    """Which documents of the part are wanted by the languages in all of ``columns``, ``(documents,)``."""
    kept = part.keeps(index.hashes)
    for column in columns:
        wanted = np.array([in_languages(config, name) for name in index.names[column]], dtype=np.bool_)
        if not wanted.all():
            kept &= wanted[index.codes[:, column]]
    return kept


def _whole(wanted: npt.NDArray[np.bool_], begins: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Of ``wanted`` turns ``(turns,)`` those of documents of which every turn is.

    Args:
        begins: ``(documents,)`` the first turn of each.
    """
    if len(begins) == len(wanted):
        return wanted
    return np.repeat(np.logical_and.reduceat(wanted, begins), np.diff(begins, append=len(wanted)))


def _check_roles(form: SequenceFormat, documents: JsonLines, index: DocumentIndex, kept: npt.NDArray[np.int64]) -> None:
    """Make sure that the chat template takes the conversations ``kept``, by their roles.

    Raises:
        UserError: it refuses some; the first of each kind is named by file and line.
    """
    column = index.codes[:, -1][kept]
    refused = []
    for code in np.unique(column).tolist():
        try:
            form.chat.pieces(tuple(index.names[-1][code].split()))
        except UserError as error:
            alike = kept[column == code]
            refused.append(f"{documents.where(int(index.offsets[alike[0]]))} (and {len(alike) - 1:,} more): {error}")
    if refused:
        more = f"; and {len(refused) - _MOST_NAMED:,} more kinds" if len(refused) > _MOST_NAMED else ""
        raise UserError("; ".join(refused[:_MOST_NAMED]) + more)


def names_used(
    index: DocumentIndex, kept: npt.NDArray[np.int64], columns: Iterable[int], chain: Chain | None
) -> list[str]:
    """What the documents ``kept`` say in ``columns``, and the languages of their chain besides; each once, sorted."""
    if chain is not None and chain.has_core:
        columns = (*columns, max(columns) + 1)  # the field stands behind those of the task
    used = {index.names[it][code] for it in columns for code in np.unique(index.codes[kept, it]).tolist()}
    return sorted(used | set(chain.core_languages if chain is not None else ()))
