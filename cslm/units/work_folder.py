"""The folder ``.progress`` of a store in the making: the plan, a claim on each shard, and a receipt for a finished one.

A stopped run goes on from it, and several runs share the work by it. It goes when the store is whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cslm.errors import UserError
from cslm.files.atomic_file import create_atomically, is_remote, remove_folder, write_atomically


class WorkFolder:
    """Plan, claims and receipts of the store in ``folder``; all are plain values."""

    def __init__(self, folder: Path) -> None:
        """Touch nothing yet; see ``begin``."""
        self.folder = folder
        self._state = folder / ".progress"

    def begin(self, plan: dict[str, Any]) -> dict[str, Any]:
        """Write the plan, unless there is one; the one that is there.

        Raises:
            UserError: the folder holds something that is no work begun.
        """
        file = self._state / "plan.json"
        if not file.exists():
            found = {file.name for file in self.folder.iterdir()} if self.folder.exists() else set()
            if found - {self._state.name}:
                raise UserError(f"{self.folder} holds something else ({min(found)}): remove it or name another output")
            create_atomically(file, json.dumps(plan, indent=1).encode())
        there: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return there

    @contextlib.contextmanager
    def locked(self, name: str, waits: bool) -> Iterator[bool]:
        """Hold a lock that the system gives back when the process ends; false if it is held or the work is over.

        At a URL there are no locks: two processes may make one shard there, with the same bytes.
        """
        if is_remote(self._state):
            yield self._state.exists()
            return
        try:
            file = (self._state / name).open("w")
        except FileNotFoundError:  # another process finished the store and removed its progress
            yield False
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def write_receipt(self, index: int, receipt: dict[str, Any]) -> None:
        """Say that a shard is finished."""
        write_atomically(self._receipt_path(index), json.dumps(receipt).encode())

    def receipt(self, index: int) -> dict[str, Any] | None:
        """What was said of a finished shard."""
        file = self._receipt_path(index)
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def remove(self) -> None:
        """The store is whole."""
        remove_folder(self._state)

    def _receipt_path(self, index: int) -> Path:
        return self._state / f"{index:05d}.json"


def is_intact(file: Path, num_bytes: int, sha256: str) -> bool:
    """Whether a file is there, of this size and hash."""
    if not file.is_file() or file.stat().st_size != num_bytes:
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() == sha256
