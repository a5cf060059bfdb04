"""What requests over HTTP hold, read within limits: JSON, forms with a file, raw bytes."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any, NamedTuple

from starlette.requests import ClientDisconnect, Request

from cslm.serving.limits import LimitsConfig
from cslm.serving.refusals import Refusal, shown

SMALL_BYTES = 64 * 1024
"""What is read in the server's loop at most; the rest is read on a thread."""

_MOST_PARTS = 16
_MOST_PART_HEAD_BYTES = 1024
_MOST_DEPTH = 32
_MOST_PLAIN_BYTES = 16 * 1024  # of JSON without its sound and without a text to be spoken
_BYTES_A_CHARACTER = 12  # at most, in JSON: two escapes
_SOUND = re.compile(rb'"[A-Za-z0-9+/=]{1024,}"')


class Part(NamedTuple):
    """One field of a form."""

    content: bytes
    is_file: bool


async def read_body(request: Request, limits: LimitsConfig, most_bytes: int | None = None) -> bytes:
    """All bytes of a request.

    Args:
        most_bytes: that there may be, if fewer than the limits allow.

    Raises:
        Refusal: too many, or too slow.
    """
    most = min(limits.max_body_bytes, most_bytes or limits.max_body_bytes)
    claimed = request.headers.get("content-length", "0")
    if claimed.isdigit() and int(claimed) > most:
        raise _too_large(most)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.receive_timeout_sec):
            async for piece in request.stream():
                body += piece
                if len(body) > most:
                    raise _too_large(most)
    except TimeoutError:
        message = f"the request was not there after {limits.receive_timeout_sec:g} s: send it faster"
        raise Refusal("request_timeout", message, 408) from None
    except ClientDisconnect:
        raise Refusal("client_gone", "the connection was closed before the request was there", 400) from None
    return bytes(body)


async def read_json(request: Request, limits: LimitsConfig, with_sound: bool) -> dict[str, Any]:
    """The JSON object of a request.

    Args:
        with_sound: whether it may hold recordings, which alone may be large.

    Raises:
        Refusal: another type of content, no such object, or a large one.
    """
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise Refusal("unsupported_content_type", f"the content type is {kind[:60]!r}: send application/json", 415)
    body = await read_body(request, limits, None if with_sound else _most_plain(limits))
    return await asyncio.to_thread(parse_object, body, limits)


def parse_object(content: bytes, limits: LimitsConfig) -> dict[str, Any]:
    """A JSON object, small but for strings in base64, and nested within reason.

    Raises:
        Refusal: anything else.
    """
    _check_size(content, _most_plain(limits))
    try:
        parsed = json.loads(content)
        if b"\\u" in content:
            json.dumps(parsed, ensure_ascii=False).encode("utf-8")  # half a character cannot be written
    except (ValueError, RecursionError):
        raise Refusal("invalid_json", "what was sent is not JSON: send one object") from None
    if not isinstance(parsed, dict):
        raise Refusal("invalid_json", f"what was sent is no JSON object but {shown(parsed)}: send one object")
    _check_depth(parsed)
    return parsed


def _most_plain(limits: LimitsConfig) -> int:
    return _MOST_PLAIN_BYTES + _BYTES_A_CHARACTER * limits.max_text_chars


def _check_size(content: bytes, most: int) -> None:
    """Before anything is parsed: many values take a hundred times the memory of their text, and seconds."""
    if len(content) <= most:
        return
    plain = content.replace(b"\\/", b"/")  # as some programs write base64
    num_escapes = len(content) - len(plain)
    sound = sum(found.end() - found.start() for found in _SOUND.finditer(plain))
    if len(plain) - sound > most or num_escapes > len(content) // 16:
        raise Refusal("request_too_large", f"the JSON has more than {most} bytes beside its sound: send less", 413)


def _check_depth(parsed: dict[str, Any]) -> None:
    level: list[Any] = [parsed]
    for _ in range(_MOST_DEPTH):
        level = [
            inner
            for value in level
            for inner in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise Refusal("invalid_json", f"what was sent is nested more than {_MOST_DEPTH} times: send less")


async def read_form(request: Request, limits: LimitsConfig) -> dict[str, Part]:
    """The fields of ``multipart/form-data``, by name.

    Raises:
        Refusal: another type of content, or a form that is broken.
    """
    kind = request.headers.get("content-type", "")
    found = re.fullmatch(r'multipart/form-data;.*?boundary="?([^";,\s]{1,70})"?.*', kind, re.IGNORECASE)
    if found is None:
        raise Refusal("unsupported_content_type", "send multipart/form-data with a boundary, or audio/wav", 415)
    return await asyncio.to_thread(parse_form, await read_body(request, limits), found[1].encode("latin-1"))


def parse_form(body: bytes, boundary: bytes) -> dict[str, Part]:
    """The fields of a form.

    Raises:
        Refusal: it is broken, has a field twice, or too many.
    """
    sections = (b"\r\n" + body).split(b"\r\n--" + boundary, _MOST_PARTS + 2)
    if len(sections) - 2 > _MOST_PARTS:
        raise Refusal("invalid_form", f"the form has more than {_MOST_PARTS} fields: send fewer")
    if len(sections) < 3 or sections[0].strip() or not sections[-1].startswith(b"--"):
        raise Refusal("invalid_form", "the form has no end: send it whole")
    fields: dict[str, Part] = {}
    for section in sections[1:-1]:
        head, border, content = section.partition(b"\r\n\r\n")
        if len(head) > _MOST_PART_HEAD_BYTES:
            raise Refusal("invalid_form", f"a field of the form has more than {_MOST_PART_HEAD_BYTES} bytes of headers")
        said = re.search(rb'content-disposition:\s*form-data;[^\r\n]*?\bname="([^"\r\n]{1,64})"', head, re.IGNORECASE)
        if not border or said is None:
            raise Refusal("invalid_form", "a field of the form has no name")
        name = said[1].decode("utf-8", "replace")
        if name in fields:
            raise Refusal("invalid_form", f"the form has {name!r} twice: send it once", param=name)
        fields[name] = Part(content, b"filename" in head.lower())
    return fields


def text_fields(form: dict[str, Part]) -> dict[str, Any]:
    """The fields that are no files.

    Raises:
        Refusal: one that is not UTF-8.
    """
    try:
        return {name: part.content.decode("utf-8") for name, part in form.items() if not part.is_file}
    except UnicodeDecodeError:
        raise Refusal("invalid_form", "a field of the form is not UTF-8") from None


def _too_large(most: int) -> Refusal:
    return Refusal("request_too_large", f"the request has more than {most} bytes: send less", 413)
