"""What was made once and is not made again: rows under the hash of all that decides them.

A record is there whole or not at all, so a run that was killed goes on behind its last record, and what comes out is
byte for byte what a run makes that nobody disturbed.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cslm.codecs.fingerprint import canonical_json
from cslm.files.json_lines import read_json_lines, write_json_lines

Row = dict[str, Any]


def made_key(decided_by: Any) -> str:
    """64 hexadecimal digits of plain values: the name of what they decide."""
    return hashlib.sha256(canonical_json(decided_by).encode()).hexdigest()


class MadeRecords:
    """Records in a folder, a JSON Lines file each. Several processes may share it: who is last writes the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def rows(self, decided_by: Mapping[str, Any], make: Callable[[], Iterable[Row]]) -> list[Row]:
        """The rows of a record; they are made and kept where it is not there yet.

        Args:
            decided_by: all that decides the rows, as plain values: texts, facts of a model, settings.
            make: makes them.
        """
        return list(self.read(self.keep(decided_by, make)))

    def keep(self, decided_by: Mapping[str, Any], make: Callable[[], Iterable[Row]]) -> str:
        """The name of a record; its rows are made and kept where it is not there yet."""
        key = made_key(decided_by)
        if not self._file(key).is_file():
            write_json_lines(make(), self._file(key))
        return key

    def read(self, key: str) -> Iterator[Row]:
        """The rows of a record that is there."""
        return (row for _, row in read_json_lines(self._file(key)))

    def _file(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.jsonl"

    def remove(self) -> None:
        """Remove all records: what was made of them stands elsewhere now."""
        shutil.rmtree(self._folder, ignore_errors=True)
