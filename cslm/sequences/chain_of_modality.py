"""Answers in a chain of modality, written and read: the one writer of :mod:`~cslm.sequences.chains`, and whole replies.

Training documents and prompts come from the same turns; :func:`parse_reply` folds what
:class:`~cslm.sequences.chain_reader.ChainReader` reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Seq
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.sequences.chain_reader import ChainReader, ReplyEvent, SegmentBegins, SpeechBegins, TextRead, UnitsRead
from cslm.sequences.chains import CHAINS, Chain, Segment, chain_of
from cslm.sequences.chunking import join_chunks
from cslm.sequences.conversations import asks_with_units, writes
from cslm.sequences.sequence import Sequence, SequenceBuilder
from cslm.sequences.sequence_format import Content, SequenceFormat, Turn
from cslm.sequences.wordings import dialogue_request

Chunk = tuple[str, Units | None]
"""A text and its units; None where there are none to write."""
Said = Mapping[str, Seq[Chunk] | None]
"""What the segments of a chain say, by :attr:`~cslm.sequences.chains.Segment.field`: a text alone is one chunk; None
leaves the segment out, marker and all."""


def check_chain(form: SequenceFormat, order: str) -> Chain:
    """The chain of a name, which the tokenizer can write. For a model of text alone any will do: it writes none.

    Raises:
        UserError: there is no such chain, or the tokenizer lacks a marker of it.
    """
    chain = chain_of(order)
    missing = [] if form.vocabulary is None else _missing_markers(form, chain)
    if missing:
        possible = ", ".join(name for name, other in CHAINS.items() if not _missing_markers(form, other))
        raise UserError(
            f"the order {order} writes {' '.join(missing)}, which the tokenizer has no marker for: extend it with "
            f"them (extend_tokenizer) and pre-train, or choose one of {possible}"
        )
    return chain


def write_chain(chain: Chain, said: Said, languages: Mapping[str, Any]) -> Content:
    """A content that says ``said`` segment by segment. Where a chunk has no units, its text stands alone.

    Args:
        languages: as :meth:`~cslm.sequences.chains.Segment.language_in`.
    """

    def write(builder: SequenceBuilder) -> None:
        for segment in chain.segments:
            chunks = said[segment.field]
            if chunks is None:
                continue
            builder.in_language(segment.language_in(languages))
            if segment.marker is not None:
                builder.add_marker(segment.marker)
            _write_segment(builder, segment, chunks)

    return write


def dialogue(
    form: SequenceFormat,
    question: Units,
    question_text: str,
    question_language: str,
    chunks: Seq[Chunk],
    answer_language: str,
    order: str = "interleaved",
    further: Mapping[str, str | None] | None = None,
) -> Sequence:
    """A spoken question and its answer in the chain of modality.

    Args:
        chunks: text and units of the answer (:func:`~cslm.sequences.chunking.speak_chunks`); one for ``full``, and one
            without units where the chain does not speak.
        order: a name of :data:`~cslm.sequences.chains.CHAINS`.
        further: texts of the chain's other segments, by field, and ``core_language``, where it has one. A field of the
            question or the answer, or a None, is written in the place of what is said there.

    Raises:
        UserError: as :func:`check_chain`.
    """
    turns = dialogue_request_turns(question, question_language, answer_language)
    content = chain_content(form, order, question_text, chunks, question_language, answer_language, further)
    return form.conversation("dialogue", [*turns, Turn("assistant", answer_language, content)])


def chain_content(
    form: SequenceFormat,
    order: str,
    question_text: str,
    chunks: Seq[Chunk],
    question_language: str,
    answer_language: str,
    further: Mapping[str, str | None] | None = None,
) -> Content:
    """A reply in the chain of modality; arguments as of :func:`dialogue`.

    Raises:
        UserError: as :func:`check_chain`.
    """
    languages = _languages(question_language, answer_language, further)
    return write_chain(check_chain(form, order), _said(question_text, chunks, further), languages)


def text_dialogue(
    form: SequenceFormat,
    question_text: str,
    answer_text: str,
    question_language: str,
    answer_language: str,
    order: str = "interleaved",
    further: Mapping[str, str | None] | None = None,
) -> Sequence:
    """The same layout without units: a written question in the place of the spoken one, and an answer of text alone.

    For a model of text only, which has no markers, the reply is the answer as it is.

    Raises:
        UserError: as :func:`check_chain`.
    """
    chain = check_chain(form, order)
    turns = text_dialogue_request(question_text, question_language, answer_language)
    content = writes(answer_text)
    if form.vocabulary is not None:
        said = _said(question_text, [(answer_text, None)], further)
        content = write_chain(chain, said, _languages(question_language, answer_language, further))
    return form.conversation("text_dialogue", [*turns, Turn("assistant", answer_language, content)])


def dialogue_request_turns(question: Units, question_language: str, answer_language: str) -> list[Turn]:
    """The turns before the answer to a spoken question: the paper's user prompt, in the language of the answer."""
    request = dialogue_request(question_language, answer_language)
    return [Turn("user", answer_language, asks_with_units(request, answer_language, question, question_language))]


