"""``/v1/chat/completions``: a question in sound, alone or behind others, is answered in text and speech."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import secrets
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse

from cslm.generation.conversation import Conversation
from cslm.generation.events import AnswerSamples, AnswerText, QuestionHeard, ReplyEnd, ReplyEvent
from cslm.serving.chat_messages import ChatMessages, GivenAnswers
from cslm.serving.hearing import hear_wav
from cslm.serving.http_replies import PiecesResponse, unless_gone
from cslm.serving.places import Place
from cslm.serving.realtime_session import AUTO, known_language
from cslm.serving.refusals import (
    MOST_SEED,
    Refusal,
    broken,
    field_of,
    integer_of,
    number_of,
    refuse_unknown,
    refuse_unless,
    shown,
)
from cslm.serving.replies import events_of
from cslm.serving.request_bodies import read_json
from cslm.serving.sent_audio import SentSound, pcm16, wav_file
from cslm.serving.served_model import HeardQuestion, ServedModel, Wishes

_UNREAD: dict[str, tuple[Any, ...]] = {
    "n": (1,), "frequency_penalty": (0, 0.0), "presence_penalty": (0, 0.0), "logprobs": (False,), "stop": ([],),
    "logit_bias": ({},), "tools": ([],), "tool_choice": ("none", "auto"), "response_format": ({"type": "text"},),
    "parallel_tool_calls": (True, False), "metadata": ({},),
    "store": (False,), "user": (),
}  # fmt: skip
_KNOWN = {"model", "messages", "modalities", "audio", "stream", "max_tokens", "max_completion_tokens", "temperature"}
_KNOWN |= {"top_p", "seed", "stream_options", "cslm", *_UNREAD}


@dataclass(frozen=True)
class _Asked:
    messages: ChatMessages
    wishes: Wishes
    audio_format: str | None
    """``wav`` or ``pcm16``; None for text alone"""
    is_streamed: bool
    tells_usage: bool
    """whether the stream ends with a chunk that counts ids"""


async def chat_completions(request: Request) -> Any:
    """Answer the last question.

    Raises:
        Refusal: something that is not done here, or cannot be.
    """
    served: ServedModel = request.app.state.served
    served.places.check_room()
    content = await read_json(request, served.limits, with_sound=True)
    given: GivenAnswers = request.app.state.given_answers
    asked = await asyncio.to_thread(_read, content, served, given)
    place, is_handed_on = served.places.take(), False
    try:
        question = await unless_gone(request, hear_wav(served, asked.messages.wav, "input_audio.data"))
        answer = _Answer(served, request.app.state.name, asked, question, place, given)
        if asked.is_streamed:
            is_handed_on = True
            return PiecesResponse(answer.pieces(), "text/event-stream; charset=utf-8", place)
        return JSONResponse(await unless_gone(request, answer.whole()))
    finally:
        if not is_handed_on:
            place.cancel()
            place.give_back()


class _Answer:
    """One completion."""

    def __init__(
        self, served: ServedModel, name: str, asked: _Asked, question: HeardQuestion, place: Place, given: GivenAnswers
    ) -> None:
        self._served, self._name, self._asked, self._question, self._place = served, name, asked, question, place
        self._given, self._conversation = given, Conversation(served, asked.messages.past)
        self._id, self._created = f"chatcmpl-{secrets.token_hex(8)}", int(time.time())
        self._audio_id = f"audio_{secrets.token_hex(16)}"
        decoder = served.processor.decoder
        speaks = served.processor.speaks and asked.wishes.with_sound
        self._sound = SentSound(decoder.sample_rate_hz) if speaks and decoder is not None else None

    async def whole(self) -> dict[str, Any]:
        text, sound = "", b""
        end: ReplyEnd | None = None
        async with contextlib.aclosing(self._events()) as events:
            async for event in events:
                if isinstance(event, AnswerText):
                    text += event.text
                elif isinstance(event, AnswerSamples) and self._sound is not None:
                    sound += pcm16(self._sound.push(event.samples))
                elif isinstance(event, ReplyEnd):
                    end = event
        if end is None:
            raise broken()
        if self._sound is not None:
            sound += pcm16(self._sound.finish())
        expires_at = self._keep(text)
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if self._asked.audio_format is not None:
            data = wav_file(sound) if self._asked.audio_format == "wav" else sound
            audio = {"id": self._audio_id, "data": base64.b64encode(data).decode("ascii"), "transcript": text}
            message |= {"content": None, "audio": {**audio, "expires_at": expires_at}}
        choice = {"index": 0, "message": message, "finish_reason": _reason(end), "logprobs": None}
        cslm = {"question": end.reply.question, "texts": end.reply.texts}
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage(end), "cslm": cslm}

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Server-sent events."""
        yield self._chunk({"role": "assistant", "content": None if self._asked.audio_format else ""})
        text = ""
        try:
            async with contextlib.aclosing(self._events()) as events:
                async for event in events:
                    text += event.text if isinstance(event, AnswerText) else ""
                    for delta in self._deltas(event, text):
                        yield self._chunk(delta)
                    if isinstance(event, ReplyEnd):
                        yield self._chunk({}, _reason(event))
                        if self._asked.tells_usage:
                            yield _data({**self._chunk_head, "choices": [], "usage": self._usage(event)})
        except Refusal as refusal:
            yield _data({"error": refusal.to_dict()})
        yield b"data: [DONE]\n\n"

    def _events(self) -> AsyncGenerator[ReplyEvent, None]:
        since = time.monotonic()
        return events_of(
            lambda: self._conversation.stream(
                self._question,
                is_heard=False,  # it is given whole, and kept so
                wishes=self._asked.wishes,
                place=self._place,
                clock=lambda: time.monotonic() - since,
            ),
            self._place,
            self._served.threads,
            self._served.limits.reply_timeout_sec,
        )

    def _keep(self, text: str) -> int:
        audio_id = None if self._asked.audio_format is None else self._audio_id
        return self._given.keep(self._asked.messages, self._conversation.past, text, audio_id)

    def _deltas(self, event: ReplyEvent, text: str) -> Iterator[dict[str, Any]]:
        with_audio = self._asked.audio_format is not None
        if isinstance(event, QuestionHeard) and with_audio:
            yield {"audio": {"id": self._audio_id, "transcript": ""}}
        elif isinstance(event, AnswerText):
            yield {"audio": {"transcript": event.text}} if with_audio else {"content": event.text}
        elif isinstance(event, AnswerSamples) and self._sound is not None:
            yield from _sound_delta(pcm16(self._sound.push(event.samples)))
        elif isinstance(event, ReplyEnd):
            expires_at = self._keep(text)
            if with_audio:
                yield from _sound_delta(b"" if self._sound is None else pcm16(self._sound.finish()))
                yield {"audio": {"expires_at": expires_at}}

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
        no_usage = {"usage": None} if self._asked.tells_usage else {}
        return _data({**self._chunk_head, "choices": [choice], **no_usage})

    def _usage(self, end: ReplyEnd) -> dict[str, int]:
        read = 0 if self._place.prompt is None else len(self._place.prompt)
        return {"prompt_tokens": read, "completion_tokens": len(end.ids), "total_tokens": read + len(end.ids)}

    @property
    def _chunk_head(self) -> dict[str, Any]:
        return self._head("chat.completion.chunk")

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._name}


