"""MP3: whether the number of frames is said, and whether that number can be true.

Without a first frame that counts the others (Xing, Info), libmpg123 guesses the length from the rate of the first ones,
and stops there. Where that frame counts fewer than there are (two files one after the other), it stops there too.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from cslm.audio.layout import ESTIMATED, Layout, whole

_KBITS = {
    (3, 3): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 1): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 3): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""(MPEG 1 or 2, layer as it is coded) to the rates of a frame."""
_MANY = 0x7FFFFFFF // 1152
_TAGS_BYTES = 1 << 16  # what may follow the frames: ID3v1, APE, lyrics
_TAG = b"ID3"


def is_mpeg(head: bytes) -> bool:
    """Whether a file begins with a frame of MPEG audio, or with a tag that may stand before one."""
    return head.startswith(_TAG) or frame_bytes(head) is not None


def mpeg_layout(file: BinaryIO, size: int) -> Layout:
    """The file, made to look longer or with another count of frames where libmpg123 would stop before its end."""
    first = _first_frame(file, size)
    file.seek(first)
    frame = file.read(64)
    tag = _side_info_end(frame)
    if frame[tag : tag + 4] not in (b"Xing", b"Info"):
        return Layout([[range(size)]], stretched=ESTIMATED, is_guess=True)
    flags, num_frames, num_bytes = struct.unpack(">III", frame[tag + 4 : tag + 16])
    if flags & 3 != 3 or not num_frames:
        return whole(size) if flags & 1 and num_frames else Layout([[range(size)]], stretched=ESTIMATED, is_guess=True)
    layout, there = whole(size), size - first
    if there - num_bytes > max(_TAGS_BYTES, num_bytes // 100) or _frame_at(file, first + num_bytes):
        counts = struct.pack(">II", _MANY, there)
        place = first + tag + 8
        layout.streams = [[range(place), counts, range(place + len(counts), size)]]
        layout.is_guess = True
        layout.notes.append(f"its header counts {num_bytes} bytes of frames, {there} are there")
    return layout


def frame_bytes(head: bytes) -> int | None:
    """Length of the frame that begins here; None where none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, kbits, rate = head[1] >> 3 & 3, head[1] >> 1 & 3, head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 0 or kbits in (0, 15) or rate == 3:
        return None
    rate_hz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    rates = _KBITS[3 if version == 3 else 2, layer if version == 3 or layer == 3 else 2]
    padding = head[2] >> 1 & 1
    if layer == 3:
        return (12000 * rates[kbits] // rate_hz + padding) * 4
    return (144000 if version == 3 or layer == 2 else 72000) * rates[kbits] // rate_hz + padding


def _first_frame(file: BinaryIO, size: int) -> int:
    """Where the frames begin: behind the tags."""
    place = 0
    while place < size:
        file.seek(place)
        head = file.read(10)
        if len(head) < 10 or not head.startswith(_TAG):
            break
        length = sum((byte & 127) << 7 * (3 - index) for index, byte in enumerate(head[6:10]))
        place += 10 + length + (10 if head[5] & 16 else 0)
    return place


def _side_info_end(frame: bytes) -> int:
    """Where the counts of a first frame stand, from its start on."""
    if frame_bytes(frame) is None:
        return len(frame)
    mono = frame[3] >> 6 == 3
    if frame[1] >> 3 & 3 == 3:
        return 4 + (17 if mono else 32)
    return 4 + (9 if mono else 17)


def _frame_at(file: BinaryIO, place: int) -> bool:
    """Whether a frame begins at a place, and another behind it, and a third."""
    for _ in range(3):
        file.seek(place)
        length = frame_bytes(file.read(4))
        if length is None:
            return False
        place += length
    return True
