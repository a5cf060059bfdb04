"""Requests and their replies as conversations (CSLM section 3.3.1), and plain text.

``wording`` picks one of the ten instructions. Each task has a function for a whole sequence, and one for the turns
before the reply, from which ``prompts.py`` makes a prompt for generation: the same code writes both. The record of each
task stands in ``tasks.py``.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import TYPE_CHECKING

from cslm.corpora.messages import ROLES
from cslm.errors import UserError
from cslm.sequences.sequence import Sequence, SequenceBuilder
from cslm.sequences.sequence_format import Content, SequenceFormat, Turn
from cslm.sequences.wordings import Request, worded_request

if TYPE_CHECKING:
    from cslm.codecs.units import Units


def asr(form: SequenceFormat, units: Units, text: str, language: str, wording: int = 0) -> Sequence:
    """Speech to text: the request holds the units, the reply is the text."""
    return form.conversation("asr", [*asr_request(units, language, wording), Turn("assistant", language, writes(text))])


def tts(form: SequenceFormat, units: Units, text: str, language: str, wording: int = 0) -> Sequence:
    """Text to speech: the request holds the text, the reply is ``<sosp>`` units ``<eosp>``."""
    reply = Turn("assistant", language, lambda builder: builder.add_units(units))
    return form.conversation("tts", [*tts_request(text, language, wording), reply])


def translation(
    form: SequenceFormat, source: str, target: str, source_language: str, target_language: str, wording: int = 0
) -> Sequence:
    """Text to text in another language."""
    turns = translation_request(source, source_language, target_language, wording)
    return form.conversation("translation", [*turns, Turn("assistant", target_language, writes(target))])


def instruction(form: SequenceFormat, messages: Seq[dict[str, str]], language: str) -> Sequence:
    """A conversation in text of one or more turns; every reply of the assistant is trained.

    Raises:
        UserError: a message without a known role or a content, or a conversation that has no reply.
    """
    turns = message_turns(messages, language)
    if not any(turn.role == "assistant" for turn in turns):
        raise UserError("an instruction without a message of the assistant has nothing to learn: add its reply")
    return form.conversation("instruction", turns)


def plain_text(form: SequenceFormat, text: str, language: str) -> Sequence:
    """A text as it is, all of it trained."""
    return form.document("text", language, writes(text))


def asr_request(units: Units, language: str, wording: int = 0) -> list[Turn]:
    """The turns before a transcript."""
    request = worded_request("asr", wording, language)
    return [Turn("user", language, asks_with_units(request, language, units, language))]


def tts_request(text: str, language: str, wording: int = 0) -> list[Turn]:
    """The turns before the speech of a text."""
    return [Turn("user", language, writes(text, after=worded_request("tts", wording, language).before))]


def translation_request(source: str, source_language: str, target_language: str, wording: int = 0) -> list[Turn]:
    """The turns before a translation."""
    request = worded_request("translation", wording, source_language, target_language)
    return [Turn("user", source_language, writes(source, after=request.before))]


def message_turns(messages: Seq[dict[str, str]], language: str) -> list[Turn]:
    """Messages ``{"role": ..., "content": ...}`` as turns.

    Raises:
        UserError: a message without a known role or a content.
    """
    turns = []
    for message in messages:
        role, content = ROLES.get(message.get("role", "")), message.get("content")
        if role is None or not isinstance(content, str):
            raise UserError(
                f"a message has role {message.get('role')!r} and content {content!r}: give one of {', '.join(ROLES)} "
                "and text"
            )
        turns.append(Turn(role, language, writes(content)))  # type: ignore[arg-type]
    return turns


def writes(text: str, after: str = "") -> Content:
    """A content that is ``after + text``: what a corpus says, after what a request says."""

    def write(builder: SequenceBuilder) -> None:
        builder.add_text(text, after)

    return write


def asks_with_units(request: Request, language: str, units: Units, units_language: str) -> Content:
    """A content ``{instruction} This is input: <sosp>...<eosp>.``; the words and the units have each their language."""

    def write(builder: SequenceBuilder) -> None:
        builder.add_text(request.before)
        builder.in_language(units_language)
        builder.add_units(units)
        builder.in_language(language)
        builder.add_text(request.after)

    return write
