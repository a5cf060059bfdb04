"""About a thousand requests that a server has to refuse, each with the name that it has to refuse it by."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from tests.worlds.served import asked, base64_of, pcm, wav

CHAT, SPEECH, TRANSCRIPTIONS = "/v1/chat/completions", "/v1/audio/speech", "/v1/audio/transcriptions"
JSON = "application/json"


class BadRequest(NamedTuple):
    """One over HTTP."""

    path: str
    body: bytes
    content_type: str
    status: int
    code: str
    method: str = "POST"


class BadEvents(NamedTuple):
    """Messages on a WebSocket, of which the last is refused."""

    messages: list[str]
    code: str


class Header(NamedTuple):
    """What a WAV file claims, which need not be so."""

    kind: int = 1
    channels: int = 1
    rate: int = 16000
    bits: int = 16
    frame_bytes: int | None = None
    bytes_a_sec: int | None = None
    size: int | None = None
    format_size: int = 16

    def file(self, data: bytes) -> bytes:
        frame = self.channels * self.bits // 8 % 65536 if self.frame_bytes is None else self.frame_bytes
        rate = self.rate * frame % 2**32 if self.bytes_a_sec is None else self.bytes_a_sec
        size = len(data) if self.size is None else self.size
        form = struct.pack("<HHIIHH", self.kind, self.channels, self.rate, rate, frame, self.bits)
        head = struct.pack("<4sI4s4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", self.format_size)
        return head + form + struct.pack("<4sI", b"data", size) + data


def bad_wavs() -> Iterator[tuple[bytes, int, str]]:
    """Files, the status and the code that they are refused with; 5 s are the most."""
    good, numbers = wav(), np.random.default_rng(0)
    sound = good[44:]
    yield from ((good[:length], 400, "invalid_wav") for length in range(45))
    yield from ((good[:length], 400, "invalid_wav") for length in range(46, len(good), len(good) // 60))
    for length in numbers.integers(1, 3000, 120):
        yield numbers.bytes(int(length)), 400, "invalid_wav"
    for magic in (b"RIFX", b"OggS", b"fLaC", b"ID3\x04", b"\xff\xfb\x90\x00", b"\x1aE\xdf\xa3", b"PK\x03\x04"):
        yield magic + good[4:], 400, "invalid_wav"
    for rate in (0, 1, 100, 7999, 48001, 96000, 2**31, 2**32 - 1):
        yield Header(rate=rate).file(sound), 400, "unsupported_sample_rate"
    changed = [Header(channels=n) for n in (0, 3, 6, 255, 65535)]
    changed += [Header(bits=n) for n in (0, 1, 4, 12, 20, 64, 65535)]
    changed += [Header(kind=n) for n in (0, 2, 3, 6, 7, 17, 80, 85, 255, 65534)]
    yield from ((header.file(sound), 400, "unsupported_wav") for header in changed)
    changed = [Header(frame_bytes=n) for n in (0, 1, 4, 65535)] + [Header(bytes_a_sec=n) for n in (0, 1, 2**32 - 1)]
    changed += [Header(size=n) for n in (len(sound) + 2, 2**30, 2**31, 2**32 - 2, len(sound) - 1)]
    changed += [Header(format_size=n) for n in (0, 8, 2**31, 2**32 - 1)]
    yield from ((header.file(sound), 400, "invalid_wav") for header in changed)
    yield Header(size=0).file(b""), 400, "empty_audio"
    yield Header().file(sound[:20]), 400, "audio_not_usable"
    for header in (Header(rate=8000), Header(), Header(rate=8000, bits=8), Header(channels=2), Header(bits=24)):
        frame = header.channels * header.bits // 8
        yield header.file(bytes(frame * (5 * header.rate + 1))), 413, "audio_too_long"
    for value in (np.nan, np.inf, -np.inf):
        floats = np.full(9600, value, "<f4").tobytes()
        yield Header(kind=3, bits=32).file(floats), 400, "invalid_wav"


def bad_http() -> Iterator[BadRequest]:
    """All over HTTP."""
    for data, status, code in bad_wavs():
        yield BadRequest(TRANSCRIPTIONS, data, "audio/wav", status, code)
        body = asked()
        body["messages"][0]["content"][0]["input_audio"]["data"] = base64_of(data)
        yield BadRequest(CHAT, json.dumps(body).encode(), JSON, status, code)
    yield from _bad_json()
    yield from _bad_fields()
    yield from _bad_forms()
    for path in ("/", "/health", "/v1/models", "/metrics"):
        yield BadRequest(path, b"", JSON, 405, "method_not_allowed")
    for path in ("/v1", "/v1/", "/nothing", "/../etc/passwd", "/%2e%2e/setup.cfg", "/page/../guard.py", "/v1/files"):
        yield BadRequest(path, b"", JSON, 404, "not_found", "GET")
    for path in (CHAT, SPEECH, TRANSCRIPTIONS):
        yield BadRequest(path, b"", JSON, 405, "method_not_allowed", "GET")
        for kind in ("", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "audio/mpeg"):
            yield BadRequest(path, b"{}", kind, 415, "unsupported_content_type")


def _bad_json() -> Iterator[BadRequest]:
    texts = ["", "{", "}", "[]", "1", '"x"', "null", "true", "{'a': 1}", '{"a": 1,}', "{} {}", "\x00", "nan"]
    broken = [text.encode() for text in texts] + [b"\xff\xfe{}", b'{"a": "\xff"}', b'{"a": "\\ud800"}']
    broken += [b'{"a":' + b"[" * depth + b"]" * depth + b"}" for depth in (40, 1000)]
    broken += [b'{"a": ' + b"9" * 10000 + b"}"]
    for body in wide_json(2**22):
        yield BadRequest(CHAT, body, JSON, 413, "request_too_large")
    for body in wide_json(2**18):
        yield BadRequest(SPEECH, body, JSON, 413, "request_too_large")
    for path, good in ((CHAT, asked()), (SPEECH, {"model": "tiny", "input": "x", "voice": "en"})):
        whole = json.dumps(good).encode()
        cut = [whole[:length] for length in range(1, len(whole), max(1, len(whole) // 20))]
        yield from (BadRequest(path, body, JSON, 400, "invalid_json") for body in [*broken, *cut])


def wide_json(num_bytes: int) -> Iterator[bytes]:
    """Objects of so many bytes that take a hundred times the memory of their text, and seconds, to be parsed."""
    yield b'{"a": [' + b"{}," * (num_bytes // 3) + b"{}]}"
    yield b'{"a": [' + b"1," * (num_bytes // 2) + b"1]}"
    yield b"{" + b",".join(b'"%x":0' % number for number in range(num_bytes // 9)) + b"}"
    yield b'{"a": ' + b"[" * num_bytes
    yield b'{"a": "' + b"\\/" * (num_bytes // 2) + b'"}'  # sound in base64 has few of them
    yield b'{"a": "' + "é".encode() * (num_bytes // 2) + b'"}'


def _bad_fields() -> Iterator[BadRequest]:
    wrong = ["x", 1, -1, 1.5, True, [], {}, [[1]], 2**70]
    audio = {"modalities": ["text", "audio"]}
    chat = [({"stream": value}, "invalid_type") for value in wrong if not isinstance(value, bool)]
    for name, least, most in (("temperature", 0, 4), ("top_p", 0.01, 1), ("max_tokens", 1, 2**31), ("seed", 0, 2**53)):
        chat += [({name: value}, "invalid_type") for value in ("x", True, [], {})]
        chat += [({name: value}, "out_of_range") for value in (int(least) - 1, most * 2)]
    chat += [({"messages": value}, "invalid_type") for value in ("x", 1, True, {})]
    chat += [({"messages": value}, "unsupported_messages") for value in ([], [1], [{}], [{}, {}])]
    for message in ({"role": "system", "content": "be good"}, {"role": "user", "content": "hello"}):
        chat.append(({"messages": [message]}, "unsupported_messages"))
    urls = [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}, {"type": "file", "file": {}}]
    urls += [{"type": "input_audio", "input_audio": {"url": "file:///etc/passwd", "format": "wav"}}]
    codes = ["unsupported_messages", "unsupported_messages", "unknown_parameter"]
    for part, code in zip(urls, codes, strict=True):
        chat.append(({"messages": [{"role": "user", "content": [part]}]}, code))
    for given, code in (("mp3", "unsupported_format"), (None, "unsupported_format")):
        part = {"type": "input_audio", "input_audio": {"data": base64_of(wav()), "format": given}}
        chat.append(({"messages": [{"role": "user", "content": [part]}]}, code))
    for data in ("x", "====", "a b", "é", "data:audio/wav;base64,AAAA"):
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        chat.append(({"messages": [{"role": "user", "content": [part]}]}, "invalid_base64"))
    chat += [({"modalities": value}, "unsupported_parameter") for value in ([], ["audio"], ["image"], [1])]
    chat += [({**audio}, "missing_parameter"), ({"audio": {"voice": "zh"}}, "unsupported_parameter")]
    chat += [({**audio, "audio": {"voice": "zh", "format": name}}, "unsupported_format") for name in ("mp3", "opus")]
    chat += [({**audio, "audio": {"voice": name}}, "unknown_language") for name in ("alloy", "", "xx-yy", "fr")]
    chat += [({**audio, "audio": {"voice": value}}, "invalid_type") for value in (1, [], {})]
    chat += [({"cslm": {"question_language": name}}, "unknown_language") for name in ("English!", "", "x" * 500)]
    for name in ("n", "stop", "logit_bias", "tools", "response_format", "functions", "prediction", "\u202e", "x" * 999):
        code = (
            "unknown_parameter" if name in ("functions", "prediction") or len(name) > 99 or not name.isascii() else ""
        )
        chat.append(({name: ["x"]}, code or "unsupported_parameter"))
    yield from (BadRequest(CHAT, json.dumps(asked(**given)).encode(), JSON, 400, code) for given, code in chat)
    speech: list[tuple[dict[str, Any], str]] = [({"input": value}, "invalid_type") for value in (1, [], {}, True)]
    speech += [({"input": value}, "out_of_range") for value in ("", "  ", "x" * 4097, None)]
    speech += [({"voice": value}, "unknown_voice") for value in ("alloy", "", "fr", {"id": "alloy"}, {})]
    speech += [({"voice": value}, "invalid_type") for value in (1, [], True)]
    speech += [({"response_format": value}, "unsupported_format") for value in ("mp3", "opus", "")]
    speech += [({"speed": 2}, "unsupported_parameter"), ({"instructions": "loud"}, "unsupported_parameter")]
    speech += [({"stream_format": "sse"}, "unsupported_parameter"), ({"path": "/etc"}, "unknown_parameter")]
    speech += [({"cslm": {"seed": value}}, "out_of_range") for value in (-1, 2**60)]
    good = {"model": "tiny", "input": "Anna.", "voice": "en"}
    yield from (BadRequest(SPEECH, json.dumps({**good, **given}).encode(), JSON, 400, code) for given, code in speech)


def _bad_forms() -> Iterator[BadRequest]:
    kind = "multipart/form-data; boundary=abc"

    def form(*parts: tuple[str, bytes], end: bytes = b"--abc--\r\n") -> bytes:
        return b"".join(b"--abc\r\n" + head.encode() + b"\r\n\r\n" + body + b"\r\n" for head, body in parts) + end

    file = ('Content-Disposition: form-data; name="file"; filename="a.wav"', wav())
    model = ('Content-Disposition: form-data; name="model"', b"tiny")

    def field(name: str, value: bytes) -> tuple[str, bytes]:
        return (f'Content-Disposition: form-data; name="{name}"', value)

    whole = form(file, model)
    bodies = [(whole[:length], "invalid_form") for length in range(0, len(whole) - 8, len(whole) // 25)]
    bodies += [(form(end=b""), "invalid_form"), (b"x" + whole, "invalid_form"), (form(model), "missing_parameter")]
    bodies += [(form(field("file", wav())), "missing_parameter"), (form(file, file), "invalid_form")]
    bodies += [(form(file, ("X: y", b"")), "invalid_form"), (form(file, field("model", b"\xff")), "invalid_form")]
    bodies += [(form(file, *[field(f"x{n}", b"") for n in range(20)]), "invalid_form")]
    bodies += [(form(file, field("language", b"klingon?")), "unknown_language")]
    bodies += [(form(file, field("response_format", b"srt")), "unsupported_format")]
    bodies += [(form(file, field("prompt", b"Hello")), "unsupported_parameter")]
    bodies += [(form(file, field("url", b"http://127.0.0.1/")), "unknown_parameter")]
    bodies += [(form(file, field("stream", b"true")), "unsupported_parameter")]
    yield from (BadRequest(TRANSCRIPTIONS, body, kind, 400, code) for body, code in bodies)


def event(kind: str, **fields: Any) -> str:
    """A message."""
    return json.dumps({"type": kind, **fields})


def bad_events() -> Iterator[BadEvents]:
    """All on a WebSocket, where the client commits."""
    for text in ("", "{", "[]", "1", "null", '"x"', "{'a': 1}", '{"a": "\\ud800"}', "[" * 1000):
        yield BadEvents([text], "invalid_json")
    yield from (BadEvents([body.decode()], "request_too_large") for body in wide_json(2**20))
    for kind in ("", "x", "session", "session.update ", "response", "input_audio_buffer", "error", "x" * 1000, "响应"):
        yield BadEvents([event(kind)], "unknown_event")
    for value in (None, 1, [], {}, True):
        yield BadEvents([json.dumps({"type": value})], "unknown_event")
    yield BadEvents([json.dumps({})], "unknown_event")
    append = "input_audio_buffer.append"
    yield from (BadEvents([text], "missing_parameter") for text in (event(append), event("session.update")))
    yield BadEvents([event(append, audio=None)], "missing_parameter")  # once a silence
    yield from (BadEvents([event(append, audio=value)], "invalid_type") for value in (1, [], {}, True))
    yield from (BadEvents([event(append, audio=value)], "invalid_base64") for value in ("x", "====", "a b", "é"))
    for length in (1, 3, 999):
        yield BadEvents([event(append, audio=base64_of(bytes(length)))], "invalid_pcm")
    yield BadEvents([event(append, audio=base64_of(bytes(48000 * 5 + 2)))], "audio_too_long")
    second, clear = event(append, audio=base64_of(bytes(48000))), event("input_audio_buffer.clear")
    yield BadEvents([*[second] * 5, event(append, audio=base64_of(bytes(2)))], "audio_too_long")
    yield BadEvents([clear, event("input_audio_buffer.commit")], "input_audio_buffer_commit_empty")
    for kind in (append, "input_audio_buffer.commit", "input_audio_buffer.clear", "response.cancel", "response.create"):
        yield BadEvents([event(kind, url="http://127.0.0.1/")], "unknown_parameter")
    yield BadEvents([event("response.create")], "no_question")
    yield BadEvents([event("response.cancel")], "response_cancel_not_active")
    yield BadEvents([event("response.cancel", response_id=1)], "invalid_type")
    truncate = {"content_index": 0, "audio_end_ms": 0}
    yield from (
        BadEvents([event("conversation.item.truncate", item_id=name, **truncate)], "item_not_found")
        for name in ("item_1", "", "x" * 999)
    )
    yield from _bad_items()
    yield from _bad_sessions()


def _bad_items() -> Iterator[BadEvents]:
    part = {"type": "input_audio", "audio": base64_of(pcm())}
    items: list[tuple[Any, str]] = [(value, "invalid_type") for value in (1, [], "x")]
    items += [({"type": "message", "role": role, "content": [part]}, "unsupported_item") for role in ("system", "x", 1)]
    items += [({"type": "message", "role": "user", "content": value}, "unsupported_item") for value in ([], [1], [{}])]
    items += [({"type": "function_call"}, "unsupported_item"), ({}, "unsupported_item")]
    items += [({"id": name, "type": "message"}, "invalid_item_id") for name in ("", "x" * 65)]
    items += [({"id": value, "type": "message"}, "invalid_type") for value in (1, [], {})]
    text = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hello"}]}
    items += [(text, "unsupported_item"), ({"path": "x", "type": "message"}, "unknown_parameter")]
    for content, code in (("", "empty_audio"), ("x", "invalid_base64"), ("AAA=AAA=", "invalid_base64")):
        items.append(({"type": "message", "role": "user", "content": [{**part, "audio": content}]}, code))
    yield from (BadEvents([event("conversation.item.create", item=item)], code) for item, code in items)
    placed = event("conversation.item.create", item={}, previous_item_id="item_0")
    yield BadEvents([placed], "unsupported_place")


def _bad_sessions() -> Iterator[BadEvents]:
    def detection(**given: Any) -> dict[str, Any]:
        return {"audio": {"input": {"turn_detection": {"type": "server_vad", **given}}}}

    sessions: list[tuple[dict[str, Any], str]] = []
    for name in ("instructions", "tools", "tool_choice", "prompt", "reasoning", "tracing", "truncation", "include"):
        sessions += [({name: value}, "unsupported_parameter") for value in ("x", [1], {"a": 1}, 1)]
    sessions += [({name: 1}, "unknown_parameter") for name in ("modalities", "voice", "url", "path", "x" * 500, "é")]
    sessions += [({"type": value}, "unsupported_parameter") for value in ("transcription", "", 1, [])]
    sessions += [({"output_modalities": value}, "unsupported_parameter") for value in ([], ["image"], ["text"] * 3)]
    sessions += [
        ({name: value}, "invalid_type") for name in ("output_modalities", "audio", "cslm") for value in (1, "x")
    ]
    sessions += [({"max_output_tokens": value}, "invalid_type") for value in ("x", [], True, 1.5)]
    sessions += [({"max_output_tokens": value}, "out_of_range") for value in (0, -1, 2**40)]
    for name, most in (("threshold", 1), ("prefix_padding_ms", 2000), ("silence_duration_ms", 10000)):
        sessions += [(detection(**{name: value}), "invalid_type") for value in ("x", True, [], {})]
        sessions += [(detection(**{name: value}), "out_of_range") for value in (-1, most * 2)]
    for name in ("create_response", "interrupt_response"):
        sessions += [(detection(**{name: value}), "invalid_type") for value in ("x", 1, [])]
    sessions += [(detection(type=value), "unsupported_parameter") for value in ("semantic_vad", "none", 1)]
    sessions += [
        (detection(eagerness="low"), "unknown_parameter"),
        (detection(idle_timeout_ms=1), "unsupported_parameter"),
    ]
    formats = [
        {"type": "audio/pcmu"},
        {"type": "audio/pcm", "rate": 16000},
        {"type": "audio/pcm", "rate": 10**9},
        "pcm16",
        1,
    ]
    for side in ("input", "output"):
        sessions += [({"audio": {side: {"format": value}}}, "unsupported_parameter") for value in formats]
        sessions += [({"audio": {side: {"device": 1}}}, "unknown_parameter"), ({"audio": {side: 1}}, "invalid_type")]
    sessions += [({"audio": {"output": {"speed": 2}}}, "unsupported_parameter")]
    sessions += [({"audio": {"output": {"voice": name}}}, "unknown_language") for name in ("alloy", "", "x" * 999)]
    sessions += [({"audio": {"input": {"noise_reduction": {"type": "near_field"}}}}, "unsupported_parameter")]
    sessions += [({"audio": {"input": {"transcription": {"prompt": "x"}}}}, "unknown_parameter")]
    sessions += [({"audio": {"input": {"transcription": {"language": "??"}}}}, "unknown_language")]
    for name, most in (("temperature", 4), ("top_p", 1), ("seed", 2**53)):
        sessions += [({"cslm": {name: value}}, "invalid_type") for value in ("x", [], True)]
        sessions += [({"cslm": {name: value}}, "out_of_range") for value in (-1, most * 2)]
    for name in ("answer_language", "question_language"):
        sessions += [({"cslm": {name: value}}, "unknown_language") for value in ("", "??", "xx-yyyyyyyyyyy")]
        sessions += [({"cslm": {name: value}}, "invalid_type") for value in (1, [], {})]
    sessions += [({"cslm": {"events": [value]}}, "unsupported_parameter") for value in ("x", 1, [], {})]
    sessions += [({"cslm": {"path": "/"}}, "unknown_parameter"), ({"cslm": {"events": "units"}}, "invalid_type")]
    yield from (BadEvents([event("session.update", session=given)], code) for given, code in sessions)
    yield from (BadEvents([event("session.update", session=value)], "invalid_type") for value in (1, "x", []))
