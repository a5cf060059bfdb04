"""Samples of an audio file, block by block, to the end of what is there, whatever its header says."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import soundfile
from numpy.typing import NDArray

from cslm.audio.byte_pieces import BytePieces, Piece
from cslm.audio.containers import layout_of
from cslm.audio.layout import Layout
from cslm.errors import UserError

_BLOCK_SAMPLES = 1 << 19  # of all channels together: 2 MiB of float32
_CAREFUL_FRAMES = 1 << 12  # a fault takes the whole block with it
_UNLIMITED = 1 << 48  # frames
_COUNTED_BY_HEADER = ("FLAC", "OGG", "MPEG", "MP3")
"""Formats whose length libsndfile takes from what is written, not from the size of the file."""
_SIZES = re.compile(r"^\s*(?:data|riff|Riff size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_CHUNKED = ("WAV", "WAVEX", "RF64", "AIFF")


class _SoundFile(soundfile.SoundFile):
    """Reads on from where it is: soundfile seeks behind every block, which resets some decoders."""

    def seekable(self) -> bool:
        return False

    def can_seek(self) -> bool:
        """Whether libsndfile can."""
        return bool(super().seekable())


class _Stream:
    """One file for libsndfile to decode, made of pieces."""

    def __init__(self, file: BinaryIO, pieces: list[Piece], stretched: int = 1) -> None:
        self.bytes = BytePieces(file, pieces, stretched)
        self.num_bytes = sum(len(piece) for piece in pieces)
        try:
            self.sound = _SoundFile(self.bytes)
        finally:
            self._raise_fault()

    def read(self, num_frames: int) -> NDArray[np.float32]:
        """So many frames, or what is left, ``(num_frames, num_channels)``."""
        try:
            block: NDArray[np.float32] = self.sound.read(num_frames, dtype="float32", always_2d=True)
        finally:
            self._raise_fault()
        return block

    def _raise_fault(self) -> None:
        if self.bytes.fault is not None:
            raise self.bytes.fault


class AudioReader:
    """An audio file that is open: its rate, and its samples from the first to the last that is there.

    Raises:
        UserError: it is cut short.
        soundfile.LibsndfileError: it is no audio.
    """

    def __init__(self, file: BinaryIO, size: int, name: str) -> None:
        self._file, self._name = file, name
        self._layout = layout_of(file, size)
        if self._layout.cut is not None:
            raise UserError(f"{name}: is cut short: {self._layout.cut}; copy or download it again")
        first, *self._waiting = self._layout.streams
        self._stream = _Stream(file, first, self._layout.stretched)
        self._place = 0  # frames before the next one
        self._is_beyond = False  # behind the last frame that the header counts
        self.notes = self._layout.notes
        self.rate_hz = int(self._stream.sound.samplerate)
        self.num_channels = int(self._stream.sound.channels)
        self.num_said = _frames_said(self._stream, self._layout)
        self.is_counted = self._stream.sound.format in _COUNTED_BY_HEADER
        """Whether the number of frames is what somebody wrote down, rather than the size of the file."""
        self._check_log()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stream.sound.close()

    def skip(self, num_frames: int) -> int:
        """Go on so many frames, from the beginning on; returns how many there were."""
        if not num_frames:
            return 0
        if self.num_said is not None and num_frames > self.num_said and not self.is_counted:
            return self.num_said
        may_seek = not self._waiting and self._stream.sound.can_seek()
        if may_seek and (self.num_said is None or num_frames <= self.num_said):
            self._stream.sound.seek(num_frames)
            self._place = num_frames
            return num_frames
        return sum(len(block) for block in self.blocks(num_frames))

    def blocks(self, most: int | None = None) -> Iterator[NDArray[np.float32]]:
        """The frames from here on, ``(num_frames, num_channels)`` at a time, no more than ``most`` in all."""
        left = _UNLIMITED if most is None else most
        while left > 0:
            block = self._next_block(left)
            if len(block):
                left -= len(block)
                self._place += len(block)
                yield block
            elif not self._open_next():
                return

    def _next_block(self, most: int) -> NDArray[np.float32]:
        """Frames of the stream that is open; no more than it says, where it does: behind them may stand a tag."""
        try:
            if self._is_beyond:
                return self._stream.read(min(_CAREFUL_FRAMES, most))
            said = most if self.num_said is None else self.num_said - self._place
            return self._stream.read(min(max(1, _BLOCK_SAMPLES // self.num_channels), most, said))
        except soundfile.SoundFileError:
            if not self._is_beyond:
                raise
            return np.empty((0, self.num_channels), np.float32)  # a tag, a picture

    def _open_next(self) -> bool:
        """Go on with the next stream, or with what the header does not count; false where there is none."""
        if self._waiting:
            self._go_on_with(self._waiting.pop(0))
            return True
        all_read = self._stream.bytes.tell() >= self._stream.num_bytes
        if self._layout.beyond is None or self._is_beyond or self._place != self.num_said or all_read:
            return False
        self._is_beyond = True
        self._go_on_with(self._layout.beyond)
        with contextlib.suppress(soundfile.SoundFileError):
            self._stream.sound.seek(self._place)
            return True
        return False

    def _go_on_with(self, pieces: list[Piece]) -> None:
        stream = _Stream(self._file, pieces, self._layout.stretched)
        self._stream.sound.close()
        self._stream = stream
        found = (stream.sound.samplerate, stream.sound.channels)
        if found != (self.rate_hz, self.num_channels):
            raise UserError(
                f"{self._name}: holds streams of {self.rate_hz} Hz, {self.num_channels} channels and of {found[0]} Hz, "
                f"{found[1]} channels; convert each to a file of its own"
            )

    def _check_log(self) -> None:
        """Refuse what libsndfile notes in its log alone: fewer bytes than the header announces."""
        if self._stream.sound.format in _CHUNKED:
            return  # measured before
        slack = 0.1 * self.rate_hz * self.num_channels
        for said, found in _SIZES.findall(self._stream.sound.extra_info):
            if int(said) < 0x7FFFFF00 and int(said) - int(found) > slack:
                raise UserError(f"{self._name}: is cut short: {found} bytes of {said}; copy or download it again")


def _frames_said(stream: _Stream, layout: Layout) -> int | None:
    """How many frames the file says it has; None where it does not, or only guesses."""
    frames = int(stream.sound.frames)
    return frames if len(layout.streams) == 1 and not layout.is_guess and frames < _UNLIMITED else None
