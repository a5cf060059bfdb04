"""Who may talk to the server: hosts, origins, tokens, numbers and deadlines."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from cslm.serving.page_files import PAGE
from cslm.serving.running_server import is_loopback
from tests.worlds.realtime_client import MANUAL, RealtimeClient
from tests.worlds.served import serving

TOKEN = "a token of some length"


def get(address: str, path: str, method: str = "GET", **headers: str) -> tuple[int, Any, dict[str, str]]:
    connection = HTTPConnection(address, timeout=600)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    told = {name.lower(): value for name, value in response.getheaders()}
    return response.status, json.loads(body) if told.get("content-type") == "application/json" else body, told


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<!doctype html><title>Talk</title>", encoding="utf-8")
    (folder / "talk.js").write_text("'use strict';", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def guarded(speaking: Any, page: Path) -> Iterator[str]:
    with serving(speaking, token=TOKEN, page=page, origins=["https://example.org"]) as server:
        yield f"127.0.0.1:{server.port}"


def test_a_token_is_asked_for_on_every_route_but_the_page_and_health(guarded: str) -> None:
    for path in ("/v1/models", "/metrics", "/v1/chat/completions", "/v1/nothing"):
        status, told, headers = get(guarded, path)
        assert (status, told["error"]["code"]) == (401, "invalid_token") and headers["www-authenticate"] == "Bearer"
        assert get(guarded, path, Authorization="Bearer nonsense")[0] == 401
    assert get(guarded, "/v1/models", Authorization=f"Bearer {TOKEN}")[0] == 200
    assert get(guarded, "/health")[0] == get(guarded, "/")[0] == 200


def test_a_websocket_needs_it_too(guarded: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        RealtimeClient(guarded)
    assert refused.value.response.status_code == 401 and b"invalid_token" in refused.value.response.body
    with RealtimeClient(guarded, additional_headers={"Authorization": f"Bearer {TOKEN}"}) as client:
        assert client.subprotocol is None


def test_a_browser_gives_it_as_a_subprotocol(speaking: Any) -> None:
    token = "a-token-of-some-length"
    with serving(speaking, token=token) as server:
        address = f"127.0.0.1:{server.port}"
        with RealtimeClient(address, subprotocols=["realtime", f"openai-insecure-api-key.{token}"]) as client:
            assert client.subprotocol == "realtime"
        with pytest.raises(InvalidStatus):
            RealtimeClient(address, subprotocols=["realtime", "openai-insecure-api-key.other"])


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "file://", "http://[", ""])
def test_foreign_pages_are_refused(address: str, origin: str) -> None:
    status, told, _ = get(address, "/v1/chat/completions", "POST", Origin=origin)
    assert (status, told["error"]["code"]) == (403, "foreign_origin")
    with pytest.raises(InvalidStatus) as refused:
        RealtimeClient(address, additional_headers={"Origin": origin})
    assert refused.value.response.status_code == 403


def test_own_pages_and_named_ones_are_let_in(address: str, guarded: str) -> None:
    with RealtimeClient(address, additional_headers={"Origin": f"http://{address}"}) as client:
        assert client.first["type"] == "session.created"
    bearer = {"Authorization": f"Bearer {TOKEN}", "Origin": "https://example.org"}
    with RealtimeClient(guarded, additional_headers=bearer) as client:
        assert client.first["type"] == "session.created"


OTHER_NAMES = ["evil.example", "evil.example:8000", "localhost.evil.example", "a@localhost", "[", "[::2]:80", ""]


@pytest.mark.parametrize("host", OTHER_NAMES)
def test_another_name_of_the_host_is_refused(address: str, host: str) -> None:
    """A name whose address was changed to this machine's would make any page an own one."""
    status, told, _ = get(address, "/v1/models", Host=host)
    assert (status == 403 and told["error"]["code"] == "wrong_host") or (status == 400 and not host)


def test_the_page_loads_nothing_from_elsewhere(address: str) -> None:
    status, body, headers = get(address, "/")
    assert status == 200 and body == (PAGE / "index.html").read_bytes()
    assert headers["content-type"].startswith("text/html")
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in headers["content-security-policy"] and "http" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
    for name in re.findall(r'(?:src|href)="([^"#]+)"', body.decode()):
        assert get(address, f"/{name}")[0] == 200
    assert get(address, "/app.js")[2]["content-type"].startswith("text/javascript")


