"""Samples of an audio file, block by block, to the end of what is there, whatever its header says."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self, cast

import numpy as np
import soundfile
from numpy.typing import NDArray

from cslm.audio.byte_pieces import BytePieces, Piece, Stretch
from cslm.audio.containers import layout_of
from cslm.audio.layout import Layout
from cslm.audio.mpeg_frames import after_tags, frame_kind, is_mpeg
from cslm.errors import UserError

_BLOCK_SAMPLES = 1 << 19  # of all channels together: 2 MiB of float32
_CAREFUL_FRAMES = 1 << 12  # a fault takes the whole block with it
_UNLIMITED = 1 << 48  # frames
_COUNTED_BY_HEADER = ("FLAC", "OGG", "MPEG", "MP3")
"""Formats whose length libsndfile takes from what is written, not from the size of the file."""
_SIZES = re.compile(r"^\s*(?:data|riff|Riff size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_CHUNKED = ("WAV", "WAVEX", "RF64", "AIFF")
_MEASURED = (*_CHUNKED, *_COUNTED_BY_HEADER, "AU", "CAF", "W64", "NIST")
"""Formats of which it is known whether all is there."""
_RATES_HZ = range(1000, 1_000_001)
"""Beyond these no speech is recorded: the header is damaged, and resampling would fill the memory."""
_FRAME_HEAD = 4  # bytes of MPEG audio
_FLAC_BEGINS = b"fLaC\0\0\0\x22"
_FLAC_AHEAD = 1 << 16  # what libFLAC may have read ahead


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
        if not size:
            raise UserError(f"{name}: is empty (0 bytes), so it cannot be read as audio; copy or download it again")
        self._file, size = _without_tags(file, size)
        self._name = name
        self._layout = layout_of(self._file, size)
        if self._layout.cut is not None:
            raise UserError(f"{name}: is cut short: {self._layout.cut}; copy or download it again")
        first, *self._waiting = self._layout.streams
        self._stream = _Stream(self._file, first, self._layout.stretched)
        self._place = 0  # frames before the next one
        self._is_beyond = False  # behind the last frame that the header counts
        self._counted_bytes = 0  # what was read up to there
        self.notes = self._layout.notes
        self.rate_hz = int(self._stream.sound.samplerate)
        self.num_channels = int(self._stream.sound.channels)
        self.num_said = _frames_said(self._stream, self._layout)
        self.is_counted = self._stream.sound.format in _COUNTED_BY_HEADER
        """Whether the number of frames is what somebody wrote down, rather than the size of the file."""
        if self.rate_hz not in _RATES_HZ:
            raise UserError(f"{name}: says that it has {self.rate_hz} samples a second; remove it or convert it again")
        if self._stream.sound.format not in _MEASURED:
            self.notes.append(f"whether all of it is there is not known of its format ({self._stream.sound.format})")
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
                self._check_rest()
                return

    def _next_block(self, most: int) -> NDArray[np.float32]:
        """Frames of the stream that is open; no more than it says, where it does: behind them may stand a tag."""
        try:
            if self._is_beyond:
                return self._stream.read(min(_CAREFUL_FRAMES, most))
            said = most if self.num_said is None else self.num_said - self._place
            return self._stream.read(min(max(1, _BLOCK_SAMPLES // self.num_channels), most, said))
        except soundfile.LibsndfileError as error:
            if not self._is_beyond:
                at = f"near byte {min(self._stream.bytes.tell(), self._stream.num_bytes)} of {self._stream.num_bytes}"
                raise UserError(
                    f"{self._name}: cannot be read as audio ({error.error_string}, {at}); remove it or convert it again"
                ) from None
            return np.empty((0, self.num_channels), np.float32)  # a tag, a picture

    def _open_next(self) -> bool:
        """Go on with the next stream, or with what the header does not count; false where there is none."""
        if self._waiting:
            self._go_on_with(self._waiting.pop(0))
            return True
        all_read = self._stream.bytes.tell() >= self._stream.num_bytes
        if self._layout.beyond is None or self._is_beyond or self._place != self.num_said or all_read:
            return False
        self._is_beyond, self._counted_bytes = True, self._stream.bytes.tell()
        self._go_on_with(self._layout.beyond)
        with contextlib.suppress(soundfile.SoundFileError):
            self._stream.sound.seek(self._place)
            return True
        return False

    def _go_on_with(self, pieces: list[Piece]) -> None:
        stream = _Stream(self._file, pieces, self._layout.stretched)
        self._stream.sound.close()
        self._stream = stream
        self._check_same((stream.sound.samplerate, stream.sound.channels))

    def _check_same(self, found: tuple[int, int]) -> None:
        if found != (self.rate_hz, self.num_channels):
            raise UserError(
                f"{self._name}: holds streams of {self.rate_hz} Hz, {self.num_channels} channels and of {found[0]} Hz, "
                f"{found[1]} channels; convert each to a file of its own"
            )

    def _check_rest(self) -> None:
        """Refuse audio that stands behind what could be decoded: MP3 frames of another kind, another FLAC file."""
        content, place = self._stream.bytes, self._stream.bytes.tell()
        if self._layout.is_guess and place < self._stream.num_bytes:
            content.seek(max(0, place - _FRAME_HEAD))  # libmpg123 has read the head of the frame that it did not like
            kind = frame_kind(content.read(_FRAME_HEAD))
            if kind is not None:
                self._check_same(kind)
        elif self._is_beyond:
            content.seek(max(len(_FLAC_BEGINS), self._counted_bytes - _FLAC_AHEAD))
            if _FLAC_BEGINS in content.read(2 * _FLAC_AHEAD):
                raise UserError(f"{self._name}: holds two FLAC files, one after the other; make a file of each")

    def _check_log(self) -> None:
        """Refuse what libsndfile notes in its log alone: fewer bytes than the header announces."""
        if self._stream.sound.format in _CHUNKED:
            return  # measured before
        slack = 0.1 * self.rate_hz * self.num_channels
        for said, found in _SIZES.findall(self._stream.sound.extra_info):
            if int(said) < 0x7FFFFF00 and int(said) - int(found) > slack:
                raise UserError(f"{self._name}: is cut short: {found} bytes of {said}; copy or download it again")


def _without_tags(file: BinaryIO, size: int) -> tuple[BinaryIO, int]:
    """The file from behind the tags (ID3) that some programs put before other formats than MP3, and its length."""
    start = after_tags(file, size)
    file.seek(start)
    if not start or is_mpeg(file.read(_FRAME_HEAD)):
        return file, size
    return cast(BinaryIO, Stretch(file, range(start, size))), max(0, size - start)


def _frames_said(stream: _Stream, layout: Layout) -> int | None:
    """How many frames the file says it has; None where it does not, or only guesses."""
    frames = int(stream.sound.frames)
    return frames if len(layout.streams) == 1 and not layout.is_guess and frames < _UNLIMITED else None
