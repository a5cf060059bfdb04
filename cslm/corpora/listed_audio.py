"""Recordings that a list names as they lay on another machine, found again in a folder or an archive."""

from __future__ import annotations

import os
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from cslm.corpora.audio_folder import SUFFIXES
from cslm.corpora.manifest import audio_from
from cslm.corpora.written_audio import write_audio
from cslm.errors import UserError
from cslm.files.progress import progress_bar

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
"""How archives begin that have to be unpacked: gzip, bzip2, xz."""


class ListedAudio:
    """Where each recording is that a list names."""

    def __init__(self, source: Path, places: dict[str, str], output: Path) -> None:
        """Take what there is.

        Args:
            source: folder or archive, to be named in errors.
            places: path within it, to how the manifest names the recording.
            output: folder of the manifest.
        """
        self._source, self._places, self._output = source, places, output
        self._by_name = _by_name(places)

    def place(self, listed: str, where: str) -> str:
        """How the manifest names a recording.

        The one with this path; else the one of this file name (with or without its suffix) whose folders agree the
        furthest, from the file on.

        Raises:
            UserError: there is none, or there are several.
        """
        wanted = PurePosixPath(listed.replace("\\", "/"))
        if str(wanted) in self._places:
            return self._places[str(wanted)]
        named = self._by_name.get(wanted.name, ())
        found = _closest(wanted, named)
        if len(found) == 1:
            return self._places[found[0]]
        if not found:
            raise UserError(f"{where}: its recording {listed} is not in {self._source}, or is empty there")
        raise UserError(f"{where}: its recording {listed} may be {' or '.join(found[:3])} of {self._source}")

    def keep(self, used: Iterable[str]) -> None:
        """Remove what was unpacked and is not used."""
        kept = set(used)
        for place in self._places.values():
            path = self._output / place
            if place not in kept and "://" not in place and path.resolve().is_relative_to(self._output.resolve()):
                path.unlink(missing_ok=True)


def open_listed_audio(source: Path, listed: Sequence[str], output: Path) -> ListedAudio:
    """The recordings of a folder, of a tar file, read in place, or of a compressed one, unpacked into ``output/audio``.

    Args:
        source: folder or archive.
        listed: all that a list names: what else there is is left where it is.
        output: folder of the manifest.

    Raises:
        UserError: the archive cannot be read.
    """
    names = {PurePosixPath(name.replace("\\", "/")).name for name in listed}
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if _is_wanted(path.name, names))
        found = {path.relative_to(source).as_posix(): audio_from(output, str(path)) for path in files}
        return ListedAudio(source, found, output)
    try:
        return ListedAudio(source, _of_archive(source, names, output), output)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{source}: cannot be read as a tar archive ({error}); copy or download it again") from None


def _of_archive(source: Path, names: set[str], output: Path) -> dict[str, str]:
    """Path in the archive to how the manifest names it; of two members of one path the later counts."""
    found: dict[str, str] = {}
    with source.open("rb") as file:
        compressed = file.read(8).startswith(_COMPRESSED)
    with tarfile.open(source, "r|*" if compressed else "r:") as archive:
        for member in progress_bar(archive, None, f"reading {source.name}"):
            if not member.isfile() or not member.size or not _is_wanted(PurePosixPath(member.name).name, names):
                continue
            path = str(PurePosixPath(member.name))
            number = list(found).index(path) if path in found else len(found)
            if compressed:
                found[path] = _unpacked(archive, member, number, output)
            else:
                found[path] = f"tar://{member.name}::{os.path.abspath(source)}"
    return found


def _unpacked(archive: tarfile.TarFile, member: tarfile.TarInfo, number: int, output: Path) -> str:
    content = archive.extractfile(member)
    assert content is not None
    return write_audio({"bytes": content.read(), "path": member.name}, number, output, member.name, None)


def _is_wanted(name: str, names: set[str]) -> bool:
    return name in names or (Path(name).suffix.lower() in SUFFIXES and Path(name).stem in names)


def _by_name(paths: Iterable[str]) -> dict[str, list[str]]:
    """The paths by file name, and by file name without suffix."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        name = PurePosixPath(path).name
        found[name].append(path)
        if Path(name).stem != name:
            found[Path(name).stem].append(path)
    return found


def _closest(wanted: PurePosixPath, named: Sequence[str]) -> list[str]:
    """Those paths that share the most folders with the wanted one, counted from the file on."""
    shared = [_num_shared(wanted.parts[:-1], PurePosixPath(path).parts[:-1]) for path in named]
    return [path for path, count in zip(named, shared, strict=True) if count == max(shared)]


def _num_shared(one: Sequence[str], other: Sequence[str]) -> int:
    count = 0
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        count += 1
    return count
