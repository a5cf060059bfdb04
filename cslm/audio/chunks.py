"""WAV, RF64 and AIFF: how many bytes of samples the header promises, and how many are there.

A header is wrong for honest reasons: the program that wrote it did not know the length yet (a pipe), was stopped before
it could say it, or had more than 4 GiB to say. Then the samples go on to the end of the file.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Literal

from cslm.audio.byte_pieces import Piece
from cslm.audio.layout import SLACK_SEC, Layout, whole

_HEAD = 12  # RIFF, size, WAVE
_LARGEST = 0xFFFFFFFF
_BLOCK = 1 << 16
_TAGS = (b"ID3", b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"<?xml", b"<x:xmpmeta")
_PAD = 8  # what may stand between a chunk and the next


@dataclass
class _Samples:
    """The chunk with the samples."""

    start: int
    said: int
    bytes_a_sec: float


def is_chunked(head: bytes) -> bool:
    """Whether a file begins as WAV, RF64 or AIFF do."""
    return head[:4] in (b"RIFF", b"RIFX", b"RF64", b"FORM")


def chunk_layout(file: BinaryIO, size: int) -> Layout:
    """The file, with the true sizes in its header where that is wrong."""
    file.seek(0)
    head = file.read(_HEAD)
    order: Literal["<", ">"] = "<" if head[:4] in (b"RIFF", b"RF64") else ">"
    layout = whole(size)
    outer = struct.unpack(f"{order}I", head[4:8])[0] if len(head) == _HEAD else 0
    samples = _samples(file, size, order)
    if samples is None:
        return layout
    there = size - samples.start
    slack = SLACK_SEC * samples.bytes_a_sec
    unknown = samples.said > there and is_no_size(samples.said)
    if samples.said > there + slack and not unknown:
        layout.cut = f"{there} bytes of {samples.said}"
        return layout
    end = samples.start + samples.said
    more = there - samples.said > (slack if samples.said else 0) and not _chunks_follow(file, end, size, order)
    more = more and not (samples.said and _is_no_sound(file, end, size))
    if more:
        layout.notes.append(f"its header says {samples.said} bytes of samples, {there} are there")
    elif outer + 8 > size and not is_no_size(outer) and head[:4] != b"RF64":
        layout.notes.append(f"its header says that the file has {outer + 8} bytes, it has {size}")
    if more or unknown:
        layout.streams = [_mended(head, samples.start, there, size, order)]
    return layout


def is_no_size(said: int) -> bool:
    """Whether programs write this where they do not know the size: the largest number, or half of it, or a bit less."""
    return 0x7FFF0000 <= said <= 0x80000000 or said >= 0xFFFF0000


def _samples(file: BinaryIO, size: int, order: str) -> _Samples | None:
    """The chunk with the samples, found by walking over those before it; None where there is none."""
    place, bytes_a_sec, large = _HEAD, 0.0, None
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if name == b"data":
            return _Samples(place + 8, large if large is not None and length == _LARGEST else length, bytes_a_sec)
        if name == b"SSND":
            return _Samples(place + 16, max(length - 8, 0), bytes_a_sec)
        content = file.read(min(length, 32))
        if name == b"fmt " and len(content) >= 14:
            bytes_a_sec = float(struct.unpack(f"{order}I", content[8:12])[0])
        elif name == b"ds64" and len(content) >= 16:
            large = struct.unpack("<Q", content[8:16])[0]
        elif name == b"COMM" and len(content) >= 18:
            channels, _, bits, exponent, mantissa = struct.unpack(">HIHHQ", content[:18])
            bytes_a_sec = channels * bits / 8 * mantissa * 2.0 ** (min(exponent, 16446) - 16446)
        place += 8 + length + length % 2
    return None


def _chunks_follow(file: BinaryIO, place: int, size: int, order: str) -> bool:
    """Whether whole chunks, one after the other, fill the rest of the file, or all but a few bytes of it."""
    return any(_chunks_fill(file, start, size, order) for start in dict.fromkeys((place + place % 2, place, place + 1)))


def _is_no_sound(file: BinaryIO, place: int, size: int) -> bool:
    """Whether what follows is a tag that some programs append, or a few zeros up to a round size."""
    file.seek(place)
    block = file.read(_BLOCK)
    return block.lstrip(b"\0").startswith(_TAGS) or (size - place <= _BLOCK and not block.strip(b"\0"))


def _chunks_fill(file: BinaryIO, place: int, size: int, order: str) -> bool:
    found = False
    while place + 8 <= size:
        file.seek(place)
        name, length = struct.unpack(f"{order}4sI", file.read(8))
        if not all(32 <= byte < 127 for byte in name) or place + 8 + length > size:
            return found and place + 128 >= size  # some add a tag of another kind
        place, found = place + 8 + length + length % 2, True
    return found or size - place < _PAD


def _mended(head: bytes, start: int, there: int, size: int, order: str) -> list[Piece]:
    """The file with the true sizes: of all, and of the samples."""
    if head[:4] == b"FORM":
        sizes = (struct.pack(">I", min(size - 8, _LARGEST)), struct.pack(">I", min(there + 8, _LARGEST)))
        return [range(4), sizes[0], range(8, start - 12), sizes[1], range(start - 8, size)]
    if there + 2**16 < _LARGEST and head[:4] != b"RF64":
        sizes = (struct.pack(f"{order}I", size - 8), struct.pack(f"{order}I", there))
        return [range(4), sizes[0], range(8, start - 4), sizes[1], range(start, size)]
    beginning = 48 if head[:4] == b"RF64" else _HEAD  # behind its own ds64
    large = struct.pack("<4sIQQQI", b"ds64", 28, size + 28, there, 0, 0)
    mended = b"RF64" + struct.pack("<I", _LARGEST) + b"WAVE" + large
    return [mended, range(beginning, start - 4), struct.pack("<I", _LARGEST), range(start, size)]
