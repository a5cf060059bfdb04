"""The application: which route does what, and how refusals and faults are told."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from cslm.serving.audio_routes import speech, transcriptions
from cslm.serving.chat_completions import chat_completions
from cslm.serving.chat_messages import GivenAnswers
from cslm.serving.guard import HEADERS, SUBPROTOCOL, Guard
from cslm.serving.http_replies import ClientGoneError
from cslm.serving.page_files import PAGE, PageFiles
from cslm.serving.realtime import RealtimeConnection
from cslm.serving.refusals import Refusal, broken
from cslm.serving.served_model import ServedModel

Handler = Callable[[Request], Awaitable[Any]]


def build_app(
    served: ServedModel,
    name: str,
    token: str | None = None,
    hosts: Sequence[str] | None = None,
    origins: Sequence[str] = (),
    page: Path = PAGE,
) -> Starlette:
    """The application of one model.

    Args:
        name: what the model is called.
        token, hosts, origins: as :class:`~cslm.serving.guard.Guard` takes them.
        page: the folder of the page's files.
    """
    files = PageFiles(page)
    routes = [
        _route("/v1/chat/completions", chat_completions, "POST"),
        _route("/v1/audio/transcriptions", transcriptions, "POST"),
        _route("/v1/audio/speech", speech, "POST"),
        _route("/v1/models", _models, "GET"),
        _route("/v1/models/{model}", _models, "GET"),
        _route("/health", _health, "GET"),
        _route("/metrics", _metrics, "GET"),
        _route("/", files.answer, "GET"),
        _route("/{name}", files.answer, "GET"),
        WebSocketRoute("/v1/realtime", _realtime),
    ]
    guard: dict[str, Any] = {"token": token, "hosts": hosts, "origins": origins, "metrics": served.engine.metrics}
    guard["max_connections"] = served.limits.max_connections
    handlers = {Refusal: _told, HTTPException: _told_plain, ClientGoneError: _gone, Exception: _told_fault}
    app = Starlette(routes=routes, middleware=[Middleware(Guard, **guard)], exception_handlers=handlers)
    app.router.redirect_slashes = False
    app.state.served, app.state.name, app.state.created, app.state.num_sessions = served, name, int(time.time()), 0
    app.state.given_answers = GivenAnswers(served.limits)
    return app


def _route(path: str, handler: Handler, method: str) -> Route:
    async def counted(request: Request) -> Any:
        metrics, status = request.app.state.served.engine.metrics, "500"
        try:
            response = await handler(request)
            status = str(getattr(response, "status_code", 200))
            return response
        except Refusal as refusal:
            status = str(refusal.status)
            raise
        except ClientGoneError:
            status = "499"
            raise
        finally:
            metrics.count("cslm_requests_total", {"route": path, "status": status})

    return Route(path, counted, methods=[method])


async def _realtime(socket: WebSocket) -> None:
    offered = socket.scope.get("subprotocols", ())
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    state = socket.app.state
    state.num_sessions += 1
    try:
        await RealtimeConnection(socket, state.served, state.name).run()
    finally:
        state.num_sessions -= 1


async def _models(request: Request) -> Response:
    state = request.app.state
    model = {"id": state.name, "object": "model", "created": state.created, "owned_by": "cslm"}
    wanted = request.path_params.get("model")
    if wanted is None:
        return JSONResponse({"object": "list", "data": [model]})
    if wanted != state.name:
        raise Refusal("model_not_found", f"there is one model here: {state.name}", 404, "model")
    return JSONResponse(model)


async def _health(request: Request) -> Response:
    served: ServedModel = request.app.state.served
    is_alive = served.engine.is_alive
    at_work, waiting = served.places.counts()
    told = {"status": "ok" if is_alive else "failed", "replies": at_work, "waiting": waiting}
    return JSONResponse(told, 200 if is_alive else 503)


async def _metrics(request: Request) -> Response:
    state = request.app.state
    at_work, waiting = state.served.places.counts()
    gauges = {"cslm_replies_open": at_work, "cslm_replies_waiting": waiting}
    gauges |= {"cslm_sessions_open": state.num_sessions, "cslm_engine_up": float(state.served.engine.is_alive)}
    return PlainTextResponse(state.served.engine.metrics.text(gauges), media_type="text/plain; version=0.0.4")


async def _told(request: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, Refusal)
    headers = {"retry-after": "1"} if refusal.status == 503 else {}
    if refusal.status in (408, 413):
        headers["connection"] = "close"  # what is still to come is not read
    return JSONResponse({"error": refusal.to_dict()}, refusal.status, headers)


async def _told_plain(request: Request, error: Exception) -> Response:
    """What the router refuses: no such route, or not by this method."""
    assert isinstance(error, HTTPException)
    code = "method_not_allowed" if error.status_code == 405 else "not_found"
    message = f"{request.method} {request.url.path[:60]!r} is nothing that this server does"
    told = Refusal(code, message, error.status_code).to_dict()
    return JSONResponse({"error": told}, error.status_code, error.headers)


async def _told_fault(request: Request, error: Exception) -> Response:
    """The traceback goes to the log. This answer does not pass the guard."""
    return JSONResponse({"error": broken().to_dict()}, 500, HEADERS)


async def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)
