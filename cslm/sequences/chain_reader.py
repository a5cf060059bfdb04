"""The reader of chains of modality: ids in as they are written, events out as soon as they can be said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from cslm.codecs.units import Units
from cslm.sequences.chains import CHAINS, Chain, Segment
from cslm.sequences.sequence_format import SequenceFormat


@dataclass(frozen=True, slots=True)
class SegmentBegins:
    """A segment of the chain begins: its marker, or its words, were read."""

    segment: Segment


@dataclass(frozen=True, slots=True)
class TextRead:
    """A text that is whole: of a transcript, or of a chunk whose speech begins next.

    ``text`` is as it was written, the space before it and the layout of the chain included.
    """

    segment: Segment | None
    """None before any segment has begun: replies of ASR and translation have none"""
    text: str
    first: bool
    """whether it is the first of its segment"""

    @property
    def said(self) -> str:
        """The text without the layout of the chain."""
        return self.segment.without_layout(self.text) if self.segment is not None and self.first else self.text


@dataclass(frozen=True, slots=True)
class SpeechBegins:
    """``<sosp>`` was read."""

    segment: Segment | None


@dataclass(frozen=True, slots=True)
class UnitsRead:
    """The next whole frames of the speech that began."""

    segment: Segment | None
    units: Units


@dataclass(frozen=True, slots=True)
class SpeechEnds:
    """The speech that began is whole, or was broken off by something else than a unit."""

    segment: Segment | None


@dataclass(frozen=True, slots=True)
class ReplyEnds:
    """Nothing comes after it."""

    whole: bool
    """whether the model ended its turn itself"""


ReplyEvent = SegmentBegins | TextRead | SpeechBegins | UnitsRead | SpeechEnds | ReplyEnds


class ChainReader:
    """Reads one reply, some ids at a time; which ids come together changes no event but how units are grouped.

    Any ids can be read. Units outside of speech, frames behind a wrong one and markers of other chains are passed over.
    A marker as text is found at the first place that spells it: a text that spells the next one ends there.
    """

    def __init__(self, form: SequenceFormat, chain: Chain = CHAINS["interleaved"]) -> None:
        self.chain = chain
        self.ended = False
        self._encoder, self._vocabulary = form.encoder, form.vocabulary
        known = {} if self._vocabulary is None else self._vocabulary.markers
        self._marker_ids = frozenset(known.values())
        self._words = form.word_ids
        marked = ((segment.marker, segment) for segment in chain.segments)
        self._segments = {known[marker]: segment for marker, segment in marked if marker in known}
        self._labelled = any(segment.label for segment in chain.segments)
        self._events: list[ReplyEvent] = []
        self._segment: Segment | None = None
        self._first = True
        self._run: list[int] = []  # ids of the text that is being read
        self._taken = 0  # characters of it that were said already
        self._frames: list[int] | None = None  # units of a frame that is not whole; None outside of speech
        self._broken = False  # whether the speech holds a unit out of turn

    @property
    def pending_text(self) -> str:
        """The text that is being written, as far as it is known: what :class:`TextRead` will say, or begins so."""
        return self._encoder.decode_continuation(self._run)[self._taken :] if self._run else ""

    def push(self, ids: Iterable[int]) -> list[ReplyEvent]:
        """What ``ids`` tell; those behind the end of the turn tell nothing."""
        for token_id in ids:
            if self.ended:
                break
            self._take(int(token_id))
        self._say_units()
        return self._drain()

    def finish(self) -> list[ReplyEvent]:
        """What is still pending of a reply that was cut off, and its end. After the end of the turn: nothing."""
        if not self.ended:
            self._end(whole=False)
        return self._drain()

    def _take(self, token_id: int) -> None:
        vocabulary = self._vocabulary
        if self._segment is None and not (self._run or self.chain.segments[0].marker or self.chain.segments[0].label):
            self._begin(self.chain.segments[0])
        if token_id in self._marker_ids:
            assert vocabulary is not None
            self._take_marker(token_id, token_id == vocabulary.sosp, token_id == vocabulary.eosp)
        elif token_id not in self._encoder.control_ids or token_id in self._words:
            self._end_speech()
            self._run.append(token_id)
            if self._labelled:
                self._find_labels()
        elif vocabulary is None or not vocabulary.is_unit(token_id):
            self._end(whole=True)
        elif self._frames is not None:
            self._frames.append(token_id)

    def _take_marker(self, token_id: int, opens: bool, closes: bool) -> None:
        if opens:
            self._end_text()
            self._end_speech()
            following = self._following()
            by_speech = following and following[0].modality == "speech" and following[0].marker is None
            if by_speech and self._segment is not None and self._segment.modality == "text":
                self._begin(following[0])
            self._events.append(SpeechBegins(self._segment))
            self._frames, self._broken = [], False
        elif closes:
            self._end_speech()
        elif token_id in self._segments:
            self._end_text()
            self._end_speech()
            self._begin(self._segments[token_id])

    def _following(self) -> tuple[Segment, ...]:
        place = -1 if self._segment is None else self.chain.segments.index(self._segment)
        return self.chain.segments[place + 1 :]

    def _begin(self, segment: Segment) -> None:
        self._segment, self._first = segment, True
        self._events.append(SegmentBegins(segment))

    def _find_labels(self) -> None:
        """Begin the segments whose words the text has come to; what stands before them is said."""
        while labelled := [segment for segment in self._following() if segment.label]:
            text = self.pending_text
            places = {text.find(segment.label): segment for segment in reversed(labelled) if segment.label in text}
            if not places:
                return
            place = min(places)
            if text[:place].strip():
                self._say_text(text[:place])
            self._begin(places[place])
            self._taken += place + len(places[place].label)

    def _end_text(self) -> None:
        if self._run:
            text = self.pending_text
            if text.strip() or not self._taken:
                self._say_text(text)
            self._run, self._taken = [], 0

    def _say_text(self, text: str) -> None:
        self._events.append(TextRead(self._segment, text, self._first))
        self._first = False

    def _say_units(self) -> None:
        """Say the whole frames of the speech, up to a unit out of turn; an unfinished frame is kept."""
        if not self._frames:
            return
        assert self._vocabulary is not None
        num_codebooks = len(self._vocabulary.codebook_sizes)
        whole = len(self._frames) // num_codebooks
        units = self._vocabulary.units_from_ids(np.array(self._frames, dtype=np.int64))
        if len(units) and not self._broken:
            self._events.append(UnitsRead(self._segment, Units(units)))
        self._broken = self._broken or len(units) < whole
        self._frames = self._frames[whole * num_codebooks :]

    def _end_speech(self) -> None:
        if self._frames is not None:
            self._say_units()
            self._frames = None
            self._events.append(SpeechEnds(self._segment))

    def _end(self, whole: bool) -> None:
        self._end_text()
        self._end_speech()
        self.ended = True
        self._events.append(ReplyEnds(whole))

    def _drain(self) -> list[ReplyEvent]:
        events, self._events = self._events, []
        return events
