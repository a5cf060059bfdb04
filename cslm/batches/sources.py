"""Sources: a unit store or a file of text documents, with the task that makes sequences of it.

Nothing of a corpus is held in memory but a few numbers a document: stores are mapped, documents are read from their
places in the file. What a document becomes depends only on its index and the seed of the draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from cslm.batches.documents import JsonLines
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import ORDERS, Order, dialogue, text_dialogue
from cslm.sequences.chunking import chunk_text, speak_chunks
from cslm.sequences.interleaving import code_switched, interleaved
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.tasks import asr, instruction, plain_text, translation, tts
from cslm.units.store import StoreRow, UnitStore

_LENGTH_SAMPLE = 256


@dataclass
class SourceConfig:
    """One source of a mixture."""

    task: str
    """asr, tts, interleaved, code_switched (a store); translation, instruction, text, text_dialogue (documents);
    dialogue (documents and the store of their utterances)"""
    weight: float
    """share of the training's tokens, in any unit; 0 leaves the source out"""
    store: str | None = None
    """folder of a unit store"""
    documents: str | None = None
    """JSON Lines file of documents"""
    languages: list[str] | None = None
    """only these languages (of both sides, where there are two)"""
    speakers: list[str] | None = None
    """only rows of these speakers; of a dialogue, only answers in these voices"""
    order: str = "interleaved"
    """of the chain of modality: interleaved, full or no_question"""
    num_sentences: int = 4
    """of a code-switched document"""


class Source(Protocol):
    """Documents that a mixture draws from."""

    @property
    def task(self) -> str:
        """what the sequences are"""
        ...

    @property
    def num_documents(self) -> int:
        """how many there are in an epoch"""
        ...

    @property
    def languages(self) -> list[str]:
        """languages of what is trained, sorted"""
        ...

    @property
    def mean_length(self) -> float:
        """mean number of ids of a document, from an evenly spaced sample"""
        ...

    @property
    def store(self) -> UnitStore | None:
        """the unit store, for a source that has one"""
        ...

    def sequence(self, index: int, draw_seed: int) -> Sequence:
        """The document ``index``; wordings and cuts are drawn from the seed."""
        ...


class _Sampled:
    """A source whose mean length is measured on a sample."""

    num_documents: int

    def sequence(self, index: int, draw_seed: int) -> Sequence:
        raise AssertionError

    @cached_property
    def mean_length(self) -> float:
        """Mean number of ids of a document, from an evenly spaced sample."""
        places = np.unique(np.linspace(0, self.num_documents - 1, _LENGTH_SAMPLE).round().astype(np.int64))
        return float(np.mean([len(self.sequence(int(place), int(place))) for place in places]))


class UtteranceSource(_Sampled):
    """Utterances of a store: ``asr``, ``tts``, ``interleaved``."""

    def __init__(self, name: str, config: SourceConfig, form: SequenceFormat) -> None:
        self.task, self._form = config.task, form
        self.store = _open_store(name, config, form)
        keep = _kept_rows(self.store, config)
        self._rows = np.flatnonzero(keep).astype(np.int64)
        self.num_documents = _not_empty(name, config, len(self._rows))
        self.languages = sorted(set(self.store.column("language")[keep].tolist()))

    def sequence(self, index: int, draw_seed: int) -> Sequence:
        """The document ``index``."""
        row = self.store.row(int(self._rows[index]))
        if self.task == "asr":
            return asr(self._form, row.units, row.text, row.language, draw_seed)
        if self.task == "tts":
            return tts(self._form, row.units, row.text, row.language, draw_seed)
        generator = np.random.default_rng(draw_seed)
        rate = self.store.frame_rate_hz
        return interleaved(self._form, row.units, row.text, row.words, row.language, rate, generator)


