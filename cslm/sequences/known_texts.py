"""Texts tokenized before training, once per machine: their ids mapped from the user's cache folder, found by the text.

Making ids of texts is what costs most when documents become sequences, and most of what a source reads are whole texts
of its corpus, the same in every epoch, mixture and run. What is kept hangs on the corpus and on the text tokenizer.
"""

from __future__ import annotations

import fcntl
import hashlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from cslm.files.atomic_file import folder_aside
from cslm.files.cache_folder import cache_folder

if TYPE_CHECKING:
    from cslm.sequences.text_encoder import TextEncoder

_FORMAT = 1
_BATCH = 10_000
_ARRAYS = ("first_hashes", "second_hashes", "starts", "lengths", "ids")


class KnownTexts:
    """The ids of texts, by 128 bits of a hash of the text."""

    def __init__(self, folder: Path) -> None:
        """Map what :func:`open_known_texts` wrote."""
        arrays = [np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _ARRAYS]
        self._first, self._second, self._starts, self._lengths, self._ids = arrays

    def find(self, text: str) -> tuple[int, ...] | None:
        """The ids of a text, or None if it is not known."""
        first, second = _hashes(text)
        place = int(np.searchsorted(self._first, np.uint64(first)))
        while place < len(self._first) and self._first[place] == first:
            if self._second[place] == second:
                start = int(self._starts[place])
                return tuple(self._ids[start : start + int(self._lengths[place])].tolist())
            place += 1
        return None


def open_known_texts(corpus: str, texts: Iterable[str], encoder: TextEncoder) -> KnownTexts:
    """The texts of a corpus with their ids; tokenized now if that was not done on this machine.

    One process does it, with all cores; others wait for its file lock, not in a collective operation.

    Args:
        corpus: says which texts these are, so that another corpus has another name.
        texts: read only where they have to be tokenized.
    """
    named = hashlib.sha256(f"{_FORMAT}\n{corpus}\n{encoder.identity}".encode()).hexdigest()[:32]
    folder = cache_folder("texts") / named
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.is_dir():
                _write(iter(texts), encoder, folder)
    return KnownTexts(folder)


def _write(texts: Iterator[str], encoder: TextEncoder, folder: Path) -> None:
    hashes, starts, ids = array("Q"), array("q", [0]), array("I")
    while batch := list(islice(texts, _BATCH)):
        for text, found in zip(batch, encoder.encode_many(batch), strict=True):
            hashes.extend(_hashes(text))
            ids.extend(found)
            starts.append(len(ids))
    pairs = np.array(hashes, dtype=np.uint64).reshape(-1, 2)
    ends = np.array(starts, dtype=np.int64)
    order = np.argsort(pairs[:, 0], kind="stable")
    arrays: tuple[npt.NDArray[np.generic], ...] = (
        pairs[order, 0], pairs[order, 1], ends[:-1][order], np.diff(ends)[order].astype(np.int32),
        np.array(ids, dtype=np.uint32),
    )  # fmt: skip
    with folder_aside(folder) as aside:
        for name, values in zip(_ARRAYS, arrays, strict=True):
            np.save(aside / f"{name}.npy", values)


def _hashes(text: str) -> tuple[int, int]:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
