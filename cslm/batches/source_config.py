"""What a source is: its configuration, and what it offers."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np

from cslm.batches.parts import Part
from cslm.batches.unit_noise import read_with_noise
from cslm.batches.weights import WeightSchedule
from cslm.errors import UserError
from cslm.sequences.compression import Compression, CompressionConfig
from cslm.sequences.interleaving import MEAN_SPAN_WORDS
from cslm.sequences.sequence import Sequence
from cslm.sequences.tasks import Settings
from cslm.units.store import UnitStore

WHOLE = Part()
_LENGTH_SAMPLE = 256
_CURVE, _CURVE_SAMPLE = 17, 24
_GOLDEN = (math.sqrt(5) - 1) / 2
_MOST_NAMED = 5


@dataclass
class SourceConfig:
    """One source of a mixture."""

    task: str
    """asr, tts, interleaved, code_switched, story, speech (a store); translation, instruction, text, text_dialogue
    (documents); dialogue (documents and the store of their utterances); audio_asr (a manifest) and audio_dialogue
    (documents and the manifest of their questions) and audio_imitation (targets and the manifest of what they answer)
    and audio_distillation (teacher states and the manifest of what they are of), for a model that hears by a connector
    """
    weight: WeightSchedule | float
    """share of the training's tokens, in any unit; 0 leaves the source out; or a schedule: {values: [0.6, 0.1]}"""
    store: str | None = None
    """folder of a unit store"""
    documents: str | None = None
    """JSON Lines file of documents (.jsonl, .jsonl.gz), or a folder of such files"""
    manifest: str | None = None
    """manifest of recordings, which are put before the model as vectors; no units are needed"""
    frames: str | None = None
    """store of what the frozen encoder makes of the recordings of the manifest (make-frames), which training then does
    not run; null runs it in every step"""
    targets: str | None = None
    """store of what the frozen language model answers to transcripts (make-targets), to be imitated"""
    teacher_states: str | None = None
    """store of the frozen language model's states on transcripts (make-teacher-states), that speech is held against"""
    languages: list[str] | None = None
    """only these languages (of both sides, where there are two)"""
    language_exponent: float = 1.0
    """of recordings: a language is drawn as often as the number of its recordings to this exponent says, from 1 (each
    recording alike) to 0 (each language alike)"""
    speakers: list[str] | None = None
    """only rows of these speakers; of a dialogue, only answers in these voices"""
    order: str = "interleaved"
    """of the chain of modality: interleaved, full or no_question; through a core language xs_cot, xs_cot_spoken, and
    as baselines transcript_then_answer, direct; some with labels in the place of markers (xs_cot_labels, ...)"""
    compression: CompressionConfig | None = None
    """what stands before the answer becomes shorter while training goes on; null writes it whole"""
    spans: str = "alternating"
    """of interleaved utterances: alternating (in turn text and speech, all learnt), heard (speech, then its text, which
    alone is learnt) or spoken (text, then its speech, which alone is learnt)"""
    span_words: float = MEAN_SPAN_WORDS
    """mean number of words in a span of an interleaved utterance (Chinese: of characters); at least 1"""
    text_words: float | WeightSchedule = 0.0
    """share of the words of an imitated recording that the model reads as text, from 0 (none) to 1; word times say
    where; or a schedule over the training: {values: [0.6, 0.0]}"""
    text_documents: float = 1.0
    """share of the imitated recordings in which text_words are text at all, from 0 to 1; the others are heard whole"""
    transcribing_weight: float = 0.25
    """how often each token of an imitated transcript counts: much of it teaches to transcribe whatever is asked"""
    num_sentences: int = 4
    """of a code-switched document"""
    joined_tokens: int | None = None
    """stories, or utterances of speech, are joined to documents of so many tokens, and the last of them is cut there;
    null: training.max_length; 0: each is a document by itself, and sees no other"""
    switch_probability: float | None = None
    """that the language of a story changes at the end of a sentence, from 0 to 1; null draws it anew for each sentence,
    all equally likely (of two languages 0.5)"""
    shortest_run: int = 1
    """sentences of a story in one language before it may change"""
    unit_noise: float = 0.0
    """share of the units to be spoken that are read as others, from 0 to below 1: speaks what the text says, sooner"""
    control_tokens: list[str] | None = None
    """control tokens of the base that the texts write as such, e.g. ["<think>", "</think>"]; in all other texts they
    are learnt as plain pieces"""
    max_too_long_share: float = 0.5
    """refused if a greater share of its documents is longer than max_length and would be left out, from 0 to 1"""
    loss_weight: float = 1.0
    """how often each learnt token counts: a source that learns few of its tokens (asr, heard spans) may need more"""


def sample_progress(number: int) -> float:
    """Where in the training a document of a sample is looked at, by its number: all over it, evenly, in no order.

    So a mean over the sample is one over the training, for documents that change with it.
    """
    return (number + 1) * _GOLDEN % 1.0


