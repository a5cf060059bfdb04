"""Requests over a transcript or its speech, and the reply that is imitated: one template writes both.

Behaviour imitation (MTBI, arXiv 2505.18644; BLSP): a clip, or pieces of it among text, in the place of the transcript;
the reply is that of the language model to the transcript, id by id.
"""

from __future__ import annotations

from collections.abc import Sequence as Seq
from typing import NamedTuple

from cslm.sequences.interleaved_vectors import Piece
from cslm.sequences.sequence import Clip, Sequence, SequenceBuilder
from cslm.sequences.sequence_format import SequenceFormat, Turn
from cslm.sequences.task_pool import Asked

TASK = "imitation"


class Target(NamedTuple):
    """The reply to imitate."""

    ids: Seq[int]
    """as the language model wrote them, without what ended it"""
    truncated: bool
    """whether it was cut off: then its end is not learnt"""
    language: str


def text_request(text: str, asked: Asked, language: str) -> list[Turn]:
    """The turns before the reply to a transcript."""

    def write(builder: SequenceBuilder) -> None:
        builder.add_text(text, asked.before)
        builder.add_text(asked.after)

    return [Turn("user", language, write)]


def heard_request(pieces: Seq[Piece], clip: Clip, placeholder_id: int, asked: Asked, language: str) -> list[Turn]:
    """The same with the clip, or with pieces of it and of the transcript, in the place of the transcript."""

    def write(builder: SequenceBuilder) -> None:
        builder.add_text("", asked.before)
        for piece in pieces:
            if isinstance(piece, str):
                builder.add_text(piece)
            else:
                builder.add_audio(piece.stop - piece.start, placeholder_id, clip, piece.start)
        builder.add_text(asked.after)

    return [Turn("user", language, write)]


def imitated(form: SequenceFormat, request: list[Turn], target: Target, task: str = TASK) -> Sequence:
    """A request and the reply that is learnt; where that was cut off, the sequence ends with it."""

    def write(builder: SequenceBuilder) -> None:
        builder.add_text_ids(target.ids)

    turns = [*request, Turn("assistant", target.language, write)]
    return form.conversation(task, turns, ends=not target.truncated)
