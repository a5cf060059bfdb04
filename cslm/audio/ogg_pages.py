"""The pages of an Ogg file: whether the last is whole, and where one stream ends and another begins."""

from __future__ import annotations

from typing import BinaryIO

from cslm.audio.byte_pieces import Piece
from cslm.audio.layout import Layout

MAGIC = b"OggS"
_HEADER_BYTES = 27
_FIRST, _LAST = 2, 4  # flags of a page
_BLOCK = 1 << 16


def ogg_layout(file: BinaryIO, size: int) -> Layout:
    """Each of the streams that stand one after the other (chained), from its first page to the next one's first."""
    starts, place, begun, ended = [0], 0, False, True
    layout = Layout([])
    while place < size:
        file.seek(place)
        header = file.read(_HEADER_BYTES + 255)
        if not header.startswith(MAGIC):
            found = _next_page(file, place, size)
            if found is None:
                layout.notes.append(f"{size - place} bytes after the last page")
                break
            layout.notes.append(f"{found - place} bytes between two pages")
            place = found
            continue
        num_segments = header[_HEADER_BYTES - 1] if len(header) >= _HEADER_BYTES else 0
        body = _HEADER_BYTES + num_segments
        stop = place + body + sum(header[_HEADER_BYTES:body])
        if len(header) < min(body, _HEADER_BYTES) or stop > size:
            layout.cut = f"its last page ends {max(1, stop - size)} bytes after the file does"
            break
        flags = header[5]
        if flags & _FIRST and begun:
            starts.append(place)
            begun = False
        begun = begun or not flags & _FIRST
        ended = bool(flags & _LAST)
        place = stop
    if layout.cut is None and not ended:
        layout.notes.append("its last page is not marked as the last")
    if len(starts) > 1:
        layout.notes.append(f"{len(starts)} streams one after the other")
    stops = [*starts[1:], size]
    pieces: list[list[Piece]] = [[range(start, stop)] for start, stop in zip(starts, stops, strict=True)]
    layout.streams = pieces
    return layout


def _next_page(file: BinaryIO, place: int, size: int) -> int | None:
    """Where the next page begins, behind bytes that belong to none."""
    while place < size:
        file.seek(place)
        block = file.read(_BLOCK)
        if (found := block.find(MAGIC)) >= 0:
            return place + found
        if len(block) < _BLOCK:
            return None
        place += len(block) - len(MAGIC) + 1
    return None
