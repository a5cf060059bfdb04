"""A client of the Realtime protocol that sees everything as it is sent."""

from __future__ import annotations

import base64
import json
from types import TracebackType
from typing import Any

from websockets.sync.client import connect

from tests.worlds.served import base64_of, pcm

MANUAL = {"audio": {"input": {"turn_detection": None}}}
"""A session in which the client commits."""


class RealtimeClient:
    """One connection; its first event was read."""

    def __init__(self, address: str, session: dict[str, Any] | None = None, **given: Any) -> None:
        given = {
            "open_timeout": 600,
            "ping_interval": None,
            "close_timeout": 600,
            **given,
        }  # however busy the machine is
        self._socket = connect(f"ws://{address}/v1/realtime", max_size=None, compression=None, **given)
        self.first = self.next()
        if session is not None:
            self.send("session.update", session=session)
            assert self.next()["type"] == "session.updated"

    def __enter__(self) -> RealtimeClient:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    @property
    def subprotocol(self) -> str | None:
        return self._socket.subprotocol

    def send(self, kind: str, **fields: Any) -> None:
        self.send_text(json.dumps({"type": kind, **fields}))

    def send_text(self, text: str) -> None:
        self._socket.send(text)

    def next(self, timeout: float = 600) -> dict[str, Any]:
        return json.loads(self._socket.recv(timeout))

    def until(self, kind: str) -> list[dict[str, Any]]:
        """The events up to one of a kind, this one included."""
        events = [self.next()]
        while events[-1]["type"] != kind:
            events.append(self.next())
        return events

    def ask(self, samples: Any = None, piece: int = 4800) -> None:
        """A question in pieces, committed, and the wish for its answer."""
        data = pcm(samples)
        for start in range(0, len(data), piece):
            self.send("input_audio_buffer.append", audio=base64_of(data[start : start + piece]))
        self.send("input_audio_buffer.commit")
        self.send("response.create")

    def answer(self, samples: Any = None) -> list[dict[str, Any]]:
        """The events of the answer to a question."""
        self.ask(samples)
        return self.until("response.done")

    def drop(self) -> None:
        """Be gone, without a word."""
        self._socket.socket.close()


def said(events: list[dict[str, Any]]) -> str:
    """The transcript of an answer."""
    return "".join(one["delta"] for one in events if one["type"] == "response.output_audio_transcript.delta")


def sound(events: list[dict[str, Any]]) -> bytes:
    """The sound of an answer."""
    return b"".join(base64.b64decode(one["delta"]) for one in events if one["type"] == "response.output_audio.delta")


def of_kind(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    """The events of one kind."""
    return [one for one in events if one["type"] == kind]
