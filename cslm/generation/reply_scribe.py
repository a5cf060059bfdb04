"""From the ids of a reply, as they are written, to what they say: texts piece by piece, and units."""

from __future__ import annotations

from collections.abc import Sequence

from cslm.generation.events import AnswerText, AnswerUnits, QuestionText
from cslm.sequences.chain_reader import ChainReader, SegmentBegins, SpeechBegins, TextRead, UnitsRead
from cslm.sequences.chain_reader import ReplyEvent as Read
from cslm.sequences.chains import Chain, Segment
from cslm.sequences.chunking import join_chunks
from cslm.sequences.sequence_format import SequenceFormat

Said = QuestionText | AnswerText | AnswerUnits

_UNFINISHED = "\ufffd"  # what a character decodes to whose last bytes are still to come


class ReplyScribe:
    """Tells one reply. A character is told once nothing that follows can make it part of the chain's layout.

    The texts that were told join to those of :func:`~cslm.sequences.chain_of_modality.parse_reply` where the segments
    stand in the order of the chain, each once.
    """

    def __init__(self, form: SequenceFormat, chain: Chain) -> None:
        self.num_ids = 0
        """ids that were read"""
        self.answer_begun = False
        """whether anything of the answer was told"""
        self._reader = ChainReader(form, chain)
        self._last = chain.segments[-1]
        self._labels = [segment.label for segment in chain.segments if segment.label]
        self._segment: Segment | None = None
        self._first = True  # whether no text of the segment is whole yet
        self._chunks: list[str] = []  # texts of the answer that are whole
        self._num_spoken = 0
        self._told = ""  # of the answer, or of the segment before it that is being written

    def push(self, ids: Sequence[int], time_sec: float) -> list[Said]:
        """What these ids, written at a time, tell."""
        self.num_ids += len(ids)
        said = self._tell(self._reader.push(ids), time_sec)
        pending = self._reader.pending_text
        if pending:
            said += self._tell_text(self._certain(pending), time_sec)
        self.answer_begun |= any(isinstance(event, AnswerText | AnswerUnits) for event in said)
        return said

    def finish(self, time_sec: float) -> list[Said]:
        """What was held back of a reply that is over."""
        return self._tell(self._reader.finish(), time_sec)

    def _tell(self, events: Sequence[Read], time_sec: float) -> list[Said]:
        said: list[Said] = []
        for event in events:
            if isinstance(event, SegmentBegins):
                self._segment, self._first = event.segment, True
                self._told = "" if not self._answers else join_chunks(self._chunks)
            elif isinstance(event, TextRead):
                said += self._tell_text(event.said, time_sec)
                self._first = False
                if self._answers:
                    self._chunks.append(event.said)
            elif isinstance(event, SpeechBegins):
                self._num_spoken += 1
            elif isinstance(event, UnitsRead):
                said.append(AnswerUnits(time_sec, self.num_ids, self._num_spoken - 1, event.units))
        return said

    @property
    def _answers(self) -> bool:
        return self._segment is None or self._segment is self._last

    def _tell_text(self, text: str, time_sec: float) -> list[Said]:
        """What is new in the text that is being written."""
        known = join_chunks([*self._chunks, text]) if self._answers else text.strip()
        new = known[len(self._told) :]
        if not new:
            return []
        self._told = known
        if self._answers:
            return [AnswerText(time_sec, self.num_ids, self._num_spoken, new)]
        assert self._segment is not None
        return [QuestionText(time_sec, self.num_ids, self._segment.field, new)]

    def _certain(self, pending: str) -> str:
        """The beginning of a text that is being written which stays as it is, without the layout of the chain."""
        text = pending.rstrip(_UNFINISHED)
        if self._segment is not None and self._first:
            before = self._segment.before.strip()
            if before.startswith(text.strip()):
                return ""
            text = text.lstrip().removeprefix(before).lstrip()
            text = _without_beginning_of(self._segment.after.strip(), text.rstrip())
        for label in self._labels:
            text = _without_beginning_of(label, text)
        return text


def _without_beginning_of(layout: str, text: str) -> str:
    """A text without what stands at its end and may be the beginning of ``layout``."""
    for length in range(min(len(layout), len(text)), 0, -1):
        if text.endswith(layout[:length]):
            return text[:-length]
    return text
