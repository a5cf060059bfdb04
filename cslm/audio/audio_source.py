"""Where audio may lie: a file, an fsspec URL, a member of a tar shard, a stretch of a file; all as one file to read."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import BinaryIO, cast

import fsspec

from cslm.audio.byte_pieces import Stretch
from cslm.audio.tar_member import PREFIX as TAR_PREFIX
from cslm.audio.tar_member import tar_member
from cslm.errors import UserError

STRETCH_PREFIX = "bytes://"


def stretch_url(path: str, start: int, stop: int) -> str:
    """The bytes of a file from ``start`` to before ``stop``, as a manifest names them."""
    return f"{STRETCH_PREFIX}{start}-{stop}::{path}"


def file_beneath(name: str) -> str:
    """The file or URL that holds the audio: of a member its shard, of a stretch its file, else the name itself."""
    return name.partition("::")[2] if name.startswith((TAR_PREFIX, STRETCH_PREFIX)) else name


@contextlib.contextmanager
def open_source(name: str) -> Iterator[tuple[BinaryIO, int]]:
    """A file to read and seek in, and its length in bytes.

    Raises:
        UserError: it is a folder, or a pipe, which would be waited for.
        OSError, ValueError, ImportError: it cannot be opened.
    """
    stretch = _stretch(name)
    outer = name if stretch is None else file_beneath(name)
    if "://" not in outer and os.path.exists(outer) and not os.path.isfile(outer):
        raise UserError(f"{name}: no such audio file, but a folder, a pipe or a device; check its path")
    with fsspec.open(outer, "rb") if "://" in outer else open(outer, "rb") as file:
        if stretch is None:
            yield file, file.seek(0, io.SEEK_END)
        else:
            stretch = range(stretch.start, min(stretch.stop, file.seek(0, io.SEEK_END)))
            yield cast(BinaryIO, Stretch(file, stretch)), len(stretch)


def _stretch(name: str) -> range | None:
    if name.startswith(TAR_PREFIX):
        start, length = tar_member(name)
        return range(start, start + length)
    if not name.startswith(STRETCH_PREFIX):
        return None
    places = name.removeprefix(STRETCH_PREFIX).partition("::")[0].split("-")
    if len(places) != 2 or not all(place.isdecimal() for place in places):
        raise ValueError(f"{name[:40]} is not {STRETCH_PREFIX}START-STOP::PATH")
    if os.path.isdir(file_beneath(name)):
        raise IsADirectoryError(f"{file_beneath(name)} is a folder")
    return range(int(places[0]), int(places[1]))
