"""Files and folders that are there whole or not at all, on this machine or at an fsspec URL.

A URL (``s3://bucket/store``) is a ``upath.UPath``, which answers as a ``pathlib.Path`` does. Object stores show a file
when all of it has been sent, so nothing is renamed there; and they have no locks.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from upath import UPath


def folder_at(place: str | os.PathLike[str]) -> Path:
    """A folder by its path or its URL."""
    if isinstance(place, str) and "://" in place:
        return cast(Path, UPath(place))
    return cast(Path, place) if is_remote(place) else Path(place)


def is_remote(place: Any) -> bool:
    """Whether a folder or file is at a URL: no locks, no renaming."""
    return isinstance(place, UPath) and not isinstance(place, Path)


def write_atomically(path: Path, content: bytes) -> None:
    """Write under a temporary name in the same folder, flush to the disk, rename; at a URL, send."""
    if is_remote(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return
    with _naming(path), file_aside(path) as temporary:
        temporary.write_bytes(content)


def create_atomically(path: Path, content: bytes) -> bool:
    """The same for a file that must not be there yet; false, and nothing changed, if another process was first."""
    if is_remote(path):
        if path.exists():
            return False
        write_atomically(path, content)
        return True
    with _naming(path), _removed_after(_temporary(path)) as temporary:
        temporary.write_bytes(content)
        flush(temporary)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    return True


@contextlib.contextmanager
def file_aside(path: Path) -> Iterator[Path]:
    """A temporary name beside a file of this machine.

    What the block writes there is flushed to the disk and takes the name ``path`` when the block ends well; otherwise
    it is removed, and what stood at ``path`` stays. For content that is not in memory as a whole: ``write_atomically``
    takes bytes.
    """
    with _removed_after(_temporary(path)) as temporary:
        yield temporary
        flush(temporary)
        os.replace(temporary, path)


@contextlib.contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``folder``, on this machine, which takes its name, flushed, when the block ends well.

    Otherwise it is removed. ``folder`` may be there, empty.

    Raises:
        OSError: at the end, where ``folder`` holds something by then.
    """
    with _removed_after(_temporary(folder)) as aside:
        remove_folder(aside)  # of a process of the same number that was killed
        aside.mkdir()
        yield aside
        for file in aside.rglob("*"):
            if file.is_file():
                flush(file)
        os.replace(aside, folder)


def flush(file: Path) -> None:
    """Wait until the disk has what was written to a file of this machine."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it, if it is there."""
    if is_remote(folder):
        remote = cast(UPath, folder)
        if remote.exists():
            remote.fs.rm(remote.path, recursive=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """A name in the same folder, of this process alone; machines may share the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.uname().nodename}.{os.getpid()}.tmp")


@contextlib.contextmanager
def _removed_after(temporary: Path) -> Iterator[Path]:
    try:
        yield temporary
    finally:
        if temporary.is_dir():
            remove_folder(temporary)
        else:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A full disk does not say for which file."""
    try:
        yield
    except OSError as error:
        raise type(error)(error.errno, error.strerror, str(path)) from error
