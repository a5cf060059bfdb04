"""``/v1/audio/transcriptions`` and ``/v1/audio/speech``: the model as a recognizer and as a voice."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Generator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from cslm.errors import UserError
from cslm.serving.hearing import hear_wav
from cslm.serving.http_replies import PiecesResponse, unless_gone
from cslm.serving.places import Place
from cslm.serving.realtime_session import known_language
from cslm.serving.refusals import (
    MOST_SEED,
    Refusal,
    broken,
    field_of,
    integer_of,
    number_of,
    refuse_unknown,
    refuse_unless,
)
from cslm.serving.replies import events_of
from cslm.serving.request_bodies import read_body, read_form, read_json, text_fields
from cslm.serving.sent_audio import SentSound, pcm16, wav_file
from cslm.serving.served_model import ServedModel, Wishes

_UNREAD_FORM = {"prompt": ("",), "temperature": ("0", "0.0"), "stream": ("false", "False"), "include": ()}
_UNREAD_SPEECH = {"instructions": ("",), "speed": (1, 1.0), "stream_format": ("audio",)}


async def transcriptions(request: Request) -> Response:
    """What was said in a recording.

    Raises:
        Refusal: something that is not done here, or cannot be.
    """
    served: ServedModel = request.app.state.served
    served.places.check_room()
    data, fields = await _recording(request, served)
    refuse_unless(fields, _UNREAD_FORM, "the form")
    refuse_unknown(fields, {"model", "language", "response_format", *_UNREAD_FORM}, "the form")
    language, wanted = fields.get("language"), fields.get("response_format") or "json"
    if wanted not in ("json", "text"):
        raise Refusal("unsupported_format", "response_format must be json or text", param="response_format")
    if language is not None:
        known_language(language, served, "language", spoken=False)
    place = served.places.take()
    try:
        text = await unless_gone(request, _transcribe(served, data, language, place))
    finally:
        place.cancel()
        place.give_back()
    return PlainTextResponse(text) if wanted == "text" else JSONResponse({"text": text})


async def _transcribe(served: ServedModel, data: bytes, language: str | None, place: Place) -> str:
    heard = await hear_wav(served, data, "file")
    wishes = Wishes(max_new_tokens=served.limits.max_new_tokens)

    def work() -> Generator[str, None, None]:
        yield served.transcribe(heard.units, language, wishes, place)[0]

    events = events_of(work, place, served.threads, served.limits.reply_timeout_sec)
    async with contextlib.aclosing(events):
        async for text in events:
            return text
    raise broken()


async def _recording(request: Request, served: ServedModel) -> tuple[bytes, dict[str, Any]]:
    """The file and the fields of a form, or of a raw WAV file with a query."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind in ("audio/wav", "audio/x-wav", "audio/wave"):
        return await read_body(request, served.limits), dict(request.query_params)
    form = await read_form(request, served.limits)
    if "file" not in form or not form["file"].is_file:
        raise Refusal("missing_parameter", "the form has no file: send a WAV file", param="file")
    return form["file"].content, text_fields(form)


async def speech(request: Request) -> Any:
    """A text, spoken.

    Raises:
        Refusal: something that is not done here, or cannot be.
    """
    served: ServedModel = request.app.state.served
    served.places.check_room()
    content = await read_json(request, served.limits, with_sound=False)
    refuse_unless(content, _UNREAD_SPEECH, "the request")
    known = {"model", "input", "voice", "response_format", "cslm", *_UNREAD_SPEECH}
    refuse_unknown(content, known, "the request")
    text = field_of(content, "input", str, "").strip()
    if not text or len(text) > served.limits.max_text_chars:
        message = f"input has {len(text)} characters: give 1 to {served.limits.max_text_chars}"
        raise Refusal("out_of_range", message, param="input")
    language = _voice(content, served)
    wanted = field_of(content, "response_format", str, "wav")
    if wanted not in ("wav", "pcm"):
        raise Refusal("unsupported_format", "response_format must be wav or pcm", param="response_format")
    wishes = _speech_wishes(content, served)
    place, is_handed_on = served.places.take(), False
    pieces = _spoken(served, text, language, wishes, place)
    try:
        if wanted == "wav":
            return Response(wav_file(await unless_gone(request, _all(pieces))), media_type="audio/wav")
        first = await unless_gone(request, _first(pieces))  # what is refused is refused before the status is sent
        is_handed_on = True
        return PiecesResponse(_with_first(first, pieces), "audio/pcm;rate=24000", place)
    finally:
        if not is_handed_on:
            place.cancel()
            place.give_back()


def _voice(content: dict[str, Any], served: ServedModel) -> str:
    if served.processor.decoder is None:
        raise Refusal("unsupported_parameter", "this model has no voice", param="voice")
    voice = field_of(content, "voice", (str, dict), served.processor.decoder.voices[0])
    said = field_of(voice, "id", str, "") if isinstance(voice, dict) else voice
    try:
        served.processor.voice(said[:64])
    except UserError as error:
        raise Refusal("unknown_voice", str(error), param="voice") from None
    return said


def _speech_wishes(content: dict[str, Any], served: ServedModel) -> Wishes:
    own = field_of(content, "cslm", dict, {})
    refuse_unknown(own, {"temperature", "top_p", "seed"}, "cslm")
    return Wishes(
        max_new_tokens=served.limits.max_new_tokens,
        temperature=number_of(own, "temperature", 0.0, 0, 4),
        top_p=number_of(own, "top_p", 1.0, 0.01, 1),
        seed=integer_of(own, "seed", 0, 0, MOST_SEED),
    )


async def _spoken(
    served: ServedModel, text: str, language: str, wishes: Wishes, place: Place
) -> AsyncGenerator[bytes, None]:
    """PCM16 as it is made."""
    sound = SentSound(served.processor.speech_decoder().sample_rate_hz)

    def work() -> Generator[NDArray[np.float32], None, None]:
        return served.speak(text, language, wishes, place)

    events = events_of(work, place, served.threads, served.limits.reply_timeout_sec)
    async with contextlib.aclosing(events):
        async for samples in events:
            yield pcm16(sound.push(samples))
    yield pcm16(sound.finish())
    served.engine.metrics.count("cslm_audio_sent_seconds_total", by=sound.num_samples / 24000)


async def _first(pieces: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(pieces, b"")


async def _with_first(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(pieces):
        yield first
        async for piece in pieces:
            yield piece


async def _all(pieces: AsyncGenerator[bytes, None]) -> bytes:
    async with contextlib.aclosing(pieces):
        return b"".join([piece async for piece in pieces])
