"""What kind of audio file this is, by its first bytes, and how its samples are laid out."""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from cslm.audio.chunks import chunk_layout, is_chunked, is_no_size
from cslm.audio.layout import SLACK_SEC, Layout, whole
from cslm.audio.mpeg_frames import is_mpeg, mpeg_layout
from cslm.audio.ogg_pages import MAGIC, ogg_layout
from cslm.audio.wide_chunks import caf_layout, w64_layout

_AU_BYTES = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 23: 1 / 2, 25: 3 / 8, 26: 5 / 8, 27: 1}
"""Encoding of AU to bytes of a sample; others are left to libsndfile."""
_NIST_FIELD = re.compile(rb"^(sample_count|channel_count|sample_n_bytes|sample_rate) -(?:i|s\d+) (\d+)", re.MULTILINE)


def layout_of(file: BinaryIO, size: int) -> Layout:
    """What the bytes say; a kind that is not known here is taken as it is."""
    file.seek(0)
    head = file.read(1024)
    if is_chunked(head):
        return chunk_layout(file, size)
    if head.startswith(MAGIC):
        return ogg_layout(file, size)
    if head.startswith(b"fLaC"):
        return _flac(head, size)
    if head.startswith(b".snd") and len(head) >= 24:
        return _au(head, size)
    if head.startswith(b"NIST_1A"):
        return _nist(head, size)
    if head.startswith(b"caff"):
        return caf_layout(file, size)
    if head.startswith(b"riff"):
        return w64_layout(file, size)
    if is_mpeg(head):
        return mpeg_layout(file, size)
    return whole(size)


def _flac(head: bytes, size: int) -> Layout:
    """Without its count (36 bits of the first block), libFLAC reads on to the end."""
    if len(head) < 26:
        return whole(size)
    layout = whole(size)
    layout.beyond = [range(21), bytes([head[21] & 0xF0, 0, 0, 0, 0]), range(26, size)]
    return layout


def _au(head: bytes, size: int) -> Layout:
    start, said, encoding, rate_hz, channels = struct.unpack(">5I", head[4:24])
    layout = whole(size)
    if encoding in _AU_BYTES and start <= size:
        _compare(layout, said, size - start, rate_hz * channels * _AU_BYTES[encoding])
        if layout.notes:
            layout.streams = [[range(8), struct.pack(">I", 0xFFFFFFFF), range(12, size)]]
    return layout


def _nist(head: bytes, size: int) -> Layout:
    said = {name: int(number) for name, number in _NIST_FIELD.findall(head)}
    start = int(head[8:16]) if head[8:16].strip().isdigit() else size
    layout = whole(size)
    if len(said) == 4 and start < size and b"shorten" not in head:
        num_bytes = said[b"channel_count"] * said[b"sample_n_bytes"]
        _compare(layout, said[b"sample_count"] * num_bytes, size - start, said[b"sample_rate"] * num_bytes)
    return layout


def _compare(layout: Layout, said: int, there: int, bytes_a_sec: float) -> None:
    """Nothing follows the samples: what is there are samples."""
    slack = SLACK_SEC * bytes_a_sec
    if said > there + slack and not is_no_size(said):
        layout.cut = f"{there} bytes of {said}"
    elif there > said + slack:
        layout.notes.append(f"its header says {said} bytes of samples, {there} are there")