class CodeSwitchedSource(_Sampled):
    """Groups of a store that say one thing in several languages; a document begins at each group and goes on to the next."""

    task = "code_switched"

    def __init__(self, name: str, config: SourceConfig, form: SequenceFormat) -> None:
        self._form, self._num_sentences = form, config.num_sentences
        if config.num_sentences < 2:
            raise UserError(f"the source {name} has num_sentences {config.num_sentences}: give 2 or more")
        self.store = _open_store(name, config, form)
        groups, languages = self.store.column("group"), self.store.column("language")
        keep = _kept_rows(self.store, config) & (groups != None)  # noqa: E711 (element by element)
        rows = np.flatnonzero(keep).astype(np.int64)
        self.languages, language = _numbered(languages[rows])
        _, group = _numbered(groups[rows])
        order, self._starts = _by_group(rows, group, language)
        self._rows, self._language = rows[order], language[order]
        self.num_documents = _not_empty(name, config, len(self._starts) - 1)

    def sequence(self, index: int, draw_seed: int) -> Sequence:
        """The document ``index``: as many sentences as asked for, or as there are groups."""
        generator = np.random.default_rng(draw_seed)
        count = min(self._num_sentences, self.num_documents)
        rows = [self._draw_row((index + step) % self.num_documents, generator) for step in range(count)]
        return code_switched(self._form, [(row.units, row.language) for row in rows])

    def _draw_row(self, group: int, generator: np.random.Generator) -> StoreRow:
        """One row of a group: a language of the group, then a row in it, all equally likely."""
        inside = slice(int(self._starts[group]), int(self._starts[group + 1]))
        languages = self._language[inside]
        candidates = self._rows[inside][languages == generator.choice(np.unique(languages))]
        return self.store.row(int(generator.choice(candidates)))


class DialogueSource(_Sampled):
    """Spoken questions and answers: documents that name utterances of a store."""

    task = "dialogue"
    fields = ("question", "question_language", "question_text", "answer", "answer_language", "answer_text")

    def __init__(self, name: str, config: SourceConfig, form: SequenceFormat) -> None:
        self._form, self._order = form, _order(name, config)
        self.store = _open_store(name, config, form)
        self._documents = JsonLines(_documents_path(name, config), self.fields)
        rows: list[tuple[int, int, int]] = []
        languages: set[str] = set()
        answers = _kept_rows(self.store, SourceConfig(config.task, config.weight, speakers=config.speakers))
        for offset, document in self._documents.scan():
            if not _speaks(config, document["question_language"], document["answer_language"]):
                continue
            answer = self.store.index_of(document["answer"])
            if answers[answer]:
                rows.append((offset, self.store.index_of(document["question"]), answer))
                languages.update((document["question_language"], document["answer_language"]))
        self.num_documents = _not_empty(name, config, len(rows))
        self._rows: npt.NDArray[np.int64] = np.array(rows, dtype=np.int64)
        self.languages = sorted(languages)

    def sequence(self, index: int, draw_seed: int) -> Sequence:
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
                f"the utterance {answer.id} of {self.store.path} has no word times (words), and the order {self._order} "
                "cuts answers by them: align the corpus, or use order: full"
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


class TextSource(_Sampled):
    """Documents of text: ``translation``, ``instruction``, ``text``, ``text_dialogue``."""

    def __init__(self, name: str, config: SourceConfig, form: SequenceFormat) -> None:
        self.task, self._form, self.store = config.task, form, None
        self._order = _order(name, config)
        self._write, fields, language_fields = _TEXT_TASKS[config.task]
        self._documents = JsonLines(_documents_path(name, config), fields)
        offsets: list[int] = []
        languages: set[str] = set()
        for offset, document in self._documents.scan():
            spoken = [document[field] for field in language_fields]
            if _speaks(config, *spoken):
                offsets.append(offset)
                languages.update(spoken)
        self.num_documents = _not_empty(name, config, len(offsets))
        self._offsets = np.array(offsets, dtype=np.int64)
        self.languages = sorted(languages)

    def sequence(self, index: int, draw_seed: int) -> Sequence:
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
        texts, languages = (document["question_text"], document["answer_text"]), _dialogue_languages(document)
        return text_dialogue(self._form, *texts, *languages, self._order)