def _sound_delta(data: bytes) -> Iterator[dict[str, Any]]:
    if data:
        yield {"audio": {"data": base64.b64encode(data).decode("ascii")}}


def _data(content: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def _reason(end: ReplyEnd) -> str:
    return "stop" if end.is_whole else "length"


def _read(content: dict[str, Any], served: ServedModel, given: GivenAnswers) -> _Asked:
    refuse_unless(content, _UNREAD, "the request")
    refuse_unknown(content, _KNOWN, "the request")
    is_streamed = field_of(content, "stream", bool, False)
    modalities = field_of(content, "modalities", list, ["text"])
    if modalities not in (["text"], ["text", "audio"], ["audio", "text"]):
        message = f"modalities are {shown(modalities)}: give ['text'] or ['text', 'audio']"
        raise Refusal("unsupported_parameter", message, param="modalities")
    voice, audio_format = _wanted_audio(content, "audio" in modalities, is_streamed, served)
    own = field_of(content, "cslm", dict, {})
    refuse_unknown(own, {"question_language", "answer_language"}, "cslm")
    languages = [
        known_language(said, served, name, spoken=name == "answer_language") if said is not None else None
        for name in ("answer_language", "question_language")
        for said in [field_of(own, name, str)]
    ]
    most = served.limits.max_new_tokens
    for name in ("max_tokens", "max_completion_tokens"):
        most = min(most, integer_of(content, name, most, 1, 2**31))
    if voice is not None and languages[0] not in (None, voice):
        message = f"audio.voice is {voice} and cslm.answer_language {languages[0]}: both are the answer's, give one"
        raise Refusal("conflicting_languages", message, param="answer_language")
    wishes = Wishes(
        voice or languages[0],
        languages[1],
        most,
        number_of(content, "temperature", 0.0, 0, 4),
        number_of(content, "top_p", 1.0, 0.01, 1),
        integer_of(content, "seed", 0, 0, MOST_SEED),
        audio_format is not None,
    )
    return _Asked(given.read(content), wishes, audio_format, is_streamed, _tells_usage(content, is_streamed))


def _tells_usage(content: dict[str, Any], is_streamed: bool) -> bool:
    options = field_of(content, "stream_options", dict)
    if options is not None and not is_streamed:
        raise Refusal("unsupported_parameter", "stream_options are for a stream: set stream", param="stream_options")
    refuse_unless(options or {}, {"include_obfuscation": (False,)}, "stream_options")
    refuse_unknown(options or {}, {"include_usage", "include_obfuscation"}, "stream_options")
    return bool(field_of(options or {}, "include_usage", bool, False))


def _wanted_audio(
    content: dict[str, Any], wanted: bool, is_streamed: bool, served: ServedModel
) -> tuple[str | None, str | None]:
    """The language that the voice stands for, and the format."""
    audio = field_of(content, "audio", dict)
    if not wanted:
        if audio is not None:
            raise Refusal("unsupported_parameter", "audio is given, and modalities have none: add it", param="audio")
        return None, None
    if not served.processor.speaks:
        raise Refusal("unsupported_parameter", "this model answers in text alone", param="modalities")
    if audio is None:
        raise Refusal("missing_parameter", "modalities have audio: give audio with voice and format", param="audio")
    refuse_unknown(audio, {"voice", "format"}, "audio")
    audio_format = field_of(audio, "format", str, "wav")
    formats = ("pcm16",) if is_streamed else ("wav", "pcm16")
    if audio_format not in formats:
        raise Refusal("unsupported_format", f"audio.format must be {' or '.join(formats)} here", param="format")
    voice = field_of(audio, "voice", str, AUTO)
    return None if voice == AUTO else known_language(voice, served, "voice", spoken=True), audio_format
