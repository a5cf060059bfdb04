"""A reply in a chain, part by part, whatever is missing, doubled or out of order; and whose each of its tokens is."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from cslm.sequences.chain_reader import ChainReader, ReplyEvent, SegmentBegins, SpeechBegins, SpeechEnds
from cslm.sequences.chains import Chain, Segment
from cslm.sequences.chunking import join_chunks
from cslm.sequences.sequence_format import SequenceFormat

MARKERS = "markers"
"""Whose tokens are that say nothing: markers, as tokens or as words, and the layout around a text."""


@dataclass(frozen=True)
class ReplyParts:
    """What stands in a reply. Segments go by their field; the last one of the chain is the answer."""

    fields: tuple[str, ...]
    """the segments of the chain, in its order, each once"""
    texts: dict[str, str]
    """what each segment says; one that came several times says all of it; empty where it says nothing"""
    num_begun: dict[str, int]
    """how often each segment began"""
    unmarked: str
    """text that stands in no segment"""
    owners: tuple[str, ...]
    """of each id up to the end of the turn: the field of the segment that it says something of, or ``markers``"""

    @property
    def answer(self) -> str:
        """What is meant for the user: the last segment, or, in a reply without any segment, all of it."""
        return self.texts[self.fields[-1]] or ("" if any(self.num_begun.values()) else self.unmarked)

    @property
    def missing(self) -> tuple[str, ...]:
        """The segments that say nothing, in words or in speech."""
        return tuple(field for field in self.fields if field not in self.owners)

    @property
    def doubled(self) -> tuple[str, ...]:
        """The segments that began more than once."""
        return tuple(field for field in self.fields if self.num_begun[field] > 1)

    @property
    def token_delay(self) -> int | None:
        """How many tokens stand before the first of the answer's own (XS-CoT section 7); None where it has none.

        Its marker and the layout behind it stand before it.
        """
        answer = self.fields[-1]
        return self.owners.index(answer) if answer in self.owners else None

    @property
    def delay_by_part(self) -> dict[str, int] | None:
        """The tokens of ``token_delay`` by segment, in the order of the chain, and ``markers``; they sum up to it."""
        delay = self.token_delay
        if delay is None:
            return None
        counts = Counter(self.owners[:delay])
        return {name: counts[name] for name in (*self.fields[:-1], MARKERS)}


def read_parts(form: SequenceFormat, chain: Chain, ids: Sequence[int]) -> ReplyParts:
    """Take a reply apart; any ids can be read."""
    parts, reader = _Parts(form, chain), ChainReader(form, chain)
    vocabulary = form.vocabulary
    for is_unit, stretch in groupby(
        map(int, ids), lambda token_id: vocabulary is not None and vocabulary.is_unit(token_id)
    ):
        if is_unit and not reader.ended:
            units = list(stretch)
            parts.take_units(len(units), reader.push(units))
        for token_id in () if is_unit else stretch:
            if not reader.ended:
                parts.take(token_id, reader.push([token_id]))
    return parts.finish()


@dataclass
class _Region:
    """A stretch of a run of text, in characters, that a segment says."""

    start: int
    stop: int
    segment: Segment | None


class _Parts:
    """Follows the reader id by id: a run is text that no marker interrupts; words that are markers cut it."""

    def __init__(self, form: SequenceFormat, chain: Chain) -> None:
        self._encoder, self._words = form.encoder, form.word_ids
        self._fields = tuple(dict.fromkeys(segment.field for segment in chain.segments))
        self._begun: Counter[str] = Counter()
        self._said: dict[str | None, list[str]] = {field: [] for field in (*self._fields, None)}
        self._owners: list[str] = []
        self._segment: Segment | None = None
        self._is_first = True  # whether the segment has said nothing yet
        self._speaks = False
        self._run: list[int] = []  # the ids of the run
        self._places: list[int] = []  # and where they stand in the reply
        self._regions: list[_Region] = []  # of the run, but for the last
        self._taken = 0  # characters of the run before the last region

    def take(self, token_id: int, events: Sequence[ReplyEvent]) -> None:
        """The next id, which is no unit, and what the reader tells at it."""
        self._owners.append(MARKERS)
        if token_id not in self._encoder.control_ids or token_id in self._words:
            self._run.append(token_id)
            self._places.append(len(self._owners) - 1)
        elif events:
            self._end_run()
        self._follow(events)

    def take_units(self, count: int, events: Sequence[ReplyEvent]) -> None:
        """So many units, and what the reader tells at them: they are of the speech that is open, or of nothing."""
        self._follow(events)
        said = self._segment if self._speaks else None
        self._owners += [MARKERS if said is None else said.field] * count

    def _follow(self, events: Sequence[ReplyEvent]) -> None:
        for event in events:
            if isinstance(event, SegmentBegins):
                self._begin(event.segment)
            elif isinstance(event, SpeechBegins | SpeechEnds):
                self._speaks = isinstance(event, SpeechBegins)

    def finish(self) -> ReplyParts:
        """All that was taken."""
        self._end_run()
        texts = {field: join_chunks(self._said[field]).strip() for field in self._fields}
        begun = {field: self._begun[field] for field in self._fields}
        return ReplyParts(self._fields, texts, begun, join_chunks(self._said[None]).strip(), tuple(self._owners))

    def _begin(self, segment: Segment) -> None:
        if self._run and segment.label:
            place = self._text(len(self._run)).find(segment.label, self._taken)
            assert place >= 0, "the reader has found the words that begin a segment"
            self._regions.append(_Region(self._taken, place, self._segment))
            self._taken = place + len(segment.label)
            self._say_regions()
        self._begun[segment.field] += 1
        self._segment, self._is_first = segment, True

    def _end_run(self) -> None:
        if self._run:
            self._regions.append(_Region(self._taken, self._length(len(self._run)), self._segment))
            self._say_regions()
        self._run, self._places, self._taken = [], [], 0

    def _say_regions(self) -> None:
        for region in self._regions:
            self._say(region)
        self._regions = []

    def _say(self, region: _Region) -> None:
        """Keep what a stretch says, and give its tokens to the segment."""
        text = self._text(len(self._run))[region.start : region.stop]
        segment = region.segment
        if segment is not None and self._is_first:
            text = segment.without_layout(text)
        if not text.strip():
            return
        self._is_first = False
        self._said[None if segment is None else segment.field].append(text)
        if segment is not None:
            start = self._text(len(self._run)).index(text.strip(), region.start)
            for place in self._tokens(start, start + len(text.strip())):
                self._owners[place] = segment.field

    def _tokens(self, start: int, stop: int) -> list[int]:
        """Where in the reply the tokens stand that the characters from ``start`` to ``stop`` of the run are of."""
        counts = range(len(self._run) + 1)
        first = bisect_right(counts, start, key=self._length) - 1
        last = bisect_left(counts, stop, key=self._length) - 1
        return self._places[first : last + 1]

    def _length(self, count: int) -> int:
        """Characters of the first ids of the run; of one that is not whole, nothing."""
        return len(self._text(count).rstrip("\ufffd")) if count < len(self._run) else len(self._text(count))

    def _text(self, count: int) -> str:
        return self._encoder.decode_continuation(self._run[:count]) if count else ""
