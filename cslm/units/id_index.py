"""Where a store has a row, by its id: 16 bytes a row, whatever the ids are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray


class IdIndex:
    """Sorted 64-bit hashes of all ids, and the row of each."""

    def __init__(self, ids: Iterable[str], count: int, id_at: Callable[[int], str]) -> None:
        """Hash the ids once.

        Args:
            ids: of all rows, in their order.
            count: how many there are.
            id_at: the id of a row, to tell ids of one hash apart.
        """
        hashes = np.fromiter((_short_hash(name) for name in ids), np.uint64, count)
        self._rows: NDArray[np.int64] = np.argsort(hashes, kind="stable")
        self._hashes, self._id_at = hashes[self._rows], id_at

    def find(self, name: str) -> int | None:
        """The first row of an id; None where there is none."""
        key = _short_hash(name)
        for position in range(int(np.searchsorted(self._hashes, key, side="left")), len(self._hashes)):
            if self._hashes[position] != key:
                break
            row = int(self._rows[position])
            if self._id_at(row) == name:
                return row
        return None


def _short_hash(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))