def test_a_fault_had_no_headers_of_the_guard(speaking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(speaking) as server:
        monkeypatch.setattr(type(server.served.places), "counts", lambda self: 1 // 0)
        status, told, headers = get(f"127.0.0.1:{server.port}", "/health")
    assert status == 500 and told["error"]["code"] == "server_error"
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("path", ["/../talk.js", "/..%2ftalk.js", "/page/talk.js", "//talk.js", "/talk.js%00", "/."])
def test_only_the_files_of_the_page_are_given(guarded: str, path: str) -> None:
    assert get(guarded, path)[0] == 404


def test_no_more_connections_than_may_be(speaking: Any) -> None:
    with serving(speaking, max_connections=2) as server:
        address = f"127.0.0.1:{server.port}"
        clients = [RealtimeClient(address) for _ in range(2)]
        with pytest.raises(InvalidStatus) as refused:
            RealtimeClient(address)
        assert refused.value.response.status_code == 503
        assert get(address, "/v1/models")[1]["error"]["code"] == "too_many_connections"
        for client in clients:
            client.__exit__(None, None, None)
        end = time.monotonic() + 600
        while get(address, "/v1/models")[0] != 200:
            assert time.monotonic() < end


def test_a_request_that_does_not_come_is_given_up(speaking: Any) -> None:
    with serving(speaking, receive_timeout_sec=0.3) as server:
        for begun in (b"", b"POST /v1/audio/speech HT", b"GET / HTTP/1.1\r\nHost: loca"):
            with socket.create_connection(("127.0.0.1", server.port), timeout=600) as raw:
                raw.sendall(begun)
                assert raw.recv(1000) == b""
        with socket.create_connection(("127.0.0.1", server.port), timeout=600) as raw:
            head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\n"
            raw.sendall(head + b"Content-Length: 100\r\n\r\nRIFF")
            assert b"408" in raw.recv(1000)


def test_a_session_ends(speaking: Any) -> None:
    from websockets.exceptions import ConnectionClosed

    with serving(speaking, session_timeout_sec=0.5) as server:
        with pytest.raises(ConnectionClosed) as closed:
            RealtimeClient(f"127.0.0.1:{server.port}").next()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008


def test_a_client_that_reads_nothing_is_dropped(speaking: Any) -> None:
    with serving(speaking, send_timeout_sec=0.5) as server:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.connect(("127.0.0.1", server.port))
        head = b"GET /v1/realtime HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        raw.sendall(head + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n")
        text = b'{"type": "session.update", "session": {}}'
        frame = bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text  # a mask of zeros
        raw.settimeout(0.2)
        end = time.monotonic() + 600
        gone = False
        while not gone:
            assert time.monotonic() < end, "it was never dropped"
            try:
                raw.sendall(frame * 50)
            except TimeoutError:
                continue
            except (BrokenPipeError, ConnectionResetError):
                gone = True
        with RealtimeClient(f"127.0.0.1:{server.port}") as client:
            assert client.first["type"] == "session.created"


def test_a_message_that_is_too_long_ends_the_connection(address: str) -> None:
    from websockets.exceptions import ConnectionClosed

    with RealtimeClient(address, MANUAL) as client, pytest.raises(ConnectionClosed) as closed:
        client.send_text("x" * (4 * 2**20))
        client.next()
    # it hangs up on what is still being sent, and its reason may be lost by that
    assert closed.value.rcvd is None or closed.value.rcvd.code == 1009
    with RealtimeClient(address, MANUAL) as client:
        assert client.first["type"] == "session.created"


def test_metrics_and_health(server: Any, address: str) -> None:
    with RealtimeClient(address, MANUAL) as client:
        client.answer()
        status, told, _ = get(address, "/health")
        assert status == 200 and told["status"] == "ok"
        text = get(address, "/metrics")[1].decode()
    assert 'cslm_requests_total{route="/health",status="200"}' in text and "cslm_sessions_open 1\n" in text
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(len(line.split(" ")) == 2 and float(line.split(" ")[1]) >= 0 for line in lines)
    counts = [float(line.split(" ")[1]) for line in lines if line.startswith("cslm_step_seconds_bucket")]
    assert counts == sorted(counts) and counts[-1] > 0


@pytest.mark.parametrize(("host", "local"), [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True)])
def test_this_machine(host: str, local: bool) -> None:
    assert is_loopback(host) is local and is_loopback("localhost") and is_loopback("[::1]")
    assert not any(map(is_loopback, ("0.0.0.0", "::", "example.org", "10.0.0.1", "")))
