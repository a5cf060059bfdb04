"""One reply as the Realtime protocol tells it: the server's events, from those of the reply."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
from cslm.serving.received_audio import PCM_RATE_HZ
from cslm.serving.sent_audio import SentSound, pcm16

Message = dict[str, Any]


def message_item(item_id: str, role: str, status: str, content: list[Message]) -> Message:
    """An item of a conversation."""
    return {"id": item_id, "object": "realtime.item", "type": "message", "status": status, "role": role,
            "content": content}  # fmt: skip


def own_event(what: str) -> str:
    """The name of an event that OpenAI's protocol does not have."""
    return f"cslm.{what}"


class ChunkBorders:
    """Where the chunks of an answer begin in its sound."""

    def __init__(self) -> None:
        self._units: list[int] = []  # of each chunk that has begun
        self._ends: list[int] = []  # of each unit that has sounded whole, in samples that are sent
        self._told = 0  # chunks whose beginning was told

    def begin(self, chunk: int) -> None:
        """A chunk begins, if it had not."""
        self._units += [0] * (chunk + 1 - len(self._units))

    def add_units(self, chunk: int, count: int) -> int:
        """More units of the last chunk; how many there were before, over all chunks."""
        self.begin(chunk)
        before = sum(self._units)
        self._units[chunk] += count
        return before

    def sounded(self, ends: list[int]) -> list[list[int]]:
        """More units have sounded whole; the pairs ``[chunk, sample]`` that are known by that."""
        self._ends += ends
        starts = []
        while self._told < len(self._units):
            before = sum(self._units[: self._told])
            if before > len(self._ends):
                break
            starts.append([self._told, self._ends[before - 1] if before else 0])
            self._told += 1
        return starts