def text_dialogue_request(question_text: str, question_language: str, answer_language: str) -> list[Turn]:
    """The turns before the answer to a written question."""
    request = dialogue_request(question_language, answer_language)
    return [Turn("user", answer_language, writes(question_text, after=request.before))]


@dataclass(frozen=True)
class ParsedReply:
    """A reply as the model wrote it, taken apart.

    ``question`` is None where the reply has no transcript. ``segments`` are the chunks of the answer in order, each
    with its units (empty where speech is missing). ``order`` is ``full`` where there is one of them: an interleaved
    answer of one chunk is the same sequence. ``texts`` holds what the segments before the answer say, by field.
    """

    question: str | None
    answer: str
    segments: list[tuple[str, Units]]
    order: str
    texts: dict[str, str] = field(default_factory=dict)


def parse_reply(form: SequenceFormat, ids: Seq[int] | npt.NDArray[Any], order: str = "interleaved") -> ParsedReply:
    """Take a generated reply apart; any ids can be read, and what is unfinished is kept as far as it makes sense.

    Reads to the end of the turn. Works on the replies of ASR, TTS and translation too: these have no markers.

    Args:
        order: the chain that the reply is written in; those of the three orders need not be told apart.

    Raises:
        UserError: there is no such chain.
    """
    reader = ChainReader(form, chain_of(order))
    parts = _Parts(reader.chain, 1 if form.vocabulary is None else len(form.vocabulary.codebook_sizes))
    for event in [*reader.push(np.asarray(ids).reshape(-1).tolist()), *reader.finish()]:
        parts.add(event)
    return parts.reply(order)


class _Parts:
    """A reply while its events come in; what a wrong order of markers leaves open, the last of them decides."""

    def __init__(self, chain: Chain, num_codebooks: int) -> None:
        self._chain = chain
        self._texts: dict[str, str] = {}
        self._chunks: list[tuple[str, list[npt.NDArray[np.int64]]]] = []
        self._nothing = np.zeros((0, num_codebooks), dtype=np.int64)
        self._text: str | None = None  # read, and not yet followed by its speech or the next segment
        self._open: Segment | None = None
        self._answers = False  # whether the last segment has begun

    def add(self, event: ReplyEvent) -> None:
        if isinstance(event, SegmentBegins):
            self._begin(event.segment)
        elif isinstance(event, TextRead):
            self._text = event.text
        elif isinstance(event, SpeechBegins):
            self._chunks.append((self._text or "", []))
            self._text = None
        elif isinstance(event, UnitsRead):
            self._chunks[-1][1].append(event.units.ids)

    def reply(self, order: str) -> ParsedReply:
        if self._texts and not self._answers and self._open is not None:
            self._close(self._open)
        if self._text is not None and self._text.strip():
            self._chunks.append((self._text, []))
        texts = [text for text, _ in self._chunks]
        if texts and self._answers:
            texts[0] = self._chain.segments[-1].without_layout(texts[0])
        units = [Units(np.concatenate([self._nothing, *parts])) for _, parts in self._chunks]
        segments = [(text.strip(), spoken) for text, spoken in zip(texts, units, strict=True)]
        question = self._texts.get("question_text")
        if order in ("interleaved", "full", "no_question"):
            order = "no_question" if question is None else "full" if len(segments) <= 1 else "interleaved"
        answer = join_chunks(texts) or self._texts.get("answer_text", "")
        return ParsedReply(question, answer, segments, order, self._texts)

    def _begin(self, segment: Segment) -> None:
        """A segment closes the one before it in the chain, or, where that was left out, the one that is open."""
        *before, last = self._chain.segments
        place = self._chain.segments.index(segment)
        if place and before[place - 1].field in self._texts:
            self._close(before[place - 1])
        elif self._open is not None and self._open is not last:
            self._close(self._open)
        if segment is last:
            self._answers = True
        else:
            self._texts[segment.field] = ""
        self._open, self._text = segment, None

    def _close(self, segment: Segment) -> None:
        self._texts[segment.field], self._text = segment.without_layout(self._text or ""), None


def _said(question_text: str, chunks: Seq[Chunk], further: Mapping[str, str | None] | None) -> Said:
    others = {name: None if text is None else [(text, None)] for name, text in (further or {}).items()}
    return {"question_text": [(question_text, None)], "answer_text": chunks, **others}


def _languages(
    question_language: str, answer_language: str, further: Mapping[str, str | None] | None
) -> Mapping[str, str | None]:
    return {**(further or {}), "question_language": question_language, "answer_language": answer_language}


def _write_segment(builder: SequenceBuilder, segment: Segment, chunks: Seq[Chunk]) -> None:
    if segment.modality == "text":
        builder.add_text(segment.before + "".join(text for text, _ in chunks) + segment.after)
        return
    before = segment.before
    for text, units in chunks:
        if segment.modality == "both":
            before += text
        if before:
            builder.add_text(before)
        if units is not None:
            builder.add_units(units)
        before = ""
    if segment.after:
        builder.add_text(segment.after)


def _missing_markers(form: SequenceFormat, chain: Chain) -> list[str]:
    markers = {} if form.vocabulary is None else form.vocabulary.markers
    return [marker for marker in chain.markers if marker not in markers]
