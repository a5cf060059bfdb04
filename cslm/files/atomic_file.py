"""Files that are there whole or not at all, in a folder of this machine or at an fsspec URL.

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
    with _flushed(path, content) as temporary:
        os.replace(temporary, path)


def create_atomically(path: Path, content: bytes) -> bool:
    """The same for a file that must not be there yet; false, and nothing changed, if another process was first."""
    if is_remote(path):
        if path.exists():
            return False
        write_atomically(path, content)
        return True
    with _flushed(path, content) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
    return True


def remove_folder(folder: Path) -> None:
    """Remove a folder and all in it, if it is there."""
    if is_remote(folder):
        remote = cast(UPath, folder)
        if remote.exists():
            remote.fs.rm(remote.path, recursive=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _flushed(path: Path, content: bytes) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:  # a full disk does not say for which file
        raise type(error)(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
