"""A chat endpoint on this machine that fails in every way that it is told to."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Say:
    """A reply of status 200."""

    text: str | None
    finish: str = "stop"


@dataclass(frozen=True)
class Status:
    """Another status; the client may try again at once."""

    code: int


@dataclass(frozen=True)
class Raw:
    """A body of status 200 as it is."""

    body: str


@dataclass(frozen=True)
class Wait:
    """An answer that comes too late."""

    sec: float


class HangUp:
    """The connection is closed before there is an answer."""


Answer = Say | Status | Raw | Wait | HangUp
Script = Callable[[dict[str, Any], int], Answer]
"""The body of a request, and how often the same body came before (0 at first) -> what to answer."""


@dataclass
class ChatServer:
    """Where the endpoint is, and what it was sent: all bodies, in order, and the keys that came with them."""

    base_url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    @property
    def asked(self) -> list[str]:
        """The last message of each request."""
        return [body["messages"][-1]["content"] for body in self.bodies]


@contextlib.contextmanager
def chat_server(script: Script) -> Iterator[ChatServer]:
    """An endpoint that follows a script, while the block runs."""
    lock = threading.Lock()
    server: ChatServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            body = json.loads(content)
            with lock:
                before = sum(other == body for other in server.bodies)
                server.bodies.append(body)
                server.keys.append(self.headers.get("Authorization"))
            self._answer(script(body, before) if self.path.endswith("/chat/completions") else Status(404))

        def _answer(self, answer: Answer) -> None:
            if isinstance(answer, HangUp):
                self.close_connection = True
                self.connection.close()
            elif isinstance(answer, Wait):
                time.sleep(answer.sec)
                self._send(200, _completion("too late", "stop"))
            elif isinstance(answer, Status):
                self._send(answer.code, json.dumps({"error": {"message": f"this is a {answer.code}"}}))
            elif isinstance(answer, Raw):
                self._send(200, answer.body)
            else:
                self._send(200, _completion(answer.text, answer.finish))

        def _send(self, code: int, body: str) -> None:
            content = body.encode("utf-8")
            with contextlib.suppress(OSError):  # who asked may be gone
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server = ChatServer(f"http://127.0.0.1:{listening.server_address[1]}/v1")
    thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()


def _completion(text: str | None, finish: str) -> str:
    message = {"role": "assistant", "content": text}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "choices": [{"message": message, "finish_reason": finish}]}
    )
