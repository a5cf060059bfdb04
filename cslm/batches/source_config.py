"""What a source is: its configuration, what it offers, and the checks that all sources share."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from cslm.batches.parts import Part, name_hash
from cslm.batches.unit_noise import read_with_noise
from cslm.batches.weights import WeightSchedule
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import ORDERS, Order
from cslm.sequences.interleaving import MEAN_SPAN_WORDS, SPANS
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat
from cslm.units.store import UnitStore

WHOLE = Part()
_LENGTH_SAMPLE = 256


@dataclass
class SourceConfig:
    """One source of a mixture."""

    task: str
    """asr, tts, interleaved, code_switched (a store); translation, instruction, text, text_dialogue (documents);
    dialogue (documents and the store of their utterances)"""
    weight: float | WeightSchedule
    """share of the training's tokens, in any unit; 0 leaves the source out; or a schedule: {values: [0.6, 0.1]}"""
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
    spans: str = "alternating"
    """of interleaved utterances: alternating (in turn text and speech, all learnt), heard (speech, then its text, which
    alone is learnt) or spoken (text, then its speech, which alone is learnt)"""
    span_words: float = MEAN_SPAN_WORDS
    """mean number of words in a span of an interleaved utterance (Chinese: of characters); at least 1"""
    num_sentences: int = 4
    """of a code-switched document"""
    unit_noise: float = 0.0
    """share of the units to be spoken that are read as others, from 0 to below 1: speaks what the text says, sooner"""
    loss_weight: float = 1.0
    """how often each learnt token counts: a source that learns few of its tokens (asr, heard spans) may need more"""


class NothingLeftError(UserError):
    """A source without documents after its filters."""


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
    def language_shares(self) -> dict[str, float]:
        """share of each language in the ids of that sample"""
        ...

    @property
    def store(self) -> UnitStore | None:
        """the unit store, for a source that has one"""
        ...

    def know_texts(self) -> None:
        """Tokenize the texts before they are asked for, once per machine, where the task reads them whole."""
        ...

    def sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``; wordings, cuts and noise are drawn from the seed.

        ``progress`` is the share of the training that lies before it, from 0 to 1.
        """
        ...

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index`` before noise and weight in the loss."""
        ...


class CommonSource:
    """What all sources share: noise on the units that are read, the weight in the loss, a mean length from a sample.

    Raises:
        UserError: a share of noise or a weight out of range.
    """

    num_documents: int

    def __init__(self, name: str, config: SourceConfig) -> None:
        self._unit_noise, self._loss_weight = config.unit_noise, config.loss_weight
        if not 0 <= self._unit_noise < 1:
            raise UserError(f"the source {name} has unit_noise {self._unit_noise}: give 0 or more, and less than 1")
        if not 0 < self._loss_weight < float("inf"):
            raise UserError(f"the source {name} has loss_weight {self._loss_weight}: give a number above 0")

    def sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``; the seed draws the noise too."""
        document = self.clean_sequence(index, draw_seed, progress)
        if self._unit_noise:
            document = read_with_noise(document, self._unit_noise, draw_seed)
        return document if self._loss_weight == 1 else dataclasses.replace(document, loss_weight=self._loss_weight)

    def know_texts(self) -> None:
        """Nothing: where texts are cut anew each time, or there are none."""

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index`` before noise and weight; a source writes this itself."""
        raise AssertionError(f"{type(self).__name__} writes no sequences")

    @property
    def mean_length(self) -> float:
        """Mean number of ids of a document, from an evenly spaced sample."""
        return self._sample[0]

    @property
    def language_shares(self) -> dict[str, float]:
        """Share of each language in the ids of that sample."""
        return self._sample[1]

    @cached_property
    def _sample(self) -> tuple[float, dict[str, float]]:
        places = np.unique(np.linspace(0, self.num_documents - 1, _LENGTH_SAMPLE).round().astype(np.int64)).tolist()
        languages: Counter[str] = Counter()
        for place in places:
            for span in self.clean_sequence(place, place).spans:
                languages[span.language] += span.stop - span.start
        total = languages.total()
        spoken = {language: count / total for language, count in languages.items() if language}
        return total / len(places), spoken


