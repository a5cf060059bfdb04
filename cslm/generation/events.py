"""What is told of a reply while it is written and spoken, event by event, and the whole reply that they join to.

In the order of the chain: :class:`QuestionHeard`, what stands before the answer, text and units of each chunk of
the answer, :class:`ReplyEnd`. :class:`AnswerSamples` come between them as soon as they sound; all of them come before
the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from cslm.codecs.units import Units
from cslm.sequences.chain_of_modality import ParsedReply


@dataclass(frozen=True, slots=True)
class Event:
    """Something that became known."""

    time_sec: float
    """when, in seconds after the reply was asked for"""
    num_ids: int
    """ids that the model had written by then"""


@dataclass(frozen=True, slots=True)
class QuestionHeard(Event):
    """The question as the model reads it; with a question in pieces, after its last one."""

    units: Units
    question_language: str
    """given, or recognised"""
    answer_language: str
    """given, or the question's"""
    num_read_ahead: int = 0
    """ids of the prompt that the model had read when the question ended; 0 where all had to wait for the end"""


@dataclass(frozen=True, slots=True)
class QuestionText(Event):
    """More of a text that stands before the answer: the transcript of the question, or what was thought of it."""

    field: str
    """of the chain: ``question_text``, ``core_question``, ``core_answer``, ..."""
    text: str
    """what is new; the texts of a field join to the whole"""


@dataclass(frozen=True, slots=True)
class AnswerText(Event):
    """More of the text of the answer."""

    chunk: int
    """which chunk, from 0"""
    text: str
    """what is new; the texts of all chunks join to the answer, spaces between them included"""


@dataclass(frozen=True, slots=True)
class AnswerUnits(Event):
    """More of the units of the answer."""

    chunk: int
    units: Units
    """whole frames"""


@dataclass(frozen=True, slots=True)
class AnswerSamples(Event):
    """More of the sound of the answer."""

    samples: NDArray[np.float32]
    """(num_samples,) in [-1, 1]"""
    first_sample: int
    """how many came before"""
    sample_rate_hz: int
    num_units: int
    """units of the answer, over all chunks, that have sounded whole when these samples are over"""
    unit_ends: tuple[int, ...]
    """where in the answer, in samples, the units end that have sounded whole since the samples before"""


@dataclass(frozen=True, slots=True)
class ReplyEnd(Event):
    """Nothing comes after it."""

    is_whole: bool
    """whether the model ended it; False where it was cut, by ``max_new_tokens`` or the end of its context"""
    ids: tuple[int, ...]
    """all that the model wrote"""
    reply: ParsedReply
    """what they say"""


ReplyEvent = QuestionHeard | QuestionText | AnswerText | AnswerUnits | AnswerSamples | ReplyEnd


@dataclass(frozen=True)
class Reply:
    """The reply to a spoken question."""

    question: str | None
    """The transcript of the question as the model wrote it; None where it wrote none."""
    answer: str
    """The text of the whole answer."""
    segments: list[tuple[str, Units]]
    """Chunk by chunk, the text and the units that say it."""
    waveform: NDArray[np.float32] | None
    """The spoken answer ``(num_samples,)``; None without a speech decoder."""
    sample_rate_hz: int | None
    """Samples a second of the waveform."""
    question_language: str
    """Given, or recognised."""
    answer_language: str
    """Given, or the question's."""
    question_units: Units
    """The question as the model read it."""
    is_whole: bool = True
    """Whether the model ended it; False where it was cut, by ``max_new_tokens`` or the end of its context."""
    texts: dict[str, str] = field(default_factory=dict)
    """What stands before the answer, by field: ``question_text``, and of a chain ``core_question``, ..."""


def join_events(events: Iterable[ReplyEvent], sample_rate_hz: int | None, speaks: bool) -> Reply:
    """The whole reply of all events of one.

    Args:
        sample_rate_hz: of the speech decoder, if there is one.
        speaks: whether it was used.
    """
    heard: QuestionHeard | None = None
    end: ReplyEnd | None = None
    samples = [np.zeros(0, np.float32)]
    for event in events:
        if isinstance(event, QuestionHeard):
            heard = event
        elif isinstance(event, AnswerSamples):
            samples.append(event.samples)
        elif isinstance(event, ReplyEnd):
            end = event
    assert heard is not None and end is not None, "a reply that was not read to its end"
    said = end.reply
    return Reply(
        said.question,
        said.answer,
        said.segments,
        np.concatenate(samples) if speaks else None,
        sample_rate_hz,
        heard.question_language,
        heard.answer_language,
        heard.units,
        end.is_whole,
        said.texts,
    )
