"""Connections with deadlines: a request must come, and what is sent must be taken, within a time."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from cslm.serving.limits import LimitsConfig


def bounded_protocols(limits: LimitsConfig) -> tuple[type[asyncio.Protocol], type[asyncio.Protocol]]:
    """The classes for HTTP and for WebSockets, as uvicorn takes them."""

    class BoundedWebSocket(_SendDeadline, WebSocketsSansIOProtocol):
        send_timeout_sec = limits.send_timeout_sec

    class BoundedHTTP(_SendDeadline, _HeadDeadline, H11Protocol):
        send_timeout_sec = limits.send_timeout_sec
        receive_timeout_sec = limits.receive_timeout_sec

    return BoundedHTTP, BoundedWebSocket


class _SendDeadline:
    """Drops a client that takes in nothing for too long."""

    send_timeout_sec: float
    loop: asyncio.AbstractEventLoop
    transport: Any
    _sending: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        super().pause_writing()  # type: ignore[misc]
        if self._sending is None:
            self._sending = self.loop.call_later(self.send_timeout_sec, self._drop)

    def resume_writing(self) -> None:
        self._taken_in()
        super().resume_writing()  # type: ignore[misc]

    def connection_lost(self, exc: Exception | None) -> None:
        self._taken_in()
        super().connection_lost(exc)  # type: ignore[misc]

    def _taken_in(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def _drop(self) -> None:
        self._sending = None
        self.transport.abort()


class _HeadDeadline:
    """Drops a client whose request line and headers do not come."""

    receive_timeout_sec: float
    loop: asyncio.AbstractEventLoop
    transport: Any
    cycle: Any
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)  # type: ignore[misc]
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)  # type: ignore[misc]
        upgraded = self.transport.get_protocol() is not self
        if upgraded or (self.cycle is not None and not self.cycle.response_complete):
            self._came()
        elif self._waiting is None and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._came()
        super().connection_lost(exc)  # type: ignore[misc]

    def _wait(self) -> None:
        self._waiting = self.loop.call_later(self.receive_timeout_sec, self.transport.abort)

    def _came(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
