"""A JSON Lines file read at random: the places of its lines are known, its contents stay on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cslm.errors import UserError


class JsonLines:
    """Documents of a file, one JSON object a line, each with the same text fields (``messages`` is a list).

    Raises:
        UserError: the file is missing.
    """

    def __init__(self, path: Path, fields: tuple[str, ...]) -> None:
        if not path.is_file():
            raise UserError(f"there is no file {path}: give a JSON Lines file of documents")
        self.path = path
        self._fields = fields
        self._file = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def scan(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Every document with its place, checked; empty lines are passed over.

        Raises:
            UserError: a line that is not a JSON object, or lacks a field.
        """
        offset = 0
        with self.path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield offset, self._parse(line, number)
                offset += len(line)

    def read(self, offset: int) -> dict[str, Any]:
        """The document at a place that :meth:`scan` gave."""
        data = os.pread(self._file, 4096, offset)
        while b"\n" not in data:
            more = os.pread(self._file, max(4096, len(data)), offset + len(data))
            if not more:
                break
            data += more
        document: dict[str, Any] = json.loads(data.partition(b"\n")[0])
        return document

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        where = f"{self.path}, line {number}"
        try:
            document = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}: not JSON ({error}); mend or remove the line") from None
        if not isinstance(document, dict):
            raise UserError(f"{where}: a {type(document).__name__} where an object was expected")
        for name in self._fields:
            wanted = list if name == "messages" else str
            if not isinstance(document.get(name), wanted):
                found = "is missing" if name not in document else f"is {document[name]!r}"
                raise UserError(
                    f"{where}: the field {name} {found}; it must be {'a list' if wanted is list else 'text'}"
                )
        return document
