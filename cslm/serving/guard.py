"""Who may talk to the server: hosts, origins, a token, and how many at once. It stands before all routes."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator, Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cslm.serving.metrics import Metrics
from cslm.serving.refusals import Refusal

SUBPROTOCOL = "realtime"
TOKEN_SUBPROTOCOL = "openai-insecure-api-key."

_OPEN = {"/health"}  # without a token, as the page is
_SAFE_METHODS = {"GET", "HEAD"}
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}
"""Of every answer."""

_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]


class Guard:
    """ASGI middleware."""

    def __init__(
        self,
        app: ASGIApp,
        token: str | None,
        hosts: Sequence[str] | None,
        origins: Sequence[str],
        max_connections: int,
        metrics: Metrics,
    ) -> None:
        """Stand before an application.

        Args:
            token: that clients have to give; None for no token.
            hosts: names that the server may be called by, without ports; None for any.
            origins: further origins of pages that may use it (``https://example.org``).
            max_connections: of both kinds together.
        """
        self._app, self._token, self._max = app, token, max_connections
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._origins = {origin.lower().rstrip("/") for origin in origins}
        self._metrics = metrics
        self.num_open = 0
        """requests and WebSockets that are open"""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            self._metrics.count("cslm_requests_total", {"route": "refused", "status": str(refusal.status)})
            await refuse(scope, receive, send, refusal)
            return
        self.num_open += 1
        try:
            await self._app(scope, receive, _with_headers(send) if scope["type"] == "http" else send)
        finally:
            self.num_open -= 1

    def _refusal(self, scope: Scope) -> Refusal | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if self._hosts is not None and _without_port(host) not in self._hosts:
            return Refusal("wrong_host", f"this server is not {host[:60]!r}: call it by its own name", 403)
        origin = headers.get("origin")
        if origin is not None and not self._is_own(origin, host):
            message = f"pages of {origin[:60]!r} may not use this server: start it with allowed_origins"
            return Refusal("foreign_origin", message, 403)
        if self._token is not None and self._asks_for_token(scope) and not self._knows_token(scope, headers):
            message = "the token is missing or wrong: send the header Authorization: Bearer TOKEN"
            return Refusal("invalid_token", message, 401)
        if self.num_open >= self._max:
            return Refusal("too_many_connections", f"{self._max} connections are open: try again later", 503)
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        scheme, _, rest = origin.lower().partition("://")
        return origin.lower() in self._origins or (scheme in ("http", "https") and rest == host.lower() != "")

    def _asks_for_token(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return path not in _OPEN and (path.startswith("/v1/") or path == "/metrics")

    def _knows_token(self, scope: Scope, headers: Headers) -> bool:
        assert self._token is not None
        wanted, found = self._token.encode(), False
        for given in _given_tokens(scope, headers):
            found |= hmac.compare_digest(given.encode("utf-8", "replace"), wanted)
        return found


async def refuse(scope: Scope, receive: Receive, send: Send, refusal: Refusal) -> None:
    """Send a refusal, before a WebSocket opens too."""
    body = json.dumps({"error": refusal.to_dict()}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refusal.status == 503:
        headers.append((b"retry-after", b"1"))
    prefix = "http.response"
    if scope["type"] == "websocket":
        await receive()
        prefix = "websocket.http.response"
    await send({"type": f"{prefix}.start", "status": refusal.status, "headers": [*headers, *_HEADERS]})
    await send({"type": f"{prefix}.body", "body": body, "more_body": False})


def _given_tokens(scope: Scope, headers: Headers) -> Iterator[str]:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield token.strip()
    for name in scope.get("subprotocols", ()):
        if name.startswith(TOKEN_SUBPROTOCOL):
            yield name.removeprefix(TOKEN_SUBPROTOCOL)


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *_HEADERS]}
        await send(message)

    return sending
