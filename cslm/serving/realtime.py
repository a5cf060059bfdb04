"""``/v1/realtime``: one connection that speaks the Realtime protocol (``docs/serving.md``)."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from cslm.generation.conversation import Conversation
from cslm.generation.turns import SpeechBegan, SpeechEnded, Spoken
from cslm.serving.limits import LimitsConfig
from cslm.serving.question import SpokenQuestion
from cslm.serving.realtime_questions import Questions
from cslm.serving.realtime_reply import Asked, RealtimeReply
from cslm.serving.realtime_response import Message
from cslm.serving.realtime_session import Session
from cslm.serving.received_audio import PCM_RATE_HZ, read_base64, read_pcm16
from cslm.serving.refusals import Refusal, field_of, number_of, refuse_unknown, shown
from cslm.serving.request_bodies import SMALL_BYTES, parse_object
from cslm.serving.served_model import ServedModel

_LONGEST_NAME = 64  # characters of an item's id that a client chooses


@dataclass
class _Ids:
    """Names of items, responses and events, which no other connection has."""

    connection: str = field(default_factory=lambda: secrets.token_hex(6))
    counts: dict[str, itertools.count[int]] = field(default_factory=dict)

    def new(self, kind: str) -> str:
        return f"{kind}_{self.connection}_{next(self.counts.setdefault(kind, itertools.count(1)))}"


class RealtimeConnection:
    """One client, from ``session.created`` until it has gone."""

    def __init__(self, socket: WebSocket, served: ServedModel, name: str) -> None:
        """Get ready.

        Args:
            name: what the model is called.
        """
        self._socket, self._served, self._name, self._limits = socket, served, name, served.limits
        self._ids = _Ids()
        self._session, self._session_id = Session(), f"sess_{self._ids.connection}"
        self._conversation = Conversation(served)
        names = (self._tell, lambda: self._ids.new("item"))
        self._questions = Questions(served, *names, self._hear_question, self._session.detection)
        self._reply: RealtimeReply | None = None  # the last, which may be written or over
        self._replies: set[asyncio.Task[None]] = set()  # that are not over
        self._is_gone = False
        self._handlers = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.clear": self._clear,
            "input_audio_buffer.commit": self._commit,
            "conversation.item.create": self._create_item,
            "conversation.item.truncate": self._truncate,
            "response.create": self._respond,
            "response.cancel": self._cancel_event,
        }

    async def run(self) -> None:
        """Serve until the client has gone, or is sent away."""
        code, reason = 1000, ""
        try:
            async with asyncio.timeout(self._limits.session_timeout_sec):
                await self._told_session("session.created")
                code, reason = await self._listen()
        except TimeoutError:
            code, reason = 1008, "the session is too long"
        finally:
            await self._leave()
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await self._socket.close(code, reason)

    async def _listen(self) -> tuple[int, str]:
        """Event after event; why it ended."""
        num_errors = 0
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return 1000, ""
            event: dict[str, Any] = {}
            try:
                if message.get("text") is None:
                    raise Refusal("binary_message", "messages are JSON in text frames")
                event = await self._parsed(message["text"].encode("utf-8"))
                await self._handle(event)
                num_errors = 0
            except Refusal as refusal:
                num_errors += 1
                await self._told_error(refusal, event)
                if num_errors >= self._limits.max_errors:
                    return 1008, "too many errors in a row"

    async def _parsed(self, content: bytes) -> dict[str, Any]:
        if len(content) <= SMALL_BYTES:
            return parse_object(content, self._limits)
        return await asyncio.to_thread(parse_object, content, self._limits)

    async def _handle(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        handler = self._handlers.get(kind) if isinstance(kind, str) else None
        if handler is None:
            known = ", ".join(self._handlers)
            raise Refusal("unknown_event", f"there is no event {shown(kind)}: known are {known}", param="type")
        await handler({name: value for name, value in event.items() if name not in ("type", "event_id")})

    async def _leave(self) -> None:
        """Stop everything that is done for this client, and wait for it."""
        if self._reply is not None:
            self._reply.place.cancel()
        for task in self._replies:
            task.cancel()
        await asyncio.gather(*self._replies, *self._questions.leave(), return_exceptions=True)

    # what clients send

    async def _update(self, event: dict[str, Any]) -> None:
        refuse_unknown(event, {"session"}, "session.update")
        _refuse_without(event, "session", "session.update")
        session = self._session.updated(field_of(event, "session", dict, {}), self._served)
        if session.detection != self._session.detection:
            self._questions.detect(session.detection)
        self._session = session
        await self._told_session("session.updated")

    async def _append(self, event: dict[str, Any]) -> None:
        refuse_unknown(event, {"audio"}, "input_audio_buffer.append")
        _refuse_without(event, "audio", "input_audio_buffer.append")
        samples = await self._samples(event)
        if self._session.detection is None:
            self._questions.check_length(len(samples))
            self._questions.speak(samples)
            return
        for found in await self._questions.judge(samples):
            if isinstance(found, SpeechBegan):
                await self._began(found)
            elif isinstance(found, Spoken):
                self._questions.speak(found.samples)
            elif self._questions.speaking is not None:
                await self._ended(found, self._questions.speaking)

    async def _clear(self, event: dict[str, Any]) -> None:
        refuse_unknown(event, set(), "input_audio_buffer.clear")
        self._questions.clear()
        await self._tell([{"type": "input_audio_buffer.cleared"}])

    async def _commit(self, event: dict[str, Any]) -> None:
        refuse_unknown(event, set(), "input_audio_buffer.commit")
        if not self._questions.num_samples:
            raise Refusal("input_audio_buffer_commit_empty", "no sound was appended: append some first")
        self._questions.end_turn()
        await self._questions.over()

    async def _create_item(self, event: dict[str, Any]) -> None:
        refuse_unknown(event, {"item", "previous_item_id"}, "conversation.item.create")
        item = field_of(event, "item", dict, {})
        refuse_unknown(item, {"id", "type", "role", "content", "object", "status"}, "item")
        before, last = field_of(event, "previous_item_id", str), self._questions.last_item
        if before not in (None, last or "root"):
            message = f"previous_item_id is {shown(before)}: items stand behind the last, {last or 'root'}"
            raise Refusal("unsupported_place", message, param="previous_item_id")
        name = field_of(item, "id", str)
        if name is not None and (not 0 < len(name) <= _LONGEST_NAME or self._ids.connection in name or name == last):
            message = f"the item's id is {shown(name)}: give one that is new, of {_LONGEST_NAME} characters at most"
            raise Refusal("invalid_item_id", message, param="id")
        content = field_of(item, "content", list, [])
        part = content[0] if len(content) == 1 and isinstance(content[0], dict) else {}
        kinds = (item.get("type"), item.get("role"), part.get("type"))
        if kinds != ("message", "user", "input_audio"):
            message = "an item must be a message of the user with one input_audio: this model is asked by speech"
            raise Refusal("unsupported_item", message, param="item")
        refuse_unknown(part, {"type", "audio"}, "content")
        samples = await self._samples(part)
        if not len(samples):
            raise Refusal("empty_audio", "the item holds no sound", param="audio")
        questions = self._questions
        kept, questions.speaking = questions.speaking, None
        questions.speak(samples, name)
        await questions.over(is_buffer=False)
        questions.speaking = kept

    async def _truncate(self, event: dict[str, Any]) -> None:
        refuse_unknown(event, {"item_id", "content_index", "audio_end_ms"}, "conversation.item.truncate")
        told = None if self._reply is None else self._reply.told
        item_id = field_of(event, "item_id", str)
        if told is None or item_id != told.item_id:
            raise Refusal("item_not_found", f"the last answer is not {shown(item_id)}", 404, "item_id")
        if event.get("content_index", 0) != 0:
            raise Refusal("out_of_range", "content_index must be 0", param="content_index")
        end_ms = number_of(event, "audio_end_ms", -1, 0, max(1.0, told.sent_ms + 1))
        self._conversation.heard(told.heard_samples(end_ms), told.item_id)
        told.is_truncated = True
        await self._tell([
            {"type": "conversation.item.truncated", "item_id": item_id, "content_index": 0, "audio_end_ms": int(end_ms)}
        ])  # fmt: skip

    async def _respond(self, event: dict[str, Any]) -> None:
        refuse_unknown(event, {"response"}, "response.create")
        self._begin_reply(self._session.for_response(field_of(event, "response", dict, {}), self._served))

    async def _cancel_event(self, event: dict[str, Any]) -> None:
        refuse_unknown(event, {"response_id"}, "response.cancel")
        wanted = field_of(event, "response_id", str)
        active = self._active
        if active is None or wanted not in (None, active.told.response_id):
            raise Refusal("response_cancel_not_active", "no such response is being written", param="response_id")
        active.cancel("client_cancelled")

    # turns

    async def _samples(self, event: dict[str, Any]) -> NDArray[np.float32]:
        """The sound of an event, ``(num_samples,)`` at 24,000 Hz."""
        text = field_of(event, "audio", str, "")
        if len(text) <= SMALL_BYTES:
            return _read_sound(text, self._limits)
        return await asyncio.to_thread(_read_sound, text, self._limits)

    def _hear_question(self) -> SpokenQuestion:
        wishes = self._session.wishes(self._limits.max_new_tokens)
        if self._reply is None or self._reply.has_ended:
            return SpokenQuestion(self._served, wishes, self._conversation.past)
        # what of the reply will be the past is not known yet
        return SpokenQuestion(self._served, dataclasses.replace(wishes, question_language=None), ())

    async def _began(self, found: SpeechBegan) -> None:
        assert self._session.detection is not None
        if self._active is not None and self._session.detection.interrupt_response:
            self._active.cancel("turn_detected")
        asked = self._questions.speak(np.zeros(0, np.float32))
        told = {"audio_start_ms": 1000 * found.sample // PCM_RATE_HZ, "item_id": asked.item_id}
        await self._tell([{"type": "input_audio_buffer.speech_started", **told}])

    async def _ended(self, found: SpeechEnded, asked: Asked) -> None:
        """The turn is over by silence, or because it is too long."""
        assert self._session.detection is not None
        told = {"audio_end_ms": 1000 * found.sample // PCM_RATE_HZ, "item_id": asked.item_id}
        await self._tell([{"type": "input_audio_buffer.speech_stopped", **told}])
        await self._questions.over()
        if self._session.detection.create_response:
            await self._try_to_reply()

    # replies

    def _begin_reply(self, session: Session) -> None:
        if self._active is not None:
            message = "a reply is being written: cancel it, or wait for its end"
            raise Refusal("conversation_already_has_active_response", message)
        asked = self._questions.waiting
        if asked is None:
            raise Refusal("no_question", "there is no question that was not answered: ask one first")
        place = self._served.places.take()
        self._questions.waiting = None
        names = (self._ids.new("resp"), self._ids.new("item"), self._session_id.replace("sess", "conv"))
        reply = RealtimeReply(self._served, self._conversation, asked, session, place, names, self._tell)
        self._questions.last_item = reply.told.item_id
        before, self._reply = self._reply, reply
        task = reply.start(before)
        self._replies.add(task)
        task.add_done_callback(self._replies.discard)

    async def _try_to_reply(self) -> None:
        """Answer the question that was just asked; a reason against it is told."""
        try:
            self._begin_reply(self._session)
        except Refusal as refusal:
            await self._told_error(refusal, {})

    @property
    def _active(self) -> RealtimeReply | None:
        """The reply that is being written."""
        return self._reply if self._reply is not None and self._reply.is_active else None

    # what is told

    async def _told_session(self, kind: str) -> None:
        session = self._session.to_dict(self._served, self._name, self._session_id)
        await self._tell([{"type": kind, "session": session}])

    async def _told_error(self, refusal: Refusal, event: dict[str, Any]) -> None:
        given = event.get("event_id")
        error = {**refusal.to_dict(), "event_id": given[:512] if isinstance(given, str) else None}
        await self._tell([{"type": "error", "error": error}])

    async def _tell(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if self._is_gone:
                return
            content = {"type": message["type"], "event_id": self._ids.new("event"), **message}
            try:
                await self._socket.send_text(json.dumps(content))
            except (WebSocketDisconnect, RuntimeError):
                self._is_gone = True
                if self._reply is not None:
                    self._reply.place.cancel()


def _refuse_without(event: dict[str, Any], name: str, kind: str) -> None:
    if event.get(name) is None:
        raise Refusal("missing_parameter", f"{kind} has no {name}: give it", param=name)


def _read_sound(text: str, limits: LimitsConfig) -> NDArray[np.float32]:
    return read_pcm16(read_base64(text, limits.max_message_bytes, "audio"), limits, "audio")
