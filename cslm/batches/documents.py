"""JSON Lines read at random: the places of the lines are known, their contents stay on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from cslm.corpora.text_documents import HEADER
from cslm.errors import UserError

_MOST_OPEN = 64


class JsonLines:
    """Documents, one JSON object a line, each with the same text fields (``messages`` is a list).

    They are those of one file, or of all ``*.jsonl`` of a folder in the order of their names, as if they were one file.

    Raises:
        UserError: there is no such file or folder, it holds no JSON Lines, or its header names other files.
    """

    def __init__(self, path: Path, fields: tuple[str, ...]) -> None:
        self.path = path
        self.fields = fields
        self.files = _files_of(path)
        sizes = [file.stat().st_size for file in self.files]
        self._starts = np.cumsum([0, *sizes])
        self._open = lru_cache(maxsize=_MOST_OPEN)(lambda number: FileIO(self.files[number]))

    def scan(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every document with its place, checked; empty lines are passed over.

        Raises:
            UserError: a line that is not a JSON object, or lacks a field.
        """
        for start, path in zip(self._starts.tolist(), self.files, strict=False):
            offset = start
            with path.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield offset, self._parse(line, f"{path}, line {number}")
                    offset += len(line)

    def read(self, offset: int) -> dict[str, Any]:
        """The document at a place that :meth:`scan` gave."""
        number = int(np.searchsorted(self._starts, offset, side="right")) - 1
        place = offset - int(self._starts[number])
        file = self._open(number)
        data = os.pread(file.fileno(), 4096, place)
        while b"\n" not in data:
            more = os.pread(file.fileno(), max(4096, len(data)), place + len(data))
            if not more:
                break
            data += more
        document: dict[str, Any] = json.loads(data.partition(b"\n")[0])
        return document

    def _parse(self, line: bytes, where: str) -> dict[str, Any]:
        try:
            document = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error}); mend or remove the line") from None
        if not isinstance(document, dict):
            raise UserError(f"{where}: a {type(document).__name__} where an object was expected")
        for name in self.fields:
            wanted = list if name == "messages" else str
            if not isinstance(document.get(name), wanted):
                found = "is missing" if name not in document else f"is {document[name]!r}"
                raise UserError(
                    f"{where}: the field {name} {found}; it must be {'a list' if wanted is list else 'text'}"
                )
        return document


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"there is no file {path}: give a JSON Lines file of documents, or a folder of such files")
    files = sorted(path.glob("*.jsonl"))
    if not files:
        raise UserError(f"{path} holds no *.jsonl: give a folder of JSON Lines files of documents")
    if (path / HEADER).is_file():
        _check_header(path, files)
    return files


def _check_header(folder: Path, files: list[Path]) -> None:
    """Make sure that the shards are those of the folder's header, by name and size."""
    shards = json.loads((folder / HEADER).read_text(encoding="utf-8")).get("shards", [])
    wanted = {shard["name"]: shard["bytes"] for shard in shards}
    found = {file.name: file.stat().st_size for file in files}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            said, is_there = (f"{sizes[name]:,} bytes" if name in sizes else "no" for sizes in (wanted, found))
            raise UserError(
                f"{folder / name}: {HEADER} says {said}, there are {is_there}: copy or prepare the folder again"
            )
