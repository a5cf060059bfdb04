"""Sources that are a file of documents: text, and dialogues that name the utterances of a unit store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cslm.batches.documents import JsonLines
from cslm.batches.held_out import Part, document_name
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
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import dialogue, text_dialogue
from cslm.sequences.chunking import chunk_text, speak_chunks
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import instruction, plain_text, translation


class DialogueSource(CommonSource):
    """Spoken questions and answers: documents that name utterances of a store."""

    task = "dialogue"
    fields = ("question", "question_language", "question_text", "answer", "answer_language", "answer_text")

    def __init__(self, name: str, config: SourceConfig, form: SequenceFormat, part: Part = WHOLE) -> None:
        super().__init__(name, config)
        self._form, self._order = form, checked_order(name, config)
        self.store = open_store(name, config, form)
        self._documents = JsonLines(documents_path(name, config), self.fields)
        rows: list[tuple[int, int, int]] = []
        languages: set[str] = set()
        answers = kept_rows(
            name, self.store, SourceConfig(config.task, config.weight, config.store, speakers=config.speakers)
        )
        for offset, document in self._documents.scan():
            wanted = in_languages(config, document["question_language"], document["answer_language"])
            if not (wanted and part.keeps(document_name(document))):
                continue
            answer = self.store.index_of(document["answer"])
            if answers[answer]:
                rows.append((offset, self.store.index_of(document["question"]), answer))
                languages.update((document["question_language"], document["answer_language"]))
        self.num_documents = not_empty(name, config, len(rows))
        self._rows: npt.NDArray[np.int64] = np.array(rows, dtype=np.int64)
        self.languages = sorted(languages)

    def clean_sequence(self, index: int, draw_seed: int) -> Sequence:
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

    def __init__(self, name: str, config: SourceConfig, form: SequenceFormat, part: Part = WHOLE) -> None:
        super().__init__(name, config)
        self.task, self._form, self.store = config.task, form, None
        self._order = checked_order(name, config)
        self._write, fields, language_fields = TEXT_TASKS[config.task]
        self._documents = JsonLines(documents_path(name, config), fields)
        offsets: list[int] = []
        languages: set[str] = set()
        for offset, document in self._documents.scan():
            spoken = [document[field] for field in language_fields]
            if in_languages(config, *spoken) and part.keeps(document_name(document)):
                offsets.append(offset)
                languages.update(spoken)
        self.num_documents = not_empty(name, config, len(offsets))
        self._offsets = np.array(offsets, dtype=np.int64)
        self.languages = sorted(languages)

    def clean_sequence(self, index: int, draw_seed: int) -> Sequence:
        """The document ``index``."""
        return self._write(self, self._documents.read(int(self._offsets[index])), draw_seed)

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


_TextWriter = Callable[[TextSource, dict[str, Any], int], Sequence]
TEXT_TASKS: dict[str, tuple[_TextWriter, tuple[str, ...], tuple[str, ...]]] = {
    "translation": (
        TextSource._translation,
        ("source_language", "target_language", "source", "target"),
        ("source_language", "target_language"),
    ),
    "instruction": (TextSource._instruction, ("language", "messages"), ("language",)),
    "text": (TextSource._text, ("language", "text"), ("language",)),
    "text_dialogue": (
        TextSource._text_dialogue,
        ("question_language", "answer_language", "question_text", "answer_text"),
        ("question_language", "answer_language"),
    ),
}
