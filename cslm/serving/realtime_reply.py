"""One reply of a connection, from ``response.created`` to ``response.done``."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable
from dataclasses import dataclass

from cslm.generation.conversation import Conversation
from cslm.generation.events import ReplyEvent
from cslm.serving.places import Place
from cslm.serving.question import SpokenQuestion
from cslm.serving.realtime_response import Message, ToldResponse
from cslm.serving.realtime_session import Session
from cslm.serving.received_audio import PCM_RATE_HZ
from cslm.serving.refusals import Refusal, broken, too_slow
from cslm.serving.replies import events_of
from cslm.serving.sent_audio import SentSound
from cslm.serving.served_model import HeardQuestion, ServedModel

Tell = Callable[[Iterable[Message]], Awaitable[None]]


@dataclass
class Asked:
    """A question of a connection."""

    item_id: str
    question: SpokenQuestion
    heard: asyncio.Task[HeardQuestion] | None = None
    """once it is over"""


class RealtimeReply:
    """What is done for one ``response.create``."""

    def __init__(
        self,
        served: ServedModel,
        conversation: Conversation,
        asked: Asked,
        session: Session,
        place: Place,
        names: tuple[str, str, str],
        tell: Tell,
    ) -> None:
        """Get ready.

        Args:
            asked: a question that is over.
            session: the settings of this reply.
            names: of the response, the item of the answer, and the conversation.
            tell: sends messages, in order.
        """
        self._served, self._conversation, self._asked, self._session = served, conversation, asked, session
        self._names, self._tell, self._since = names, tell, time.monotonic()  # the question, or the wish for an answer
        self.place = place
        self.is_active = True
        """whether it is written and was not cancelled"""
        self.task: asyncio.Task[None] | None = None
        self._reason = "client_cancelled"
        self._has_begun, self._stopped, self._ended = False, asyncio.Event(), asyncio.Event()
        speaks, decoder = served.processor.speaks and session.with_sound, served.processor.decoder
        self.told = ToldResponse(
            names[0],
            names[1],
            asked.item_id,
            speaks,
            session.events,
            SentSound(decoder.sample_rate_hz) if speaks and decoder is not None else None,
            lambda ids: served.processor.form.surface(ids.tolist()),
        )
        self.told.lasted(asked.question.num_samples / PCM_RATE_HZ)

    @property
    def has_ended(self) -> bool:
        """Whether nothing is done for it any more."""
        return self._ended.is_set()

    def start(self, before: RealtimeReply | None) -> asyncio.Task[None]:
        """Begin, behind the reply before."""
        self.task = asyncio.create_task(self._run(before))
        return self.task

    def cancel(self, reason: str) -> None:
        """Stop it now, whatever is being done for it; what is told last comes by itself."""
        self._reason, self.is_active = reason, False
        self._stopped.set()
        self.place.cancel()

    async def _run(self, before: RealtimeReply | None) -> None:
        try:
            if before is not None and before.task is not None:
                await asyncio.wait([before.task])
                await before._ended.wait()
            await self._tell(self.told.begin(self._response("in_progress", None)))
            status, details = await self._outcome()
        finally:
            self.place.cancel()
            self.place.give_back()
            self.is_active = False
            if not self._has_begun:
                self._ended.set()
            elif self.told.end is None and self.told.is_heard and not self.told.is_truncated:
                self._conversation.heard(self.told.num_samples_sent, self.told.item_id)
        self._served.engine.metrics.count("cslm_replies_total", {"status": status})
        await self._tell(self.told.written(self.place.prompt))
        item_status = "completed" if status == "completed" else "incomplete"
        await self._tell(self.told.finish(self._response(status, details), item_status))

    async def _outcome(self) -> tuple[str, Message | None]:
        """Write it; how it ended."""
        writing, stopped = asyncio.create_task(self._write()), asyncio.create_task(self._stopped.wait())
        try:
            await asyncio.wait([writing, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:
            writing.cancel()
            stopped.cancel()
            await asyncio.gather(writing, stopped, return_exceptions=True)
        error, end = None if writing.cancelled() else writing.exception(), self.told.end
        if error is not None and not isinstance(error, Refusal):
            traceback.print_exception(error)
            error = broken()
        if isinstance(error, Refusal):
            await self._tell([{"type": "error", "error": {**error.to_dict(), "event_id": None}}])
            return "failed", {"type": "failed", "error": error.to_dict()}
        if end is None:
            return "cancelled", {"type": "cancelled", "reason": self._reason}
        if not end.is_whole:
            return "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}
        return "completed", None

    async def _write(self) -> None:
        assert self._asked.heard is not None
        longest = self._served.limits.reply_timeout_sec
        try:
            async with asyncio.timeout(longest):
                question = await self._asked.heard
        except TimeoutError:
            raise too_slow(longest) from None
        events = events_of(lambda: self._events(question), self.place, self._served.threads, longest, self._ended.set)
        self._has_begun = True
        metrics, first = self._served.engine.metrics, True
        try:
            async with contextlib.aclosing(events):
                async for event in events:
                    if self.place.admitted_at is not None:
                        await self._tell(self.told.latency("admitted", self.place.admitted_at - self._since))
                    await self._tell(self.told.tell(event))
                    if first and self.told.num_samples_sent:
                        first = False
                        metrics.observe("cslm_first_audio_seconds", event.time_sec)
        finally:
            metrics.count("cslm_audio_sent_seconds_total", by=self.told.sent_ms / 1000)

    def _events(self, question: HeardQuestion) -> Generator[ReplyEvent, None, None]:
        wishes = self._session.wishes(self._served.limits.max_new_tokens)
        since, told = self._since, self.told
        options = {"wishes": wishes, "place": self.place, "clock": lambda: time.monotonic() - since}
        return self._conversation.stream(question, name=told.item_id, is_heard=told.is_heard, **options)

    def _response(self, status: str, details: Message | None) -> Message:
        """The object ``realtime.response``."""
        told, prompt, is_over = self.told, self.place.prompt, status != "in_progress"
        read = 0 if prompt is None else len(prompt)
        written = 0 if told.end is None else len(told.end.ids)
        usage = {"total_tokens": read + written, "input_tokens": read, "output_tokens": written}
        return {
            "object": "realtime.response",
            "id": told.response_id,
            "status": status,
            "status_details": details,
            "output": [told.item("completed" if status == "completed" else "incomplete")] if is_over else [],
            "conversation_id": self._names[2],
            "output_modalities": self._session.modalities,
            "max_output_tokens": self._session.max_output_tokens or "inf",
            "usage": usage if is_over else None,
            "metadata": None,
        }
