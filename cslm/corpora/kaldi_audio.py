"""What ``wav.scp`` names: a file, a place in an archive (``.ark:OFFSET``), or a command whose output is audio."""

from __future__ import annotations

import os
import re
import shlex
import struct
from pathlib import Path

from cslm.audio.audio_source import stretch_url
from cslm.errors import UserError

_PLACE = re.compile(r"(.+):(\d+)")
_RANGE = re.compile(r".*\[[\d:,]+\]")
_FILE = object()
_PLAIN_PIPES: tuple[tuple[object, ...], ...] = (
    *(
        ("flac", *options, _FILE)
        for options in (("-c", "-d", "-s"), ("-d", "-c", "-s"), ("-dcs",), ("-cds",), ("-c", "-d"))
    ),
    ("sox", _FILE, "-t", "wav", "-"),
    ("cat", _FILE),
)
"""Commands that do no more than decode a file: what it holds is what they write."""
_SOUNDS = (b"fLaC", b"OggS", b"NIST", b"FORM", b".snd", b"ID3", b"\xff\xfb", b"\xff\xf3")


def recordings_of(file: Path, entries: dict[str, str], plain_pipes: bool) -> dict[str, str]:
    """Where the audio of each recording is: a path or a URL.

    Args:
        file: the ``wav.scp``, to be named in errors.
        entries: its recordings and what stands behind them.
        plain_pipes: read the file of a pipe that only decodes it.

    Raises:
        UserError: a command, or a place in an archive that holds features.
    """
    places = {name: match for name, entry in entries.items() if (match := _place_in_archive(entry))}
    starts: dict[str, list[tuple[int, int]]] = {}
    for name, (archive, start) in places.items():
        starts.setdefault(archive, []).append((start, start - len(name.encode()) - 1))
    for known in starts.values():
        known.sort()
    return {
        name: _stretch(f"{file}: {name}", *places[name], starts[places[name][0]])
        if name in places
        else _file(file, name, entry, plain_pipes)
        for name, entry in entries.items()
    }


def _place_in_archive(entry: str) -> tuple[str, int] | None:
    match = _PLACE.fullmatch(entry)
    if match is None or "://" in entry or entry.endswith("|") or os.path.exists(entry):
        return None
    return match[1], int(match[2])


def _file(file: Path, name: str, entry: str, plain_pipes: bool) -> str:
    if _RANGE.fullmatch(entry) and not os.path.exists(entry):
        raise UserError(f"{file}: {name} asks for a part of a matrix ({entry[:60]}), which is no audio")
    if not entry.endswith("|"):
        return entry
    found = _plain_file(entry)
    if plain_pipes and found is not None:
        return found
    advice = "write its output to files"
    if found is not None:
        advice += ", or have the file that it only decodes read as it is: --plain_pipes true"
    raise UserError(f"{file}: {name} is a command ({entry[:60]}), which is not run; {advice}")


def _plain_file(entry: str) -> str | None:
    """The file of a command that only decodes it."""
    try:
        words = shlex.split(entry.removesuffix("|"))
    except ValueError:
        return None
    for pattern in _PLAIN_PIPES:
        if len(words) == len(pattern) and all(want in (word, _FILE) for word, want in zip(words, pattern, strict=True)):
            found = words[pattern.index(_FILE)]
            return None if found.startswith("-") or any(sign in found for sign in "|<>$`;&*") else found
    return None


def _stretch(where: str, archive: str, start: int, known: list[tuple[int, int]]) -> str:
    """The bytes of an archive from a place on: as many as its WAV header says, or up to the next place."""
    try:
        size = os.path.getsize(archive)
        with open(archive, "rb") as file:
            file.seek(start)
            head = file.read(12)
    except OSError as error:
        raise UserError(f"{where} lies in {archive}, which cannot be read ({error.strerror})") from None
    stop = min((before for at, before in known if at > start), default=size)
    if head.startswith(b"RIFF") and len(head) == 12:
        said = start + 8 + struct.unpack("<I", head[4:8])[0]
        stop = said if said <= stop else stop
    elif not head.startswith(_SOUNDS):
        kind = "features (a Kaldi matrix)" if head.startswith(b"\0B") or head.lstrip().startswith(b"[") else "no audio"
        raise UserError(f"{where} is {archive}:{start}, which holds {kind}: a wav.scp with audio is needed")
    return stretch_url(os.path.abspath(archive), start, stop)
