"""Answers over HTTP that end when the client goes: whole ones, and streams of pieces."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from cslm.serving.places import Place
from cslm.serving.refusals import Refusal

T = TypeVar("T")


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is cancelled when the client goes.

    Raises:
        ClientGoneError: it has gone.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_until_gone(request.receive))
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGoneError
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            if not working.done():
                await working


class PiecesResponse:
    """A body that comes in pieces, as they are made. When the client goes, their place is free.

    A refusal that comes after the first piece breaks the connection off: the body has no end, and clients say so.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None], media_type: str, place: Place) -> None:
        self._pieces, self._media_type, self._place = pieces, media_type, place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        try:
            await self._respond(receive, send)
        finally:
            self._place.cancel()
            self._place.give_back()

    async def _respond(self, receive: Receive, send: Send) -> None:
        kind = self._media_type.encode("latin-1")
        headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        leaving = asyncio.create_task(_until_gone(receive))
        sending = asyncio.create_task(self._send(send))
        try:
            await asyncio.wait([sending, leaving], return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not sending.done():
                sending.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                try:
                    await sending
                except Refusal as refusal:
                    print(f"error: an answer was broken off: {refusal}", flush=True)

    async def _send(self, send: Send) -> None:
        async with contextlib.aclosing(self._pieces) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