def open_store(name: str, config: SourceConfig, form: SequenceFormat) -> UnitStore:
    """The unit store of a source.

    Raises:
        UserError: none is named or there, or its units are not those of the vocabulary.
    """
    if config.store is None:
        raise UserError(
            f"the source {name} has the task {config.task} and needs a store: give the folder of a unit store"
        )
    if form.vocabulary is None:
        raise UserError(f"the source {name} has units, but the model has none: give the card of a speech tokenizer")
    store = UnitStore.open(config.store)
    if tuple(store.codebook_sizes) != form.vocabulary.codebook_sizes:
        raise UserError(
            f"the store {config.store} has codebooks {list(store.codebook_sizes)}, the vocabulary "
            f"{list(form.vocabulary.codebook_sizes)}: tokenize the corpus with the card of the model"
        )
    return store


def kept_rows(name: str, store: UnitStore, config: SourceConfig, part: Part = WHOLE) -> npt.NDArray[np.bool_]:
    """Which rows the filters and the part leave, ``(num_utterances,)``.

    Raises:
        UserError: a filter names a language or a speaker that the store does not have.
    """
    keep = np.ones(len(store), dtype=np.bool_)
    for column, wanted in (("language", config.languages), ("speaker", config.speakers)):
        if wanted is None:
            continue
        values = store.column(column).astype(str)
        present = np.unique(values).tolist()
        missing = [value for value in wanted if value not in present]
        if missing:
            raise UserError(
                f"the source {name} wants {column} {', '.join(missing)}, which {config.store} does not have; "
                f"it has {', '.join(present[:20])}{' ...' if len(present) > 20 else ''}"
            )
        keep &= np.isin(values, wanted)
    if part.share:
        groups, ids = store.column("group"), store.column("id")
        names = (own if group is None else group for group, own in zip(groups, ids, strict=True))
        keep &= part.keeps(np.fromiter(map(name_hash, names), np.uint64, len(store)))
    return keep


def not_empty(name: str, config: SourceConfig, count: int) -> int:
    """``count``, the number of documents of a source.

    Raises:
        UserError: it is 0.
    """
    if count == 0:
        where = config.documents if config.documents is not None else config.store
        filters = {"languages": config.languages, "speakers": config.speakers}
        asked = ", ".join(f"{key} {value}" for key, value in filters.items() if value is not None) or "no filter"
        what = "groups in several languages" if config.task == "code_switched" else "documents"
        raise NothingLeftError(
            f"the source {name} has no {what} left of {where} ({asked}): change its filters or leave it out"
        )
    return count


def documents_path(name: str, config: SourceConfig) -> Path:
    """The file of a source.

    Raises:
        UserError: none is named.
    """
    if config.documents is None:
        raise UserError(f"the source {name} has the task {config.task} and needs documents: give a JSON Lines file")
    return Path(config.documents)


def checked_order(name: str, config: SourceConfig) -> Order:
    """The order of the chain of modality of a source.

    Raises:
        UserError: it is none of the known.
    """
    for order in ORDERS:
        if config.order == order:
            return order
    raise UserError(f"the source {name} has the order {config.order!r}: choose one of {', '.join(ORDERS)}")


def checked_spans(name: str, config: SourceConfig) -> str:
    """How the spans of an interleaved source are written.

    Raises:
        UserError: it is none of the known.
    """
    if config.spans not in SPANS:
        raise UserError(f"the source {name} has the spans {config.spans!r}: choose one of {', '.join(SPANS)}")
    if config.span_words < 1:
        raise UserError(f"the source {name} has span_words {config.span_words}: give 1 or more")
    return config.spans


def in_languages(config: SourceConfig, *languages: str) -> bool:
    """Whether a document in these languages is wanted."""
    return config.languages is None or all(language in config.languages for language in languages)