class ToldResponse:
    """One response, from ``response.created`` to ``response.done``."""

    def __init__(
        self,
        response_id: str,
        item_id: str,
        question_id: str,
        with_sound: bool,
        wanted: frozenset[str],
        sound: SentSound | None,
        surface: Callable[[NDArray[Any]], str],
    ) -> None:
        """Begin.

        Args:
            item_id: of the answer.
            question_id: of the item of the question.
            with_sound: whether the answer is told as sound with a transcript, else as text.
            wanted: kinds of ``cslm.*`` events.
            sound: for the answer, where it is heard.
            surface: writes ids out.
        """
        self.response_id, self.item_id, self._question_id = response_id, item_id, question_id
        self._with_sound, self._wanted, self._surface = with_sound, wanted, surface
        self._sound, self._borders = sound, ChunkBorders()
        self._transcript: str | None = None  # of the question, while it may go on
        self._text = ""
        self._parts: set[str] = set()
        self._question_sec = 0.0
        self.num_samples_sent = 0
        """of the decoder's, whose sound was sent"""
        self.end: ReplyEnd | None = None
        """once it has ended"""
        self.is_truncated = False
        """whether the client said how much was heard"""
        self._place: dict[str, Any] = {"response_id": response_id, "item_id": item_id}
        self._indexed = {**self._place, "output_index": 0, "content_index": 0}

    def item(self, status: str) -> Message:
        """The answer as far as it was told."""
        content = [] if status == "in_progress" else [self._part()]
        return message_item(self.item_id, "assistant", status, content)

    def begin(self, response: Message) -> Iterator[Message]:
        """What is told before anything is known."""
        yield {"type": "response.created", "response": response}
        item = self.item("in_progress")
        yield {"type": "response.output_item.added", "response_id": self.response_id, "output_index": 0, "item": item}
        yield {"type": "conversation.item.added", "item": item, "previous_item_id": self._question_id}
        yield {"type": "response.content_part.added", **self._indexed, "part": self._part()}

    def tell(self, event: ReplyEvent) -> Iterator[Message]:
        """The messages of an event."""
        if isinstance(event, QuestionHeard):
            yield from self._heard(event)
        elif isinstance(event, QuestionText):
            yield from self._question_text(event)
        elif isinstance(event, AnswerText):
            yield from self._answer_text(event)
        elif isinstance(event, AnswerUnits):
            yield from self._answer_units(event)
        elif isinstance(event, AnswerSamples):
            yield from self._answer_samples(event)
        else:
            self.end = event
            yield from self._rest(event)

    def finish(self, response: Message, status: str) -> Iterator[Message]:
        """What is told last, however it ended; ``status`` is the item's."""
        yield from self._transcribed()
        name = "output_audio_transcript" if self._with_sound else "output_text"
        if self._with_sound:
            yield {"type": "response.output_audio.done", **self._indexed}
        field = "transcript" if self._with_sound else "text"
        yield {"type": f"response.{name}.done", **self._indexed, field: self._text}
        yield {"type": "response.content_part.done", **self._indexed, "part": self._part()}
        item = self.item(status)
        yield {"type": "response.output_item.done", "response_id": self.response_id, "output_index": 0, "item": item}
        yield {"type": "conversation.item.done", "item": item, "previous_item_id": self._question_id}
        yield {"type": "response.done", "response": response}

    def latency(self, part: str, time_sec: float, num_ids: int = 0) -> Iterator[Message]:
        """How long it took to a part, once."""
        if "latency" in self._wanted and part not in self._parts:
            self._parts.add(part)
            yield {
                "type": own_event("latency"),
                **self._place,
                "part": part,
                "time_ms": _ms(time_sec),
                "num_ids": num_ids,
            }

    def written(self, prompt: NDArray[Any] | None) -> Iterator[Message]:
        """All ids, of a reply that has ended."""
        if self.end is None or "ids" not in self._wanted:
            return
        yield {
            "type": own_event("reply.ids"),
            **self._place,
            "ids": list(self.end.ids),
            "is_whole": self.end.is_whole,
            "prompt": "" if prompt is None else self._surface(prompt),
            "reply": self._surface(np.asarray(self.end.ids)),
        }

    def _part(self) -> Message:
        if self._with_sound:
            return {"type": "output_audio", "transcript": self._text}
        return {"type": "output_text", "text": self._text}

    def _heard(self, event: QuestionHeard) -> Iterator[Message]:
        yield from self.latency("heard", event.time_sec)
        if "units" in self._wanted:
            yield {
                "type": own_event("question.heard"),
                "response_id": self.response_id,
                "item_id": self._question_id,
                "question_language": event.question_language,
                "answer_language": event.answer_language,
                "units": plain_units(event.units),
                "num_ids_read_ahead": event.num_read_ahead,
                "time_ms": _ms(event.time_sec),
            }

    def _question_text(self, event: QuestionText) -> Iterator[Message]:
        yield from self.latency("first_text", event.time_sec, event.num_ids)
        if event.field == "question_text":
            self._transcript = (self._transcript or "") + event.text
            yield self._transcription("delta", delta=event.text)
            return
        yield from self._transcribed()
        if "texts" in self._wanted:
            yield {"type": own_event("text.delta"), **self._place, "field": event.field, "delta": event.text}

    def _answer_text(self, event: AnswerText) -> Iterator[Message]:
        yield from self.latency("first_text", event.time_sec, event.num_ids)
        yield from self._transcribed()
        self._text += event.text
        self._borders.begin(event.chunk)
        name = "output_audio_transcript" if self._with_sound else "output_text"
        yield {"type": f"response.{name}.delta", **self._indexed, "delta": event.text}
        if "borders" in self._wanted:
            yield {"type": own_event("chunk.delta"), **self._place, "chunk": event.chunk, "delta": event.text}

    def _answer_units(self, event: AnswerUnits) -> Iterator[Message]:
        yield from self.latency("first_units", event.time_sec, event.num_ids)
        yield from self._transcribed()
        first = self._borders.add_units(event.chunk, len(event.units))
        if "units" in self._wanted:
            yield {
                "type": own_event("units.delta"),
                **self._place,
                "chunk": event.chunk,
                "first_unit": first,
                "units": plain_units(event.units),
                "num_ids": event.num_ids,
                "time_ms": _ms(event.time_sec),
            }

    def _answer_samples(self, event: AnswerSamples) -> Iterator[Message]:
        assert self._sound is not None
        yield from self.latency("first_audio", event.time_sec, event.num_ids)
        self.num_samples_sent = event.first_sample + len(event.samples)
        yield from self._sent(self._sound.push(event.samples), event.unit_ends)

    def _rest(self, event: ReplyEnd) -> Iterator[Message]:
        if self._sound is not None:
            yield from self._sent(self._sound.finish(), ())
        yield from self.latency("end", event.time_sec, event.num_ids)

    def _sent(self, samples: NDArray[np.float32], unit_ends: tuple[int, ...]) -> Iterator[Message]:
        assert self._sound is not None
        first = self._sound.num_samples - len(samples)
        if len(samples):
            sound = base64.b64encode(pcm16(samples)).decode("ascii")
            yield {"type": "response.output_audio.delta", **self._indexed, "delta": sound}
        ends = [self._sound.place_sent(end) for end in unit_ends]
        starts = self._borders.sounded(ends)
        if "borders" in self._wanted and (len(samples) or ends or starts):
            yield {
                "type": own_event("audio.borders"),
                **self._place,
                "first_sample": first,
                "num_samples": len(samples),
                "unit_ends": ends,
                "chunk_starts": starts,
            }

    def _transcribed(self) -> Iterator[Message]:
        """The transcript of the question is whole, if there is one."""
        if self._transcript is not None:
            usage = {"type": "duration", "seconds": self._question_sec}
            yield self._transcription("completed", transcript=self._transcript, usage=usage)
            self._transcript = None

    def lasted(self, seconds: float) -> None:
        """How long the question was."""
        self._question_sec = seconds

    def _transcription(self, what: str, **fields: Any) -> Message:
        name = f"conversation.item.input_audio_transcription.{what}"
        return {"type": name, "item_id": self._question_id, "content_index": 0, **fields}

    @property
    def is_heard(self) -> bool:
        """Whether the answer is sound; else it is read."""
        return self._sound is not None

    @property
    def sent_ms(self) -> float:
        """How much sound was sent."""
        return 0.0 if self._sound is None else 1000 * self._sound.num_samples / PCM_RATE_HZ

    def heard_samples(self, heard_ms: float) -> int:
        """Samples of the decoder that were heard after so many milliseconds."""
        return 0 if self._sound is None else self._sound.place_made(heard_ms)


def plain_units(units: Units) -> list[Any]:
    """Units as numbers, of several codebooks as lists."""
    plain: list[Any] = (units.ids[:, 0] if units.num_codebooks == 1 else units.ids).tolist()
    return plain


def _ms(seconds: float) -> float:
    return round(1000 * seconds, 3)
