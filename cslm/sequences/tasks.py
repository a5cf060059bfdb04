"""The tasks: what each is made of, how it is written, and how it is asked for. One record a task in :data:`TASKS`.

To add one, write its record and put it there: sources, streams, prompts and the texts that are tokenized before
training all come from the record.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from cslm.codecs.units import Units
from cslm.corpora.text_documents import TEXT_FIELDS
from cslm.errors import UserError
from cslm.sequences.chain_of_modality import (
    Chunk,
    check_chain,
    dialogue,
    dialogue_request_turns,
    text_dialogue,
    text_dialogue_request,
)
from cslm.sequences.chains import CORE, Chain, chain_of
from cslm.sequences.chunking import chunk_text, speak_chunks
from cslm.sequences.compression import Compression
from cslm.sequences.conversations import (
    asr,
    asr_request,
    instruction,
    message_turns,
    plain_text,
    translation,
    translation_request,
    tts,
    tts_request,
)
from cslm.sequences.interleaving import MEAN_SPAN_WORDS, interleaved
from cslm.sequences.sequence import Sequence
from cslm.sequences.sequence_format import SequenceFormat, Turn
from cslm.sequences.stories import spoken_document
from cslm.sequences.text_encoder import after_space
from cslm.sequences.thoughts import conversation_with_tokens, writes_tokens
from cslm.units.store import StoreRow

SourceKind = Literal["utterances", "groups", "stories", "joined_utterances", "documents", "spoken_documents"]
"""What a source reads: the utterances of a store one by one; its groups that say one thing in several languages; its
stories, whose sentences may be there in several languages; its utterances, many to a document; documents of text;
documents that name a question and, where it is spoken, an answer of a store."""


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
    """of a store: the one, those of a group, or the question and, where it is spoken, the answer"""
    frame_rate_hz: float = 0.0
    """of their units"""
    where: str = ""
    """what messages call the store"""


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


def task_of(name: str) -> Task:
    """The record of a task.

    Raises:
        UserError: there is none.
    """
    if name not in TASKS:
        raise UserError(f"there is no task {name!r}: choose one of {', '.join(sorted(TASKS))}")
    return TASKS[name]


def _asr(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    (heard,) = example.utterances
    return asr(form, heard.units, heard.text, heard.language, draw.seed)


def _tts(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    (spoken,) = example.utterances
    return tts(form, spoken.units, spoken.text, spoken.language, draw.seed)


def _interleaved(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    (utterance,) = example.utterances
    generator, settings = np.random.default_rng(draw.seed), draw.settings
    return interleaved(form, utterance, example.frame_rate_hz, generator, settings.spans, settings.span_words)


def _code_switched(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    return spoken_document(form, _said(example), "code_switched")


def _story(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    return spoken_document(form, _said(example), "story")


def _speech(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    return spoken_document(form, _said(example), "speech")


def _dialogue(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    document, order = example.document, draw.settings.order
    chain = check_chain(form, order)
    chunks = _spoken_chunks(chain, example, order) if chain.speaks else [(document["answer_text"], None)]
    return dialogue(
        form, example.utterances[0].units, document["question_text"], document["question_language"], chunks,
        document["answer_language"], order, _further(chain, document, draw),
    )  # fmt: skip


def _spoken_chunks(chain: Chain, example: Example, order: str) -> list[Chunk]:
    """The answer as the chain cuts it, with its units.

    Raises:
        UserError: several chunks, and no word times to cut the units by.
    """
    text, language, answer = example.document["answer_text"], example.document["answer_language"], example.utterances[1]
    chunks = chunk_text(text, language) if chain.chunked else [text]
    if len(chunks) > 1 and answer.words is None:
        raise UserError(
            f"the utterance {answer.id} of {example.where} has no word times (words), and the order {order} cuts "
            "answers by them: align the corpus, or use order: full"
        )
    return [*speak_chunks(chunks, answer.units, answer.words, example.frame_rate_hz)]


def _text_dialogue(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    document, order = example.document, draw.settings.order
    return text_dialogue(
        form, document["question_text"], document["answer_text"], document["question_language"],
        document["answer_language"], order, _further(chain_of(order), document, draw),
    )  # fmt: skip


def _translation(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    document = example.document
    languages = document["source_language"], document["target_language"]
    return translation(form, document["source"], document["target"], *languages, draw.seed)


def _instruction(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    messages, language = example.document["messages"], example.document["language"]
    if writes_tokens(form, messages):
        return conversation_with_tokens(form, messages, language)
    return instruction(form, messages, language)


def _text(form: SequenceFormat, example: Example, draw: Draw) -> Sequence:
    return plain_text(form, example.document["text"], example.document["language"])


def _ask_asr(asked: Asked) -> list[Turn]:
    return asr_request(asked.units_for("asr"), asked.language, asked.wording)


def _ask_tts(asked: Asked) -> list[Turn]:
    return tts_request(asked.text_for("tts"), asked.language, asked.wording)


def _ask_translation(asked: Asked) -> list[Turn]:
    text, target = asked.text_for("translation"), asked.answer_language or asked.language
    return translation_request(text, asked.language, target, asked.wording)


def _ask_dialogue(asked: Asked) -> list[Turn]:
    return dialogue_request_turns(asked.units_for("dialogue"), asked.language, asked.answer_language or asked.language)


def _ask_text_dialogue(asked: Asked) -> list[Turn]:
    text = asked.text_for("text_dialogue")
    return text_dialogue_request(text, asked.language, asked.answer_language or asked.language)


def _ask_instruction(asked: Asked) -> list[Turn]:
    return message_turns(asked.messages, asked.language)


def _said(example: Example) -> list[tuple[Units, str]]:
    """Units and language of each utterance."""
    return [(sentence.units, sentence.language) for sentence in example.utterances]


def _further(chain: Chain, document: Mapping[str, Any], draw: Draw) -> dict[str, str | None]:
    """What some chains write besides (``core_question``, ``core_language``, ``answer_text_en``), shortened if asked."""
    others = ("question_text_", "answer_text_", f"{CORE}_")
    further = {name: text for name, text in document.items() if name.startswith(others)}
    if draw.settings.compression is None:
        return further
    return further | draw.settings.compression.shortened(chain, document, draw.progress, draw.seed)


def _text_itself(document: Mapping[str, Any]) -> Iterator[str]:
    yield document["text"]


def _text_behind_request(document: Mapping[str, Any]) -> Iterator[str]:
    yield after_space(document["text"])


def _texts_of_translation(document: Mapping[str, Any]) -> Iterator[str]:
    yield after_space(document["source"])
    yield document["target"]


def _texts_of_instruction(document: Mapping[str, Any]) -> Iterator[str]:
    contents = (message.get("content") for message in document["messages"] if isinstance(message, dict))
    return (content for content in contents if isinstance(content, str))


_DIALOGUE_FIELDS = ("question", "question_language", "question_text", "answer", "answer_language", "answer_text")
_STORE = ("store", "speakers")
_TEXTS = ("documents", "control_tokens")

TASKS: dict[str, Task] = {
    "asr": Task("utterances", _asr, _STORE, request=_ask_asr, texts=_text_itself),
    "tts": Task("utterances", _tts, (*_STORE, "unit_noise"), request=_ask_tts, texts=_text_behind_request),
    "interleaved": Task(
        "utterances", _interleaved, (*_STORE, "unit_noise", "spans", "span_words"), reads_words=True
    ),
    "code_switched": Task(
        "groups", _code_switched, (*_STORE, "unit_noise", "num_sentences"), textless=True
    ),
    "story": Task(
        "stories", _story, (*_STORE, "joined_tokens", "switch_probability", "shortest_run"), textless=True
    ),
    "speech": Task("joined_utterances", _speech, (*_STORE, "joined_tokens"), textless=True),
    "dialogue": Task(
        "spoken_documents", _dialogue, (*_STORE, "unit_noise", *_TEXTS, "order", "compression"), _DIALOGUE_FIELDS,
        _ask_dialogue, reads_words=True,
    ),
    "translation": Task(
        "documents", _translation, _TEXTS, TEXT_FIELDS["translation"], _ask_translation, _texts_of_translation
    ),
    "instruction": Task(
        "documents", _instruction, _TEXTS, TEXT_FIELDS["instruction"], _ask_instruction, _texts_of_instruction
    ),
    "text": Task("documents", _text, _TEXTS, TEXT_FIELDS["text"], texts=_text_itself),
    "text_dialogue": Task(
        "documents", _text_dialogue, (*_TEXTS, "order", "compression"), TEXT_FIELDS["text_dialogue"],
        _ask_text_dialogue,
    ),
}  # fmt: skip
"""Name to task."""
