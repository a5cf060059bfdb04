"""A thousand bad requests: each refused by its name, the next good one answered, memory flat."""

from __future__ import annotations

import gc
import json
import socket
from http.client import HTTPConnection
from itertools import islice
from typing import Any

import psutil

from tests.serving.test_many import is_free, post, until
from tests.worlds.bad_requests import CHAT, JSON, TRANSCRIPTIONS, BadRequest, bad_events, bad_http, event
from tests.worlds.realtime_client import MANUAL, RealtimeClient
from tests.worlds.served import asked, base64_of, pcm

HTTP, EVENTS = list(bad_http()), list(bad_events())
GOOD_EVERY = 150


def answer(connection: HTTPConnection, bad: BadRequest) -> tuple[int, str]:
    connection.request(bad.method, bad.path, bad.body, {"Content-Type": bad.content_type})
    response = connection.getresponse()
    content = response.read()
    return response.status, json.loads(content)["error"]["code"]


def test_there_are_a_thousand() -> None:
    assert len(HTTP) + len(EVENTS) + 60 >= 1000


def test_over_http(address: str, server: Any) -> None:
    connection = HTTPConnection(address, timeout=600)
    wrong = []
    for number, bad in enumerate(HTTP):
        if number % GOOD_EVERY == 0:
            assert post(address, CHAT, asked(max_tokens=3))[0] == 200
        found = answer(connection, bad)
        if found != (bad.status, bad.code):
            wrong.append((bad.method, bad.path, bad.body[:200], (bad.status, bad.code), found))
    assert wrong == []
    assert until(lambda: is_free(server)) and post(address, CHAT, asked(max_tokens=3))[0] == 200


def test_on_a_websocket(address: str, server: Any) -> None:
    wrong = []
    with RealtimeClient(address, MANUAL) as client:
        for number, bad in enumerate(EVENTS):
            for text in bad.messages:
                client.send_text(text)
            told = client.until("error")[-1]
            if told["error"]["code"] != bad.code:
                wrong.append((bad.messages[-1][:200], bad.code, told["error"]))
            client.send("input_audio_buffer.clear")
            client.until("input_audio_buffer.cleared")
            if number % GOOD_EVERY == 0:
                assert client.answer()[-1]["response"]["status"] in ("completed", "incomplete")
        assert client.answer()[-1]["response"]["status"] in ("completed", "incomplete")
    assert wrong == [] and until(lambda: is_free(server))


def test_sockets_that_are_closed_anywhere(address: str, server: Any) -> None:
    host, port = address.split(":")
    body = json.dumps(asked()).encode()
    head = f"POST {CHAT} HTTP/1.1\r\nHost: {address}\r\nContent-Type: {JSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    whole = head.encode() + body
    for length in range(0, len(whole), len(whole) // 50):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(whole[:length])
    for count in range(10):
        client = RealtimeClient(address, MANUAL)
        for text in [event("input_audio_buffer.append", audio=base64_of(pcm())), event("input_audio_buffer.commit")]:
            client.send_text(text)
        if count % 2:
            client.send("response.create")
        client.drop()
    assert until(lambda: is_free(server)) and post(address, CHAT, asked(max_tokens=3))[0] == 200


def test_bodies_that_are_too_large_are_not_read(address: str) -> None:
    for claimed in (16 * 2**20 + 1, 2**40):
        host, port = address.split(":")
        with socket.create_connection((host, int(port)), timeout=600) as raw:
            head = f"POST {TRANSCRIPTIONS} HTTP/1.1\r\nHost: {address}\r\nContent-Type: audio/wav\r\n"
            raw.sendall(f"{head}Content-Length: {claimed}\r\n\r\n".encode() + b"x" * 1000)
            answered = b"".join(iter(lambda: raw.recv(65536), b""))
        assert b"413" in answered.split(b"\r\n")[0] and b"request_too_large" in answered
    pieces = (b"x" * 2**20 for _ in range(18))
    connection = HTTPConnection(address, timeout=600)
    try:
        connection.request(
            "POST", TRANSCRIPTIONS, pieces, {"Content-Type": "audio/wav", "Transfer-Encoding": "chunked"}
        )
        assert connection.getresponse().status == 413
    except (BrokenPipeError, ConnectionResetError):
        pass  # the server hung up while the rest was being sent
    assert post(address, CHAT, asked(max_tokens=3))[0] == 200


def test_memory_is_flat(address: str) -> None:
    def some() -> None:
        connection = HTTPConnection(address, timeout=600)
        for bad in islice(HTTP, 0, None, 4):
            answer(connection, bad)
        with RealtimeClient(address, MANUAL) as client:
            for bad in islice(EVENTS, 0, None, 4):
                for text in bad.messages:
                    client.send_text(text)
                client.until("error")
                client.send("input_audio_buffer.clear")
                client.until("input_audio_buffer.cleared")

    def held() -> int:
        gc.collect()
        return int(psutil.Process().memory_info().rss)

    grown = []
    for _ in range(4):
        before = held()
        some()
        grown.append(held() - before)
    assert min(grown) < 2 * 2**20, grown  # what is left by every round is left in all of them