@dataclass(frozen=True)
class Told:
    """What a source leaves out, or reads otherwise than it stands there."""

    what: str
    """in words"""
    count: int = 0
    """of how many"""
    names: Callable[[], Iterable[str]] = tuple
    """of them all, found when they are asked for"""

    def __str__(self) -> str:
        """One line: what, how many, and the first of their names."""
        if not self.count:
            return self.what
        first = ", ".join(islice(self.names(), _MOST_NAMED))
        return f"{self.what}: {self.count:,} ({first}{', ...' if self.count > _MOST_NAMED else ''})"


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

    def sample_places(self, count: int) -> list[int]:
        """Which documents stand for what is drawn, about ``count`` of them, sorted."""
        ...

    @property
    def mean_length(self) -> float:
        """mean number of ids of a document, from such a sample"""
        ...

    @property
    def language_shares(self) -> dict[str, float]:
        """share of each language in the ids of that sample"""
        ...

    @property
    def sampled_lengths(self) -> list[tuple[int, bool]]:
        """number of ids of each document of that sample, and whether it may be cut"""
        ...

    @property
    def spelt_tokens(self) -> dict[str, int]:
        """control tokens that its texts spell and do not write, and in how many documents"""
        ...

    @property
    def told(self) -> list[Told]:
        """what it leaves out, or reads otherwise than it stands there"""
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


@runtime_checkable
class JoiningSource(Protocol):
    """A source that says itself which of its contents make up its next document."""

    def drawn(self, draw: int, seed: int, progress: float) -> Sequence:
        """The document of the source's draw number ``draw``, counted from 0 over the training.

        ``seed`` is the source's own: the order of its contents and all that is drawn hang on it and on ``draw``.
        """
        ...


class CommonSource:
    """What all sources share: noise on the units that are read, the weight in the loss, a mean length from a sample.

    Raises:
        UserError: a share of noise or a weight out of range.
    """

    num_documents: int
    spelt_tokens: dict[str, int]
    told: list[Told]
    _settings: Settings = Settings()

    def __init__(self, name: str, config: SourceConfig) -> None:
        self._unit_noise, self._loss_weight = config.unit_noise, config.loss_weight
        self.spelt_tokens, self.told = {}, []
        if not 0 <= config.max_too_long_share <= 1:
            raise UserError(f"the source {name} has max_too_long_share {config.max_too_long_share}: give 0 to 1")
        if not 0 <= self._unit_noise < 1:
            raise UserError(f"the source {name} has unit_noise {self._unit_noise}: give 0 or more, and less than 1")
        if not 0 < self._loss_weight < float("inf"):
            raise UserError(f"the source {name} has loss_weight {self._loss_weight}: give a number above 0")

    def sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index``; the seed draws the noise too."""
        return self.learnt(self.clean_sequence(index, draw_seed, progress), draw_seed)

    def learnt(self, document: Sequence, draw_seed: int) -> Sequence:
        """A clean document with its noise and its weight in the loss."""
        if self._unit_noise:
            document = read_with_noise(document, self._unit_noise, draw_seed)
        if self._loss_weight == 1:
            return document
        return dataclasses.replace(document, loss_weight=self._loss_weight * document.loss_weight)

    def know_texts(self) -> None:
        """Nothing: where texts are cut anew each time, or there are none."""

    def clean_sequence(self, index: int, draw_seed: int, progress: float = 1.0) -> Sequence:
        """The document ``index`` before noise and weight; a source writes this itself."""
        raise AssertionError(f"{type(self).__name__} writes no sequences")

    @property
    def compression(self) -> Compression | None:
        """How its chains become shorter; None where they do not."""
        return self._settings.compression

    def reckon(self, num_units: float) -> None:
        """Lay the compression over a training in which so many of its units pass."""
        assert self._settings.compression is not None, "nothing becomes shorter"
        compression = dataclasses.replace(self._settings.compression, num_units=num_units)
        self._settings = dataclasses.replace(self._settings, compression=compression)

    def sample_places(self, count: int) -> list[int]:
        """Which documents stand for what is drawn: ``count`` of them, evenly spaced; each once, if there are fewer."""
        return np.unique(np.linspace(0, self.num_documents - 1, count).round().astype(np.int64)).tolist()

    @property
    def mean_length(self) -> float:
        """Mean number of ids of a document, from such a sample."""
        return sum(length for length, _ in self._sample[0]) / len(self._sample[0])

    def length_curve(self) -> list[float]:
        """The same at shares of the training that are evenly spaced from 0 to 1: of documents that become shorter."""
        places = np.linspace(0, self.num_documents - 1, _CURVE_SAMPLE).round().astype(np.int64).tolist()
        shares = np.linspace(0, 1, _CURVE).tolist()
        return [float(np.mean([len(self.clean_sequence(it, it, share)) for it in places])) for share in shares]

    @property
    def sampled_lengths(self) -> list[tuple[int, bool]]:
        """Number of ids of each document of that sample, and whether it may be cut: it has no turns."""
        return self._sample[0]

    @property
    def language_shares(self) -> dict[str, float]:
        """Share of each language in the ids of that sample."""
        return self._sample[1]

    @cached_property
    def _sample(self) -> tuple[list[tuple[int, bool]], dict[str, float]]:
        places = self.sample_places(_LENGTH_SAMPLE)
        if self.compression is not None:  # few are looked at again, at other times
            places = np.sort(np.resize(places, _LENGTH_SAMPLE)).tolist()
        languages: Counter[str] = Counter()
        lengths = []
        for number, place in enumerate(places):
            document = self.clean_sequence(place, place, sample_progress(number))
            lengths.append((len(document), all(span.role == "document" for span in document.spans)))
            for span in document.spans:
                languages[span.language] += span.stop - span.start
        total = languages.total()
        spoken = {language: count / total for language, count in languages.items() if language}
        return lengths, spoken


def shortening(sources: Mapping[str, Source]) -> dict[str, tuple[CommonSource, Compression]]:
    """Those of the sources whose chains become shorter, by name."""
    found = {name: source for name, source in sources.items() if isinstance(source, CommonSource)}
    return {name: (source, source.compression) for name, source in found.items() if source.compression is not None}
