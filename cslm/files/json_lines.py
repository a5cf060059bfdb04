"""JSON Lines: one object a line, read with its number and written whole or not at all; also from fsspec URLs."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any, cast

import fsspec

from cslm.errors import UserError
from cslm.files.atomic_file import file_aside

_PathLike = str | os.PathLike[str]
_GZIPPED = ".gz"
_scan: Callable[[str, int], tuple[Any, int]] = vars(json.JSONDecoder())["scan_once"]


def read_json_lines(path: _PathLike) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, object) of a JSON Lines file; empty lines are skipped.

    Raises:
        UserError: no such file, or a line that is not a JSON object.
    """
    name = os.fspath(path)
    with open_bytes(name) as file:
        for number, line in _numbered(file, name):
            try:  # most lines, quickly: a manifest has millions
                text = line.decode().strip()
                record, end = _scan(text, 0)
                if end != len(text):
                    raise ValueError("more than one value")
            except (ValueError, StopIteration, RecursionError):
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                except (ValueError, RecursionError) as error:
                    where = f"{name}, line {number}"
                    raise UserError(f"{where}: not JSON ({error}); each line is one JSON object") from None
            if not isinstance(record, dict):
                raise UserError(f"{name}, line {number}: not a JSON object but {type(record).__name__}")
            yield number, record


def _numbered(file: IO[bytes], name: str) -> Iterator[tuple[int, bytes]]:
    """The lines with their numbers."""
    if not name.endswith(_GZIPPED):
        yield from enumerate(file, start=1)
        return
    number = 0
    try:
        for number, line in enumerate(file, start=1):
            yield number, line
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{name}: cannot be unpacked behind line {number} ({error}); copy it again") from None


def open_bytes(name: str) -> IO[bytes]:
    """A file by its path or its fsspec URL, open for reading; what ends in ``.gz`` is unpacked.

    Raises:
        UserError: it cannot be opened.
    """
    if os.path.isdir(name):
        inside = os.path.join(name, "manifest.jsonl")
        raise UserError(f"{name}: is a folder; name the file{f', {inside}' if os.path.isfile(inside) else ' in it'}")
    try:
        if name.endswith(_GZIPPED):
            return cast(IO[bytes], fsspec.open(name, "rb", compression="gzip").open())
        return fsspec.open(name, "rb").open() if "://" in name else open(name, "rb")
    except (OSError, ValueError, ImportError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{name}: cannot be opened ({reason}); check the path") from None


def write_json_lines(records: Iterable[dict[str, Any]], path: _PathLike) -> int:
    """Write JSON Lines atomically and return the number of lines."""
    count = 0
    with file_aside(Path(path)) as temporary, temporary.open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
            count += 1
    return count
