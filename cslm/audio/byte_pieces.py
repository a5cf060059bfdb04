"""A file put together from pieces of another: how a header that is wrong is mended without touching the file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import BinaryIO

Piece = bytes | range
"""Bytes that stand there, or places of the file beneath (step 1)."""

_TAIL = 128  # libmpg123 looks for a tag in the last bytes and gives up where it cannot read them


class BytePieces(io.RawIOBase):
    """Pieces one after the other, as one file to read; ``stretched`` times as long as it is for who asks its length.

    libsndfile reads it through callbacks, where an exception would be taken for the end of the file: the first is kept
    in ``fault``, for the caller to raise.
    """

    def __init__(self, file: BinaryIO, pieces: Sequence[Piece], stretched: int = 1) -> None:
        self._file = file
        self._pieces = [piece for piece in pieces if len(piece)]
        only = self._pieces[0] if len(self._pieces) == 1 else None
        self._only = only if isinstance(only, range) else None  # most files, quickly
        self._size = sum(len(piece) for piece in self._pieces)
        self._said = self._size * stretched
        self._place = 0
        self.fault: Exception | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Place from the beginning, in bytes."""
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; returns it."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._said}[whence]
        self._place = max(0, start + offset)
        return self._place

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as there is something; returns the number of bytes."""
        view = memoryview(buffer).cast("B")
        if self._said > self._size and self._place >= self._said - _TAIL:
            count = max(0, min(len(view), self._said - self._place))
            view[:count] = bytes(count)
        else:
            try:
                count = self._fill(view)
            except Exception as error:  # noqa: BLE001  (raised again when libsndfile has returned)
                self.fault = self.fault or error
                count = 0
        self._place += count
        return count

    def _fill(self, view: memoryview) -> int:
        if self._only is not None:
            count = max(0, min(len(view), self._size - self._place))
            self._file.seek(self._only.start + self._place)
            return int(self._file.readinto(view[:count]))  # type: ignore[attr-defined]
        begin, filled = 0, 0
        for piece in self._pieces:
            inside = self._place + filled - begin
            if filled < len(view) and 0 <= inside < len(piece):
                part = self._part(piece, inside, len(view) - filled)
                view[filled : filled + len(part)] = part
                filled += len(part)
                if isinstance(piece, range) and not part:
                    break  # the file became shorter
            begin += len(piece)
        return filled

    def _part(self, piece: Piece, inside: int, most: int) -> bytes:
        if isinstance(piece, bytes):
            return piece[inside : inside + most]
        self._file.seek(piece.start + inside)
        return self._file.read(min(most, len(piece) - inside))


class Stretch(BytePieces):
    """A stretch of a file, whose faults are raised where they happen."""

    def __init__(self, file: BinaryIO, stretch: range) -> None:
        super().__init__(file, [stretch])

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """The same."""
        count = super().readinto(buffer)
        if self.fault is not None:
            raise self.fault
        return count
