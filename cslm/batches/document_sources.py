"""Sources that are a file or folder of documents: text, and dialogues that name the utterances of a unit store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from cslm.batches.document_index import DocumentIndex, IndexFolder, documents_key, index_documents
from cslm.batches.documents import JsonLines
from cslm.batches.parts import Part
from cslm.batches.source_config import (
    WHOLE,
    CommonSource,
    SourceConfig,
    checked_order,
    documents_path,
    in_languages,
    kept_rows,
    not_empty,
    open_store,
)
from cslm.corpora.text_documents import TEXT_FIELDS, language_fields
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import dialogue, text_dialogue
from cslm.sequences.chunking import chunk_text, speak_chunks
from cslm.sequences.known_texts import open_known_texts
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import instruction, plain_text, translation


class DialogueSource(CommonSource):
    """Spoken questions and answers: documents that name utterances of a store."""

    task = "dialogue"
    fields = ("question", "question_language", "question_text", "answer", "answer_language", "answer_text")
    fields_of_index = ("question", "answer", "question_language", "answer_language")

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        form: SequenceFormat,
        part: Part = WHOLE,
        kept_in: IndexFolder | None = None,
    ) -> None:
        super().__init__(name, config)
        self._form, self._order = form, checked_order(name, config)
        self.store = open_store(name, config, form)
        self._documents = JsonLines(documents_path(name, config), self.fields)
        index = index_documents(self._documents, self.fields_of_index, kept_in)
        answers = kept_rows(
            name, self.store, SourceConfig(config.task, config.weight, config.store, speakers=config.speakers)
        )
        kept = np.flatnonzero(_kept(config, index, (2, 3), part))
        answer = self._store_rows(index, kept, 1)
        kept, answer = kept[answers[answer]], answer[answers[answer]]
        self.num_documents = not_empty(name, config, len(kept))
        self._rows = np.stack([index.offsets[kept], self._store_rows(index, kept, 0), answer], axis=1)
        self.languages = _names_used(index, kept, (2, 3))

    def _store_rows(self, index: DocumentIndex, kept: npt.NDArray[np.int64], column: int) -> npt.NDArray[np.int64]:
        """The rows of the store that a field of the documents ``kept`` names, ``(kept,)``."""
        used, places = np.unique(index.codes[kept, column], return_inverse=True)
        names = index.names[column]
        rows = np.array([self.store.index_of(names[code]) for code in used.tolist()], dtype=np.int64)
        return rows[places]

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``; nothing of it is drawn.

        Raises:
            UserError: an answer of several chunks without word times, in an order that has to cut it.
        """
        offset, question_row, answer_row = self._rows[index].tolist()
        document = self._documents.read(offset)
        question, answer = self.store.row(question_row), self.store.row(answer_row)
        language = document["answer_language"]
        chunks = [document["answer_text"]] if self._order == "full" else chunk_text(document["answer_text"], language)
        if len(chunks) > 1 and answer.words is None:
            raise UserError(
                f"the utterance {answer.id} of {self.store.path} has no word times (words), and the order "
                f"{self._order} cuts answers by them: align the corpus, or use order: full"
            )
        spoken = speak_chunks(chunks, answer.units, answer.words, self.store.frame_rate_hz)
        return dialogue(
            self._form,
            question.units,
            document["question_text"],
            document["question_language"],
            spoken,
            language,
            self._order,
        )


class TextSource(CommonSource):
    """Documents of text: ``translation``, ``instruction``, ``text``, ``text_dialogue``."""

    def __init__(
        self,
        name: str,
        config: SourceConfig,
        form: SequenceFormat,
        part: Part = WHOLE,
        kept_in: IndexFolder | None = None,
    ) -> None:
        super().__init__(name, config)
        self.task, self._form, self.store = config.task, form, None
        self._order = checked_order(name, config)
        self._write = TEXT_TASKS[config.task]
        self._documents = JsonLines(documents_path(name, config), TEXT_FIELDS[config.task])
        index = index_documents(self._documents, language_fields(config.task), kept_in)
        columns = range(index.codes.shape[1])
        kept = np.flatnonzero(_kept(config, index, columns, part))
        self.num_documents = not_empty(name, config, len(kept))
        self._offsets = index.offsets if len(kept) == len(index.offsets) else index.offsets[kept]
        self.languages = _names_used(index, kept, columns)

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``."""
        return self._write(self, self._documents.read(int(self._offsets[index])), draw_seed)

    def know_texts(self) -> None:
        """Tokenize the texts of the documents once per machine; those of dialogues, which are cut, are not kept."""
        texts_of = {"translation": _texts_of_translation, "instruction": _texts_of_instruction, "text": _texts_of_text}
        if self.task not in texts_of:
            return
        texts = (text for _, document in self._documents.scan() for text in texts_of[self.task](document))
        name = f"documents {documents_key(self._documents, (self.task,))}"
        self._form = self._form.knowing(open_known_texts(name, texts, self._form.encoder))

    def _translation(self, document: dict[str, Any], draw_seed: int) -> Sequence:
        languages = document["source_language"], document["target_language"]
        return translation(self._form, document["source"], document["target"], *languages, draw_seed)

    def _instruction(self, document: dict[str, Any], draw_seed: int) -> Sequence:
        return instruction(self._form, document["messages"], document["language"])

    def _text(self, document: dict[str, Any], draw_seed: int) -> Sequence:
        return plain_text(self._form, document["text"], document["language"])

    def _text_dialogue(self, document: dict[str, Any], draw_seed: int) -> Sequence:
        return text_dialogue(
            self._form,
            document["question_text"],
            document["answer_text"],
            document["question_language"],
            document["answer_language"],
            self._order,
        )


def _texts_of_translation(document: dict[str, Any]) -> list[str]:
    return [" " + document["source"], document["target"]]


def _texts_of_instruction(document: dict[str, Any]) -> list[str]:
    contents = (message.get("content") for message in document["messages"] if isinstance(message, dict))
    return [content for content in contents if isinstance(content, str)]


def _texts_of_text(document: dict[str, Any]) -> list[str]:
    return [document["text"]]


def _kept(config: SourceConfig, index: DocumentIndex, columns: Iterable[int], part: Part) -> npt.NDArray[np.bool_]:
    """Which documents of the part are wanted by the languages in all of ``columns``, ``(documents,)``."""
    kept = part.keeps(index.hashes)
    for column in columns:
        wanted = np.array([in_languages(config, name) for name in index.names[column]], dtype=np.bool_)
        if not wanted.all():
            kept &= wanted[index.codes[:, column]]
    return kept


def _names_used(index: DocumentIndex, kept: npt.NDArray[np.int64], columns: Iterable[int]) -> list[str]:
    """What the documents ``kept`` say in ``columns``, each once, sorted."""
    return sorted({index.names[it][code] for it in columns for code in np.unique(index.codes[kept, it]).tolist()})


_TextWriter = Callable[[TextSource, dict[str, Any], int], Sequence]
TEXT_TASKS: dict[str, _TextWriter] = {
    "translation": TextSource._translation,
    "instruction": TextSource._instruction,
    "text": TextSource._text,
    "text_dialogue": TextSource._text_dialogue,
}
