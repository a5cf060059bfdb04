"""The chain of modality of a spoken answer (CSLM section 3.3.2, appendix A), written and read.

Three orders, TQ the transcript of the question, TA the text and SA the speech of the answer:

- ``interleaved``: ``[question]: TQ; [answer]: TA1<sosp>SA1<eosp>TA2<sosp>SA2<eosp>...``
- ``full``:        ``[question]: TQ; [answer]: TA<sosp>SA<eosp>``
- ``no_question``: ``[answer]: TA1<sosp>SA1<eosp>TA2<sosp>SA2<eosp>...``

TQ is in the language of the question, TA and SA in that of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from cslm.codecs.units import Units
from cslm.sequences.chunking import join_chunks
from cslm.sequences.sequence import Sequence, SequenceBuilder
from cslm.sequences.sequence_format import Content, SequenceFormat, Turn
from cslm.sequences.tasks import asks_with_units, writes
from cslm.sequences.wordings import dialogue_request

Order = Literal["interleaved", "full", "no_question"]
ORDERS: tuple[Order, ...] = ("interleaved", "full", "no_question")


@dataclass(frozen=True)
class ParsedReply:
    """A reply as the model wrote it, taken apart.

    ``question`` is None where the reply has no ``[question]``. ``segments`` are the chunks in order, each with its
    units (empty where speech is missing). ``order`` is ``full`` where there is one segment: an interleaved answer of
    one chunk is the same sequence.
    """

    question: str | None
    answer: str
    segments: list[tuple[str, Units]]
    order: Order


def dialogue(
    form: SequenceFormat,
    question: Units,
    question_text: str,
    question_language: str,
    chunks: Seq[tuple[str, Units]],
    answer_language: str,
    order: Order = "interleaved",
) -> Sequence:
    """A spoken question and its answer in the chain of modality.

    Args:
        chunks: text and units of the answer (:func:`~cslm.sequences.chunking.speak_chunks`); one for ``full``.
    """
    turns = dialogue_request_turns(question, question_language, answer_language)
    transcript = None if order == "no_question" else (question_text, question_language)
    reply = Turn("assistant", answer_language, _answers(transcript, chunks, answer_language))
    return form.conversation("dialogue", [*turns, reply])


def text_dialogue(
    form: SequenceFormat,
    question_text: str,
    answer_text: str,
    question_language: str,
    answer_language: str,
    order: Order = "interleaved",
) -> Sequence:
    """The same layout without units: a written question in the place of the spoken one, and an answer of text alone.

    For a model of text only, which has no markers, the reply is the answer as it is.
    """
    turns = text_dialogue_request(question_text, question_language, answer_language)
    content = writes(answer_text)
    if form.vocabulary is not None:
        transcript = None if order == "no_question" else (question_text, question_language)
        content = _answers(transcript, [(answer_text, None)], answer_language)
    return form.conversation("text_dialogue", [*turns, Turn("assistant", answer_language, content)])


def dialogue_request_turns(question: Units, question_language: str, answer_language: str) -> list[Turn]:
    """The turns before the answer to a spoken question: the paper's user prompt, in the language of the answer."""
    request = dialogue_request(question_language, answer_language)
    return [Turn("user", answer_language, asks_with_units(request, answer_language, question, question_language))]


def text_dialogue_request(question_text: str, question_language: str, answer_language: str) -> list[Turn]:
    """The turns before the answer to a written question."""
    request = dialogue_request(question_language, answer_language)
    return [Turn("user", answer_language, writes(question_text, after=request.before))]


def parse_reply(form: SequenceFormat, ids: Seq[int] | npt.NDArray[Any]) -> ParsedReply:
    """Take a generated reply apart; any ids can be read, and what is unfinished is kept as far as it makes sense.

    Reads to the end of the turn. Works on the replies of ASR, TTS and translation too: these have no markers.
    """
    assert form.vocabulary is not None, "a model of text only writes no chain of modality: decode its text"
    question: str | None = None
    marked = False
    segments: list[tuple[str, Units]] = []
    text: str | None = None  # read, and not yet followed by its speech
    for kind, run in _runs(form, ids):
        if kind == "text":
            text = form.encoder.decode_continuation(run)
        elif kind == "speech":
            segments.append((text or "", Units(form.vocabulary.units_from_ids(np.array(run, dtype=np.int64)))))
            text = None
        elif kind == "question":
            question, text = "", None
        elif kind == "answer":
            if question is not None:
                question = _strip_layout(text or "", end=";")
            marked, text = True, None
    if question is not None and not marked:
        question, text = _strip_layout(text or "", end=";"), None
    if text is not None and text.strip():
        segments.append((text, Units(np.zeros((0, len(form.vocabulary.codebook_sizes)), dtype=np.int64))))
    if segments and marked:
        segments[0] = (_strip_layout(segments[0][0]), segments[0][1])
    order: Order = "no_question" if question is None else "full" if len(segments) <= 1 else "interleaved"
    answer = join_chunks([text for text, _ in segments])
    return ParsedReply(question, answer, [(text.strip(), units) for text, units in segments], order)


def _answers(
    transcript: tuple[str, str] | None, chunks: Seq[tuple[str, Units | None]], answer_language: str
) -> Content:
    """A content in the chain of modality; ``transcript`` is the question's text and language."""

    def write(builder: SequenceBuilder) -> None:
        if transcript is not None:
            builder.in_language(transcript[1])
            builder.add_marker("question")
            builder.add_text(f": {transcript[0]}; ")
            builder.in_language(answer_language)
        builder.add_marker("answer")
        for index, (text, units) in enumerate(chunks):
            builder.add_text(text if index else f": {text}")
            if units is not None:
                builder.add_units(units)

    return write


def _runs(form: SequenceFormat, ids: Seq[int] | npt.NDArray[Any]) -> list[tuple[str, list[int]]]:
    """The reply as runs: ``text`` with its ids, ``speech`` with ids of units, ``question`` and ``answer``."""
    vocabulary = form.vocabulary
    assert vocabulary is not None
    markers = {vocabulary.question: "question", vocabulary.answer: "answer"}
    runs: list[tuple[str, list[int]]] = []
    speaking = False
    for token_id in np.asarray(ids).reshape(-1).tolist():
        if token_id in form.encoder.control_ids and token_id not in vocabulary.marker_ids:
            if not vocabulary.is_unit(token_id):
                break
            if speaking:
                runs[-1][1].append(token_id)
        elif token_id == vocabulary.sosp:
            runs.append(("speech", []))
            speaking = True
        elif token_id == vocabulary.eosp:
            speaking = False
        elif token_id in markers:
            runs.append((markers[token_id], []))
            speaking = False
        elif runs and runs[-1][0] == "text":
            runs[-1][1].append(token_id)
        else:
            runs.append(("text", [token_id]))
            speaking = False
    return runs


def _strip_layout(text: str, end: str = "") -> str:
    stripped = text.strip().removeprefix(":").strip()
    return stripped.removesuffix(end).rstrip() if end else stripped