_TextWriter = Callable[[TextSource, dict[str, Any], int], Sequence]
_TEXT_TASKS: dict[str, tuple[_TextWriter, tuple[str, ...], tuple[str, ...]]] = {
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

# Task -> the class of its source.
TASKS: dict[str, Callable[[str, SourceConfig, SequenceFormat], Source]] = {
    "asr": UtteranceSource,
    "tts": UtteranceSource,
    "interleaved": UtteranceSource,
    "code_switched": CodeSwitchedSource,
    "dialogue": DialogueSource,
    **dict.fromkeys(_TEXT_TASKS, TextSource),
}


def open_sources(configs: Mapping[str, SourceConfig], form: SequenceFormat) -> dict[str, Source]:
    """The sources of a mixture by name; those of weight 0 are left out.

    Raises:
        UserError: an unknown task, a missing store or file, a document that lacks a field, a source that has nothing
            left after its filters, or units that the vocabulary does not hold.
    """
    sources: dict[str, Source] = {}
    for name, config in configs.items():
        if config.task not in TASKS:
            raise UserError(f"the source {name} has the task {config.task!r}: choose one of {', '.join(sorted(TASKS))}")
        if config.weight != 0:
            sources[name] = TASKS[config.task](name, config, form)
    return sources


def _open_store(name: str, config: SourceConfig, form: SequenceFormat) -> UnitStore:
    if config.store is None:
        raise UserError(f"the source {name} has the task {config.task} and needs a store: give the folder of a unit store")
    if form.vocabulary is None:
        raise UserError(f"the source {name} has units, but the model has none: give the card of a speech tokenizer")
    store = UnitStore.open(config.store)
    if tuple(store.codebook_sizes) != form.vocabulary.codebook_sizes:
        raise UserError(
            f"the store {config.store} has codebooks {list(store.codebook_sizes)}, the vocabulary "
            f"{list(form.vocabulary.codebook_sizes)}: tokenize the corpus with the card of the model"
        )
    return store


def _kept_rows(store: UnitStore, config: SourceConfig) -> npt.NDArray[np.bool_]:
    keep = np.ones(len(store), dtype=np.bool_)
    for column, wanted in (("language", config.languages), ("speaker", config.speakers)):
        if wanted is not None:
            keep &= np.isin(store.column(column).astype(str), wanted)
    return keep


def _numbered(values: npt.NDArray[Any]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """The different strings, sorted, and for every value its number among them."""
    if not len(values):
        return [], np.zeros(0, dtype=np.int64)
    different, numbers = np.unique(values.astype(str), return_inverse=True)
    return different.tolist(), numbers.astype(np.int64)


def _by_group(
    rows: npt.NDArray[np.int64], group: npt.NDArray[np.int64], language: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places, in ``rows``, of the groups of two languages or more, in the order of the store; and where each group starts.

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


def _not_empty(name: str, config: SourceConfig, count: int) -> int:
    if count == 0:
        where = config.documents if config.documents is not None else config.store
        filters = {"languages": config.languages, "speakers": config.speakers}
        asked = ", ".join(f"{key} {value}" for key, value in filters.items() if value is not None) or "no filter"
        what = "groups in several languages" if config.task == "code_switched" else "documents"
        raise UserError(f"the source {name} has no {what} left of {where} ({asked}): change its filters or leave it out")
    return count


def _documents_path(name: str, config: SourceConfig) -> Path:
    if config.documents is None:
        raise UserError(f"the source {name} has the task {config.task} and needs documents: give a JSON Lines file")
    return Path(config.documents)


def _order(name: str, config: SourceConfig) -> Order:
    for order in ORDERS:
        if config.order == order:
            return order
    raise UserError(f"the source {name} has the order {config.order!r}: choose one of {', '.join(ORDERS)}")


def _speaks(config: SourceConfig, *languages: str) -> bool:
    return config.languages is None or all(language in config.languages for language in languages)


def _dialogue_languages(document: dict[str, Any]) -> tuple[str, str]:
    return document["question_language"], document["answer_language"]
