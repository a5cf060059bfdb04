"""The unit store: written shard by shard, read in any order without holding it in memory."""

from __future__ import annotations

import functools
import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cslm.corpora.languages import language_tag
from cslm.errors import UserError
from cslm.files.atomic_file import folder_at
from cslm.units.id_index import IdIndex
from cslm.units.mapped_shard import MappedShard, places
from cslm.units.shards import ShardInfo, StoreHeader, StoreRow, make_header, read_header, write_header, write_shard
from cslm.units.unpacked_store import shards_digest, unpacked

__all__ = ["StoreHeader", "StoreRow", "UnitStore", "write_store"]

LIGHT_COLUMNS = (
    "id",
    "language",
    "speaker",
    "group",
    "text",
    "duration_sec",
    "num_codebooks",
    "num_units",
    "num_frames",
    "document",
    "place",
)
_REPEATED_STRINGS = ("language", "speaker", "document")


def write_store(
    folder: str | os.PathLike[str],
    rows: Iterable[StoreRow],
    *,
    fingerprint: str,
    card: str,
    codebook_sizes: Sequence[int],
    frame_rate_hz: float,
    utterances_per_shard: int = 1000,
    in_documents: bool = False,
) -> UnitStore:
    """Write rows that are already units (merged where there is one codebook) as a store, and open it.

    ``in_documents`` says that rows have a ``document`` and a ``place``, before the first of them is asked for.

    Raises:
        UserError: the folder holds something.
    """
    folder = folder_at(folder)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: remove it or write to another folder")
    digest, shards, stream = hashlib.sha256(), list[ShardInfo](), iter(rows)
    while batch := list(islice(stream, utterances_per_shard)):
        shards.append(write_shard(folder, len(shards), batch, codebook_sizes, in_documents))
        digest.update(shards[-1].sha256.encode())
    header = make_header(
        shards,
        fingerprint=fingerprint,
        card=card,
        codebook_sizes=codebook_sizes,
        frame_rate_hz=frame_rate_hz,
        corpus=f"sha256:{digest.hexdigest()}",
        in_documents=in_documents,
    )
    write_header(folder, header)
    return UnitStore.open(folder)


class UnitStore:
    """A finished unit store, open for reading: ``len(store)``, ``store.row(i)``, ``store.column("language")``.

    Rows stand in the order of the manifest. Pickling keeps the path only, so worker processes map the same file.
    """

    def __init__(self, path: Path, header: StoreHeader, table: Path) -> None:
        """Use ``UnitStore.open``."""
        self.path = path
        self.header = header
        self._reader = pa.ipc.open_file(pa.memory_map(str(table), "r"))
        self._starts = [0, *accumulate(shard.num_utterances for shard in header.shards)]
        self._shard = functools.lru_cache(maxsize=1024)(lambda i: MappedShard.of(self._reader.get_batch(i)))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> UnitStore:
        """Open a store.

        Raises:
            UserError: no store there, an unfinished one, or shards that are missing or changed.
        """
        folder = folder_at(path)
        header = read_header(folder)
        for shard in header.shards:
            file = folder / shard.file
            if not file.is_file() or file.stat().st_size != shard.num_bytes:
                raise UserError(f"{file} is missing or changed since it was written: tokenize the corpus again")
        return cls(folder, header, unpacked(folder, header))

    def __reduce__(self) -> tuple[Any, ...]:
        return (UnitStore.open, (self.path,))

    def __len__(self) -> int:
        return self.header.num_utterances

    @property
    def digest(self) -> str:
        """Says which shards these are, by their hashes."""
        return shards_digest(self.header)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the speech tokenizer that made the units."""
        return self.header.fingerprint

    @property
    def frame_rate_hz(self) -> float:
        """Frames a second."""
        return self.header.frame_rate_hz

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of units in each codebook."""
        return self.header.codebook_sizes

    def row(self, index: int, with_words: bool = True) -> StoreRow:
        """The utterance at ``index``, 0 to ``len(store) - 1``; its word times are left out where nobody needs them."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a store with {len(self)}")
        shard = bisect_right(self._starts, index) - 1
        return self._shard(shard).row(index - self._starts[shard], with_words)

    def __iter__(self) -> Iterator[StoreRow]:
        return (self.row(index) for index in range(len(self)))

    def column(self, name: str) -> NDArray[Any]:
        """A light column as an array (num_utterances,): numbers, or an object array of str and None.

        A place is -1 where an utterance has none; in a store without documents no utterance has one.
        """
        assert name in LIGHT_COLUMNS, f"{name} is read with row(), not column()"
        if name in ("document", "place") and not self.header.in_documents:
            return np.full(len(self), None, object) if name == "document" else np.full(len(self), -1)
        chunks = [self._reader.get_batch(i).column(name) for i in range(self._reader.num_record_batches)]
        if name in _REPEATED_STRINGS:
            return np.concatenate([_shared_strings(chunk) for chunk in chunks] or [np.zeros(0, object)])
        if name == "place":
            return np.concatenate([places(chunk) for chunk in chunks] or [np.zeros(0, np.int64)])
        return np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in chunks] or [np.zeros(0)])

    def numbered(self, name: str) -> tuple[list[str], NDArray[np.int64]]:
        """The different strings of a light column, and which of them each utterance has (num_utterances,); -1 is none.

        Arrow numbers them: of a column of millions no string is made but the different ones.
        """
        assert name in LIGHT_COLUMNS, f"{name} is read with row(), not numbered()"
        if name == "document" and not self.header.in_documents:
            return [], np.full(len(self), -1)
        chunks = [self._reader.get_batch(i).column(name) for i in range(self._reader.num_record_batches)]
        encoded = pa.chunked_array(chunks, pa.string()).dictionary_encode().combine_chunks()
        numbers: NDArray[np.int64] = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        return encoded.dictionary.to_pylist(), numbers

    def languages(self) -> NDArray[Any]:
        """The language of each utterance by its tag, ``(num_utterances,)``, whatever form of it the store has.

        Raises:
            UserError: one that is no language.
        """
        said, places = np.unique(self.column("language").astype(str), return_inverse=True)
        try:
            tags = np.array([language_tag(language) for language in said.tolist()], dtype=object)
        except UserError as error:
            raise UserError(f"{self.path}: {error}; make its manifest and the store again") from None
        return tags[places] if len(places) else np.zeros(0, dtype=object)

    def index_of(self, utterance_id: str) -> int:
        """Row of an utterance by its id.

        Raises:
            UserError: the store holds no utterance of that id.
        """
        index = self._id_index.find(utterance_id)
        if index is None:
            raise UserError(
                f"{self.path} holds no utterance {utterance_id!r}: was it rejected when the corpus was tokenized?"
            )
        return index

    @functools.cached_property
    def _id_index(self) -> IdIndex:
        return IdIndex(self.column("id"), len(self), lambda index: self.row(index, with_words=False).id)


def _shared_strings(chunk: pa.Array) -> NDArray[Any]:
    encoded = chunk.dictionary_encode(null_encoding="encode")
    values = np.array(encoded.dictionary.to_pylist(), dtype=object)
    strings: NDArray[Any] = values[encoded.indices.to_numpy()]
    return strings
