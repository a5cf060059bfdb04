"""CAF and W64: chunks whose sizes have 64 bits. The same questions as for WAV."""

from __future__ import annotations

import struct
from typing import BinaryIO

from cslm.audio.layout import SLACK_SEC, Layout, whole

_W64_TAIL = bytes.fromhex("f3acd3118cd100c04f8edb8a")
_W64_FIRST = 40  # riff, size, wave
_W64_HEAD = 24


def caf_layout(file: BinaryIO, size: int) -> Layout:
    """The file; its samples go on to its end where the size is wrong (-1: not known)."""
    layout, place, bytes_a_sec = whole(size), 8, 0.0
    while place + 12 <= size:
        file.seek(place)
        name, length = struct.unpack(">4sq", file.read(12))
        if name == b"desc":
            rate_hz, _, _, num_bytes, num_frames = struct.unpack(">d4sIII", file.read(24).ljust(24, b"\0"))
            bytes_a_sec = rate_hz * num_bytes / max(num_frames, 1)
        if name == b"data":
            there = size - place - 12
            _compare(
                layout,
                length,
                there,
                bytes_a_sec,
                bytes_a_sec > 0 and not _caf_follows(file, place + 12 + length, size),
            )
            if layout.notes:
                layout.streams = [[range(place + 4), struct.pack(">q", there), range(place + 12, size)]]
            break
        if length < 0:
            break
        place += 12 + length
    return layout


def w64_layout(file: BinaryIO, size: int) -> Layout:
    """The file, with the true size of its samples where the header has another."""
    layout, place, bytes_a_sec = whole(size), _W64_FIRST, 0.0
    while place + _W64_HEAD <= size:
        file.seek(place)
        name, length = struct.unpack("<16sQ", file.read(_W64_HEAD))
        if length < _W64_HEAD:
            break
        if name.startswith(b"fmt "):
            bytes_a_sec = float(struct.unpack("<I", file.read(12).ljust(12, b"\0")[8:])[0])
        if name.startswith(b"data"):
            there = size - place - _W64_HEAD
            follows = _w64_follows(file, place + -(-length // 8) * 8, size)
            _compare(layout, length - _W64_HEAD, there, bytes_a_sec, not follows)
            if layout.notes:
                sizes = (struct.pack("<Q", size), struct.pack("<Q", there + _W64_HEAD))
                layout.streams = [
                    [range(16), sizes[0], range(24, place + 16), sizes[1], range(place + _W64_HEAD, size)]
                ]
            break
        place += -(-length // 8) * 8
    return layout


def _compare(layout: Layout, said: int, there: int, bytes_a_sec: float, may_go_on: bool) -> None:
    slack = SLACK_SEC * bytes_a_sec
    if said > there + slack and said < 1 << 62:
        layout.cut = f"{there} bytes of {said}"
    elif said >= 0 and may_go_on and there > said + (slack if said else 0):
        layout.notes.append(f"its header says {said} bytes of samples, {there} are there")


def _caf_follows(file: BinaryIO, place: int, size: int) -> bool:
    """Whether whole chunks fill the rest of the file."""
    while place + 12 <= size:
        file.seek(place)
        name, length = struct.unpack(">4sq", file.read(12))
        if not all(32 <= byte < 127 for byte in name) or not 0 <= length <= size - place - 12:
            return False
        place += 12 + length
    return True


def _w64_follows(file: BinaryIO, place: int, size: int) -> bool:
    """Whether another chunk begins here, or nothing does."""
    file.seek(place)
    head = file.read(16)
    return not head or head.endswith(_W64_TAIL)
