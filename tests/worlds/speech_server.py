"""An endpoint for speech on this machine, as ``/v1/audio/speech``: it says a tone for each text, or fails as told."""

from __future__ import annotations

import contextlib
import io
import json
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import soundfile

Script = Callable[[dict[str, Any], int], int | bytes | None]
"""The body of a request, and how often the same came before -> a status, a body, or None for a tone."""


@dataclass
class SpeechServer:
    """Where the endpoint is, and what it was sent."""

    base_url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)


@contextlib.contextmanager
def speech_server(script: Script = lambda body, before: None) -> Iterator[SpeechServer]:
    """An endpoint that follows a script, while the block runs."""
    lock = threading.Lock()
    server: SpeechServer

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                before = sum(other == body for other in server.bodies)
                server.bodies.append(body)
                server.keys.append(self.headers.get("Authorization"))
            answer = script(body, before) if self.path == "/v1/audio/speech" else 404
            content = tone(body) if answer is None else answer
            status, sent = (200, content) if isinstance(content, bytes) else (content, b'{"error": {"message": "no"}}')
            with contextlib.suppress(OSError):
                self.send_response(status)
                self.send_header("Content-Type", "audio/wav" if status == 200 else "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.send_header("retry-after-ms", "1")
                self.end_headers()
                self.wfile.write(sent)

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.daemon_threads = True
    server = SpeechServer(f"http://127.0.0.1:{listening.server_address[1]}/v1")
    threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server
    finally:
        listening.shutdown()
        listening.server_close()


def tone(body: dict[str, Any], rate_hz: int = 8000) -> bytes:
    """0.2 s of a tone whose pitch is the text's and the voice's, as the request wants it."""
    pitch_hz = 200 + zlib.crc32(f"{body['voice']} {body['input']}".encode()) % 2000
    waveform = 0.5 * np.sin(2 * np.pi * pitch_hz * np.arange(rate_hz // 5) / rate_hz)
    if body["response_format"] == "pcm":
        return (waveform * 32767).astype("<i2").tobytes()
    content = io.BytesIO()
    soundfile.write(content, waveform, rate_hz, format="WAV", subtype="PCM_16")
    return content.getvalue()
