"""What a task is: its record, and what it writes a document from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Any, Literal

from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.sequences.compression import Compression
from cslm.sequences.hearing import Heard
from cslm.sequences.interleaving import MEAN_SPAN_WORDS
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat, Turn
from cslm.units.store import StoreRow

SourceKind = Literal[
    "utterances", "groups", "stories", "joined_utterances", "documents", "spoken_documents", "recordings",
    "recorded_documents", "targets", "taught_recordings",
]  # fmt: skip
"""What a source reads: the utterances of a store one by one; its groups that say one thing in several languages; its
stories, whose sentences may be there in several languages; its utterances, many to a document; documents of text;
documents that name a question and, where it is spoken, an answer of a store; the recordings of a manifest one by one;
documents that name a question of a manifest; a store of targets to imitate, and the recordings of a manifest;
a store of teacher states, and these recordings."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a task writes its documents. Each is a key of a source, and is explained there."""

    order: str = "interleaved"
    spans: str = "alternating"
    span_words: float = MEAN_SPAN_WORDS
    num_sentences: int = 4
    compression: Compression | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """What a document depends on besides what it says."""

    seed: int
    progress: float = 1.0
    """share of the training that lies before the document, from 0 to 1"""
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True)
class Example:
    """What one document says, as its source found it."""

    document: Mapping[str, Any] = field(default_factory=dict)
    """the fields of a document of text"""
    utterances: Seq[StoreRow] = ()
    """of a store: the one, those of a group, or of each turn the question and, where it is spoken, the answer"""
    frame_rate_hz: float = 0.0
    """of units"""
    where: str = ""
    """what messages call the store"""
    heard: Seq[Heard] = ()
    """of a manifest: the recording, or that of the question"""


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody asks for: the input of a task, and its language."""

    language: str = "en"
    units: Units | None = None
    text: str | None = None
    messages: Seq[dict[str, str]] = ()
    answer_language: str | None = None
    """None: that of the input"""
    wording: int = 0
    """which of the ten instructions, where there are ten"""

    def units_for(self, task: str) -> Units:
        """The speech that the task hears.

        Raises:
            UserError: there is none.
        """
        if self.units is None:
            raise UserError(f"a prompt for {task} needs speech: give its units")
        return self.units

    def text_for(self, task: str) -> str:
        """The text that the task reads.

        Raises:
            UserError: there is none.
        """
        if self.text is None:
            raise UserError(f"a prompt for {task} needs a text")
        return self.text


@dataclass(frozen=True)
class Task:
    """One task."""

    source: SourceKind
    """what its documents come from"""
    write: Callable[[SequenceFormat, Example, Draw], Sequence]
    """makes the sequence of a document, a pure function of these three"""
    reads: tuple[str, ...]
    """the keys of a source that it reads, besides those that all do: task, weight, languages, loss_weight, ..."""
    fields: tuple[str, ...] = ()
    """of its documents: texts, but for ``messages``; those that end in ``language`` hold one"""
    request: Callable[[Asked], list[Turn]] | None = None
    """the turns before the reply, for prompts; None for documents without a reply"""
    texts: Callable[[Mapping[str, Any]], Iterator[str]] | None = None
    """what ``write`` encodes of a document's texts (an utterance has one, ``text``), so that it can be tokenized before
    training; None where texts are cut anew each time"""
    reads_words: bool = False
    """whether the times of the words of an utterance are read"""
    textless: bool = False
    """whether its documents are units alone, so that a textless model learns it too"""
