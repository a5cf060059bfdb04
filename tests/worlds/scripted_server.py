"""A server that speaks the protocol of docs/serving.md by a script: its sound is known, and it can fail."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

PAGE = Path(__file__).resolve().parents[2] / "cslm" / "serving" / "page"
RATE_HZ = 24_000
SELF = "'self'"
POLICY = (
    f"default-src 'none'; script-src {SELF}; style-src {SELF}; img-src {SELF}; connect-src {SELF}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def tones(*hz: float, seconds: float = 0.5) -> np.ndarray:
    """One tone after the other, PCM16 ``(num_samples,)`` at 24 kHz."""
    times = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.concatenate([np.round(8000 * np.sin(2 * np.pi * one * times)) for one in hz]).astype(np.int16)


@dataclass
class Chunk:
    """A chunk of a scripted answer."""

    text: str
    units: list[int]
    sound: np.ndarray
    """PCM16 at 24 kHz"""


@dataclass
class Script:
    """What the server will do."""

    transcript: str = "What does Anna do?"
    languages: tuple[str, str] = ("en", "zh")
    question_units: tuple[int, ...] = (3, 20, 5, 21)
    thoughts: tuple[tuple[str, str], ...] = ()
    chunks: list[Chunk] = field(
        default_factory=lambda: [
            Chunk("安娜是面包师，", [4, 7, 9], tones(440, 550)),
            Chunk("大家都知道。", [9, 2], tones(660)),
            Chunk("就这些。", [1, 8], tones(770)),
        ]
    )
    piece_sec: float = 0.1
    """of sound in a delta"""
    pace: float = 0.5
    """seconds that a second of sound takes to come"""
    stall_sec: float = 0.0
    """before the sound of the second chunk"""
    status: str = "completed"
    token: str | None = None
    refuse: int | None = None
    """HTTP status of every WebSocket that is asked for"""
    voice_starts_ms: int | None = None
    """with ``turn_detection``: when enough has come, speech was heard from here ..."""
    voice_ends_ms: int = 0
    """... to here"""
    drop_after: str | None = None
    """an event of the client after which the connection is closed"""


class Connection:
    """One WebSocket, by the script."""

    def __init__(self, socket: WebSocket, server: ScriptedServer) -> None:
        self.socket, self.server, self.script = socket, server, server.script
        self.session = session()
        self.number = 0
        self.heard_samples = 0
        self.voice = "none"
        self.question = ""
        self.reply: asyncio.Task[None] | None = None
        self.status = "completed"

    async def send(self, kind: str, **fields: Any) -> None:
        self.number += 1
        await self.socket.send_json({"type": kind, "event_id": f"event_{self.number}", **fields})

    async def run(self) -> None:
        await self.send("session.created", session=self.session)
        while True:
            event = await self.socket.receive_json()
            self.server.events.append(event)
            await self.take(event)
            if event["type"] == self.script.drop_after:
                await self.socket.close(1001)
                return

    async def take(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "session.update":
            given = event["session"]
            self.session["audio"]["input"]["turn_detection"] = given["audio"]["input"]["turn_detection"]
            self.session["cslm"].update(given["cslm"])
            await self.send("session.updated", session=self.session)
        elif kind == "input_audio_buffer.append":
            self.heard_samples += len(base64.b64decode(event["audio"])) // 2
            await self.listen()
        elif kind == "input_audio_buffer.commit":
            await self.commit()
        elif kind == "conversation.item.create":
            await self.question_is(f"item_{len(self.server.events)}")
        elif kind == "response.create":
            self.reply = asyncio.create_task(self.answer())
        elif kind == "response.cancel" and self.reply is not None:
            self.status = "cancelled"

    async def listen(self) -> None:
        """Speech begins and ends where the script says."""
        if self.session["audio"]["input"]["turn_detection"] is None or self.script.voice_starts_ms is None:
            return
        heard_ms = 1000 * self.heard_samples / RATE_HZ
        if self.voice == "none" and heard_ms > self.script.voice_starts_ms + 100:
            self.voice = "speech"
            self.question = f"spoken_{len(self.server.events)}"
            start = self.script.voice_starts_ms
            await self.send("input_audio_buffer.speech_started", audio_start_ms=start, item_id=self.question)
        elif self.voice == "speech" and heard_ms > self.script.voice_ends_ms + 100:
            self.voice = "over"
            end = self.script.voice_ends_ms
            await self.send("input_audio_buffer.speech_stopped", audio_end_ms=end, item_id=self.question)
            await self.commit()
            self.reply = asyncio.create_task(self.answer())

    async def commit(self) -> None:
        item = f"item_{len(self.server.events)}" if self.voice == "none" else self.question
        self.voice = "over" if self.voice == "speech" else self.voice
        await self.send("input_audio_buffer.committed", item_id=item, previous_item_id=None)
        await self.question_is(item)

    async def question_is(self, item: str) -> None:
        self.question = item
        await self.send("conversation.item.added", item={"id": item, "role": "user"}, previous_item_id=None)

    async def answer(self) -> None:
        response, item = f"resp_{self.question}", f"answer_{self.question}"
        self.status = self.script.status
        await self.send("response.created", response={"id": response, "status": "in_progress"})
        answer = {"id": item, "role": "assistant"}
        await self.send("response.output_item.added", response_id=response, output_index=0, item=answer)
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            if self.status != "failed":
                await self.say({"response_id": response, "item_id": item})
            details = {"failed": {"error": {"code": "server_error"}}, "cancelled": {"reason": "client_cancelled"}}
            done = {"id": response, "status": self.status, "status_details": details.get(self.status)}
            await self.send("response.done", response=done)

    async def say(self, ids: dict[str, str]) -> None:
        script, asked = self.script, {"item_id": self.question, "content_index": 0}
        heard = {"response_id": ids["response_id"], "item_id": self.question, "units": list(script.question_units)}
        spoken = dict(zip(("question_language", "answer_language"), script.languages, strict=True))
        await self.send("cslm.question.heard", **heard, **spoken, num_ids_read_ahead=0, time_ms=11.0)
        if script.transcript:
            name = "conversation.item.input_audio_transcription"
            await self.send(f"{name}.delta", **asked, delta=script.transcript)
            await self.send(f"{name}.completed", **asked, transcript=script.transcript, usage={})
        for name, text in script.thoughts:
            await self.send("cslm.text.delta", **ids, field=name, delta=text)
        sample, unit = 0, 0
        for number, chunk in enumerate(script.chunks):
            await self.send("response.output_audio_transcript.delta", **ids, delta=chunk.text)
            await self.send("cslm.chunk.delta", **ids, chunk=number, delta=chunk.text)
            units = {"chunk": number, "first_unit": unit, "units": chunk.units}
            await self.send("cslm.units.delta", **ids, **units, num_ids=9, time_ms=30.0)
            unit += len(chunk.units)
            if number == 1:
                await asyncio.sleep(script.stall_sec)
            if not await self.sound(ids, number, chunk, sample):
                return
            sample += len(chunk.sound)
        await self.send("response.output_audio.done", **ids)
        await self.send("cslm.reply.ids", **ids, ids=[1, 2, 3], is_whole=True, prompt=PROMPT, reply=self.written())
        await self.latency("end", ids, 900.0)

    async def sound(self, ids: dict[str, str], number: int, chunk: Chunk, first: int) -> bool:
        """Piece by piece; False where the reply was cancelled."""
        size = round(self.script.piece_sec * RATE_HZ)
        for place in range(0, len(chunk.sound), size):
            if self.status == "cancelled":
                return False
            piece = chunk.sound[place : place + size]
            await self.send("response.output_audio.delta", **ids, delta=base64.b64encode(piece.tobytes()).decode())
            if number == 0 and place == 0:
                await self.latency("first_audio", ids, 40.0)
            starts = [[number, first]] if place == 0 else []
            borders = {"first_sample": first + place, "num_samples": len(piece), "unit_ends": []}
            await self.send("cslm.audio.borders", **ids, **borders, chunk_starts=starts)
            await asyncio.sleep(self.script.pace * len(piece) / RATE_HZ)
        return True

    async def latency(self, part: str, ids: dict[str, str], time_ms: float) -> None:
        await self.send("cslm.latency", **ids, part=part, time_ms=time_ms, num_ids=1)

    def written(self) -> str:
        said = [f"{one.text}<sosp>{''.join(f'<{unit}>' for unit in one.units)}<eosp>" for one in self.script.chunks]
        return f"[question]: {self.script.transcript}; [answer]: {''.join(said)}"


PROMPT = "Answer in Chinese: <sosp><3><20><5><21><eosp>."


def session() -> dict[str, Any]:
    return {
        "type": "realtime",
        "model": "finetune",
        "audio": {"input": {"turn_detection": {"type": "server_vad"}}},
        "cslm": {"languages": ["en", "zh"], "voices": ["en", "zh"], "speaks": True, "max_audio_sec": 60.0},
    }


class ScriptedServer:
    """The page at ``/`` and ``/v1/realtime``, on a thread."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.events: list[dict[str, Any]] = []
        """of the clients, in order"""
        self.address = ""

    def heard(self) -> np.ndarray:
        """PCM16 of all that was appended."""
        pieces = [base64.b64decode(event["audio"]) for event in self.of("input_audio_buffer.append")]
        return np.frombuffer(b"".join(pieces), "<i2")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["type"] == kind]

    def sound(self) -> np.ndarray:
        return np.concatenate([chunk.sound for chunk in self.script.chunks])

    async def _realtime(self, socket: WebSocket) -> None:
        key = f"openai-insecure-api-key.{self.script.token}"
        wrong = self.script.token is not None and key not in socket.scope["subprotocols"]
        refuse = 401 if wrong else self.script.refuse
        if refuse is not None:
            await socket.send_denial_response(JSONResponse({"error": {"message": "no"}}, refuse))
            return
        await socket.accept("realtime")
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):
            await Connection(socket, self).run()

    async def _models(self, request: Request) -> Response:
        token = self.script.token
        if token is not None and request.headers.get("authorization") != f"Bearer {token}":
            return JSONResponse({"error": {"message": "the token is wrong"}}, 401)
        if self.script.refuse is not None:
            return JSONResponse({"error": {"message": "allowed origins are others"}}, self.script.refuse)
        return JSONResponse({"data": []})

    async def _page(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_policy(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"content-security-policy", POLICY.encode()))
            await send(message)

        await StaticFiles(directory=PAGE, html=True)(scope, receive, with_policy)

    @contextlib.contextmanager
    def running(self) -> Iterator[ScriptedServer]:
        routes = [
            WebSocketRoute("/v1/realtime", self._realtime),
            Route("/v1/models", self._models),
            Mount("/", app=self._page),
        ]
        options: Any = {"port": 0, "log_level": "error", "lifespan": "off", "ws": "websockets-sansio"}
        config = uvicorn.Config(Starlette(routes=routes), **options)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive(), "the server did not start"
        self.address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
        try:
            yield self
        finally:
            server.should_exit = server.force_exit = True
            thread.join(timeout=10)
