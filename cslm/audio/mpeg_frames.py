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
_EMPTY_TAG = _TAG + bytes([3, 0, 0, 0, 0, 0, 10]) + bytes(10)
"""Put before frames that have no tag: without, libsndfile takes what a Mac leaves in the working directory (``._``,
``.AppleDouble``) for a part of the file before it looks for frames."""
_TAIL_TAGS = (_TAG, b"TAG", b"APETAGEX", b"LYRICSBEGIN")
_SEARCHED = 1 << 16


def is_mpeg(head: bytes) -> bool:
    """Whether a file begins with a frame of MPEG audio, or with a tag that may stand before one."""
    return head.startswith(_TAG) or frame_bytes(head) is not None


def mpeg_layout(file: BinaryIO, size: int) -> Layout:
    """The file, made to look longer or with another count of frames where libmpg123 would stop before its end."""
    first = after_tags(file, size)
    file.seek(first)
    frame = file.read(64)
    tag = _side_info_end(frame)
    flags, num_frames, num_bytes = 0, 0, 0
    if frame[tag : tag + 4] in (b"Xing", b"Info"):
        flags, num_frames, num_bytes = struct.unpack(">III", frame[tag + 4 : tag + 16])
    if not flags & 1 or not num_frames:
        layout = _uncounted(file, first, size)
    else:
        layout = whole(size)
        if flags & 2:
            _compare(layout, file, first, tag, num_bytes)
    if not first:
        layout.streams = [[_EMPTY_TAG, *pieces] for pieces in layout.streams]
    return layout


def _uncounted(file: BinaryIO, first: int, size: int) -> Layout:
    """A file that nobody counted the frames of, up to its last whole one: libmpg123 gives up at one that is cut."""
    end = _end_of_frames(file, first, size)
    layout = Layout([[range(end)]], stretched=ESTIMATED, is_guess=True)
    if end < size:
        layout.notes.append(f"{size - end} bytes behind its last whole frame")
    return layout


def _compare(layout: Layout, file: BinaryIO, first: int, tag: int, said: int) -> None:
    """Hold what the first frame counts against what is there; ``tag`` is where in it the counts stand."""
    size = len(layout.streams[0][0])
    end, there = first + said, size - first
    is_more = there - said > max(_TAGS_BYTES, said // 100)
    if _frame_at(file, end) or (is_more and _frames_behind(file, end, size)):
        counts = struct.pack(">II", _MANY, there)
        place = first + tag + 8
        layout.streams = [[range(place), counts, range(place + len(counts), size)]]
        layout.is_guess = True
        layout.notes.append(f"its header counts {said} bytes of frames, {there} are there")
    elif is_more:
        layout.notes.append(f"{there - said} bytes behind its last frame")


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


def frame_kind(head: bytes) -> tuple[int, int] | None:
    """Rate in Hz and number of channels of the frame that begins here; None where none does."""
    if frame_bytes(head) is None:
        return None
    rate_hz = (44100, 48000, 32000)[head[2] >> 2 & 3] >> {3: 0, 2: 1, 0: 2}[head[1] >> 3 & 3]
    return rate_hz, 1 if head[3] >> 6 == 3 else 2


def after_tags(file: BinaryIO, size: int, place: int = 0) -> int:
    """Where what follows the tags (ID3) begins."""
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


def _frames_behind(file: BinaryIO, place: int, size: int) -> bool:
    """Whether frames begin behind a place, or behind a tag that stands there."""
    place = after_tags(file, size, place)
    file.seek(place)
    return _first_of_frames(file.read(_SEARCHED)) is not None


def _end_of_frames(file: BinaryIO, first: int, size: int) -> int:
    """Where the last whole frame ends; the end of the file where a tag or other frames follow, or no frame is near."""
    start = max(first, size - _SEARCHED)
    file.seek(start)
    tail = file.read(size - start)
    place = 0 if start == first else _first_of_frames(tail)
    while place is not None and (length := frame_bytes(tail[place : place + 4])) and place + length <= len(tail):
        place += length
    rest = tail[place:] if place else b""
    return start + place if place and not rest.startswith(_TAIL_TAGS) and _first_of_frames(rest) is None else size


def _first_of_frames(content: bytes) -> int | None:
    """Where in some bytes the first of three frames begins; None where none does."""
    place = content.find(b"\xff")
    while place >= 0:
        at = place
        for _ in range(3):
            at += frame_bytes(content[at : at + 4]) or len(content)
        if at <= len(content):
            return place
        place = content.find(b"\xff", place + 1)
    return None


def _frame_at(file: BinaryIO, place: int) -> bool:
    """Whether a frame begins at a place, and another behind it, and a third."""
    for _ in range(3):
        file.seek(place)
        length = frame_bytes(file.read(4))
        if length is None:
            return False
        place += length
    return True
