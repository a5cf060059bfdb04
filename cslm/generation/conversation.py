"""A conversation of several turns: what was asked, and of each answer what was heard."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from cslm.codecs.units import Units
from cslm.generation.events import (
    AnswerSamples,
    AnswerText,
    AnswerUnits,
    QuestionHeard,
    QuestionText,
    ReplyEnd,
    ReplyEvent,
)
from cslm.sequences.prompts import PastTurn
from cslm.sequences.spoken_turns import first_units


class Conversation:
    """Streams the answer to one question after the other, each with the turns before it.

    An answer whose stream was closed is kept as far as its sound was given out, or as far as :meth:`heard` says: to
    the last unit that was heard whole, with the text of the chunk that it is in. A turn of whose answer nothing was
    heard is left out. Where the model does not speak, or its answer is read and not heard, what was written is kept.
    """

    def __init__(self, model: Any, past: Sequence[PastTurn] = ()) -> None:
        """Begin.

        Args:
            model: what ``CSLMForCausalLM.from_pretrained`` returns.
            past: turns to go on from.
        """
        self._model = model
        self._before = list(past)
        self._lock = threading.Lock()
        self._last = _Answer(None, is_heard=True)
        self._told: dict[str, int] = {}  # what was said of answers that have not begun

    @property
    def past(self) -> tuple[PastTurn, ...]:
        """The turns so far."""
        last = self._last.turn()
        return (*self._before, *([] if last is None else [last]))

    def stream(
        self, question: Any, name: str | None = None, is_heard: bool = True, **options: Any
    ) -> Generator[ReplyEvent, None, None]:
        """The events of the answer to the next question; it and ``options`` as for ``model.stream``.

        Args:
            name: of the answer, for :meth:`heard`.
            is_heard: False where its text is read, and its sound given to nobody.
        """
        answer = _Answer(name, is_heard and self._model.processor.speaks)
        with self._lock:
            self._before = list(self.past)
            self._last = answer
            if name is not None:
                answer.heard_samples = self._told.pop(name, None)
        events = self._model.stream(question, past=tuple(self._before), **options)
        try:
            for event in events:
                answer.add(event)
                yield event
        finally:
            events.close()

    def heard(self, num_samples: int, name: str | None = None) -> None:
        """Say that an answer was heard up to this sample alone: from any thread.

        Args:
            name: of the answer, which is the last or has not begun (default: the last).
        """
        with self._lock:
            if name is None or name == self._last.name:
                self._last.heard_samples = num_samples
            else:
                self._told[name] = num_samples


class _Answer:
    """What is known of an answer that comes, or has come."""

    def __init__(self, name: str | None, is_heard: bool) -> None:
        self.name, self._is_heard = name, is_heard
        self.heard_samples: int | None = None
        self._question: QuestionHeard | None = None
        self._end: ReplyEnd | None = None
        self._before: dict[str, str] = defaultdict(str)
        self._texts: dict[int, str] = defaultdict(str)
        self._units: dict[int, list[Any]] = defaultdict(list)
        self._unit_ends: list[int] = []

    def add(self, event: ReplyEvent) -> None:
        if isinstance(event, QuestionHeard):
            self._question = event
        elif isinstance(event, QuestionText):
            self._before[event.field] += event.text
        elif isinstance(event, AnswerText):
            self._texts[event.chunk] += event.text
        elif isinstance(event, AnswerUnits):
            self._units[event.chunk].append(event.units.ids)
        elif isinstance(event, AnswerSamples):
            self._unit_ends += event.unit_ends
        else:
            self._end = event

    def turn(self) -> PastTurn | None:
        """The turn as far as it was heard; None where nothing was."""
        if self._question is None:
            return None
        chunks = self._chunks()
        if self._is_heard and (self._end is None or self.heard_samples is not None):
            chunks = first_units(chunks, self._num_units_heard())
        if not chunks:
            return None
        asked = self._question
        texts = self._end.reply.texts if self._end is not None else self._before
        return PastTurn(asked.units, asked.question_language, asked.answer_language, tuple(chunks), dict(texts))

    def _chunks(self) -> list[tuple[str, Units]]:
        if self._end is not None:
            return list(self._end.reply.segments)
        assert self._question is not None
        nothing = self._question.units.ids[:0]
        numbers = sorted({*self._texts, *self._units})
        return [(self._texts[n].strip(), Units(np.concatenate([nothing, *self._units[n]]))) for n in numbers]

    def _num_units_heard(self) -> int:
        if self.heard_samples is None:
            return len(self._unit_ends)
        return sum(end <= self.heard_samples for end in self._unit_ends)
