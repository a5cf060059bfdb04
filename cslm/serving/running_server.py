"""The server itself: a socket, the model's threads, and uvicorn in the thread that runs it or in one of its own."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cslm.errors import MissingExtraError, UserError
from cslm.serving.limits import LimitsConfig

LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
"""What a server that listens on this machine alone may be called."""

_MOST_HEAD_BYTES = 32 * 1024
_CONNECTIONS_BEYOND = 64  # further ones that get a refusal with its reason; beyond them uvicorn's own


@dataclass
class ServerOptions:
    """Where it listens, and to whom."""

    host: str = "127.0.0.1"
    """the address"""
    port: int = 8000
    """0: a free one"""
    token: str | None = None
    """that clients have to give"""
    hosts: Sequence[str] | None = None
    """names that it may be called by; None for any"""
    origins: Sequence[str] = ()
    """of further pages that may use it"""
    page: Path | None = None
    """the folder of the page (default: the package's)"""
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    """of what clients may do"""
    voice_activity: str = "energy"
    """what tells where somebody speaks"""
    decoder_process: bool = False
    """speech is made in a process of its own: faster where both models run on the CPU"""


def worth_a_process(model: Any) -> bool:
    """Whether a model's decoder is faster in one: both run on the CPU, which has more than one core."""
    return model.processor.speaks and model.device.type == "cpu" and (os.cpu_count() or 1) > 1


class RunningServer:
    """A model that is served."""

    def __init__(self, model: Any, name: str, options: ServerOptions) -> None:
        """Listen, and start the threads of the model. Nobody is answered before :meth:`run`.

        Raises:
            MissingExtraError: the packages of the extra ``serve`` are missing.
            UserError: an address that cannot be listened on.
        """
        try:
            import uvicorn

            from cslm.serving.app import build_app
            from cslm.serving.bounded_protocols import bounded_protocols
        except ModuleNotFoundError as error:
            raise MissingExtraError(str(error.name), "serve", "serving a model") from error
        from cslm.serving.page_files import PAGE
        from cslm.serving.served_model import ServedModel

        self._socket = _listen(options.host, options.port)
        self.served = ServedModel(model, options.limits, options.voice_activity, options.decoder_process)
        self.served.engine.when_dead = self._fail
        self._has_failed = False
        app = build_app(self.served, name, options.token, options.hosts, options.origins, options.page or PAGE)
        http, websocket = bounded_protocols(options.limits)
        config = uvicorn.Config(
            app,
            http=http,
            ws=websocket,
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws_max_size=options.limits.max_message_bytes * 4 // 3 + 4096,  # base64, and what is around it
            ws_per_message_deflate=False,  # a small message could become a large one
            ws_ping_interval=10.0,
            ws_ping_timeout=10.0,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=3,
            limit_concurrency=options.limits.max_connections + _CONNECTIONS_BEYOND,
            h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
        )
        self._server = uvicorn.Server(config)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._socket.getsockname()[1])

    def run(self) -> None:
        """Serve until a signal, or :meth:`stop`, and close everything.

        Raises:
            RuntimeError: the thread of the model ended by itself.
        """
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self.served.close()
        if self._has_failed:
            raise RuntimeError("the engine ended, and the server with it: what is printed above says why")

    def stop(self) -> None:
        """End :meth:`run`: from another thread."""
        self._server.should_exit = True

    def _fail(self) -> None:
        """Without the engine nobody is answered: whoever watches the process starts another."""
        print("error: the engine ended: the server stops", flush=True)
        self._has_failed = True
        self.stop()

    @contextlib.contextmanager
    def in_background(self) -> Iterator[RunningServer]:
        """Run it on a thread, while the block runs."""
        thread = threading.Thread(target=self.run, name="server", daemon=True)
        thread.start()
        while not self._server.started and thread.is_alive():
            time.sleep(0.005)
        try:
            yield self
        finally:
            self.stop()
            thread.join()


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _listen(host: str, port: int) -> socket.socket:
    try:
        (family, *_, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    except OSError as error:
        raise UserError(f"host {host} cannot be listened on ({error.strerror}): give another") from error
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # those that it accepts have it too
    try:
        listening.bind(address)
        listening.listen(128)  # from now on: who comes early waits
    except OSError as error:
        listening.close()
        why = os.strerror(error.errno or 0)
        raise UserError(f"port {port} of {host} cannot be listened on ({why}): give another, --port PORT") from error
    return listening
