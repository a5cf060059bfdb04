"""Bodies of requests: what is large and no sound is refused before it is parsed; the loop parses nothing large."""

from __future__ import annotations

import base64
import json
import socket
import threading
import tracemalloc
from typing import Any

import pytest

from cslm.serving import hearing, request_bodies
from cslm.serving.limits import LimitsConfig
from cslm.serving.refusals import Refusal, shown
from cslm.serving.request_bodies import parse_form, parse_object
from tests.serving.test_many import post
from tests.worlds.bad_requests import CHAT, JSON, SPEECH, TRANSCRIPTIONS, wide_json
from tests.worlds.served import asked, serving

LIMITS = LimitsConfig()


@pytest.mark.parametrize("body", list(wide_json(2**20)), ids=range(6))
def test_wide_json_took_seconds_and_gigabytes(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(_: object) -> None:
        raise AssertionError("it was parsed")

    monkeypatch.setattr(request_bodies.json, "loads", parsed)
    with pytest.raises(Refusal, match="beside its sound") as refused:
        parse_object(body, LIMITS)
    assert (refused.value.status, refused.value.code) == (413, "request_too_large")


@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_json_may_hold_a_large_sound_whoever_wrote_it(slash: str) -> None:
    """Some programs write every slash with an escape."""
    sound = base64.b64encode(bytes(range(256)) * 40_000).decode()
    body = json.dumps(asked()).encode() + b" " * 1000
    whole = body.replace(b'"format"', b'"data": "%s", "format"' % sound.replace("/", slash).encode())
    found = parse_object(whole, LIMITS)["messages"][0]["content"][0]["input_audio"]
    assert found["data"] == sound and "/" in sound


def test_a_long_text_to_be_spoken_fits_however_it_is_written() -> None:
    text = "😀" * LIMITS.max_text_chars
    assert parse_object(json.dumps({"input": text}).encode(), LIMITS) == {"input": text}


def test_a_message_wrote_out_the_whole_value_to_show_its_beginning() -> None:
    class Counted(dict):
        num_shown = 0

        def __repr__(self) -> str:
            Counted.num_shown += 1
            return "x"

    assert len(shown([[Counted()] * 1000] * 1000)) <= 60 and Counted.num_shown < 100
    assert shown("a" * 10**6)[:3] == "'aa" and len(shown("a" * 10**6)) <= 60
    assert [shown(value) for value in ("x", 1.5, None, True, [1], {"a": 1})] == [
        "'x'", "1.5", "None", "True", "[1]", "{'a': 1}"
    ]  # fmt: skip


def test_a_form_of_borders_alone_is_not_cut_into_a_million_pieces() -> None:
    body = b"--x\r\n" * 10**6
    tracemalloc.start()
    try:
        with pytest.raises(Refusal, match="more than 16 fields"):
            parse_form(body, b"x")
        assert tracemalloc.get_traced_memory()[1] < 3 * len(body)
    finally:
        tracemalloc.stop()


def test_a_field_with_endless_headers_is_refused_before_they_are_searched() -> None:
    """Every place where a header might begin was searched to the end."""
    head = b"content-disposition: form-data;" * 100
    with pytest.raises(Refusal, match="bytes of headers"):
        parse_form(b"--x\r\n" + head + b"\r\n\r\n1\r\n--x--\r\n", b"x")


def test_sound_and_json_are_not_read_in_the_loop(server: Any, address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    where: dict[str, str] = {}

    def seen(name: str, original: Any) -> Any:
        def called(*given: Any, **named: Any) -> Any:
            where[name] = threading.current_thread().name
            return original(*given, **named)

        return called

    monkeypatch.setattr(request_bodies, "parse_object", seen("json", request_bodies.parse_object))
    monkeypatch.setattr(hearing, "read_wav", seen("wav", hearing.read_wav))
    monkeypatch.setattr(base64, "b64decode", seen("base64", base64.b64decode))
    assert post(address, CHAT, asked(max_tokens=3))[0] == 200
    assert set(where) == {"json", "wav", "base64"} and "server" not in where.values()


@pytest.mark.parametrize("path", [CHAT, SPEECH, TRANSCRIPTIONS])
def test_a_full_queue_was_told_only_when_all_was_sent(speaking: Any, path: str) -> None:
    with serving(speaking, num_replies=1, num_waiting=0) as server:
        place = server.served.places.take()
        with socket.create_connection(("127.0.0.1", server.port), timeout=600) as raw:
            head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {JSON}\r\nContent-Length: 1000\r\n\r\n"
            raw.sendall(head.encode())  # and nothing of its body
            assert b" 503 " in raw.recv(65536).split(b"\r\n")[0]
        place.give_back()
