"""The unit store: written shard by shard, read in any order without holding it in memory.

For reading, the shards are unpacked once into one Arrow file in the user's cache folder, under a name made of the
shards' hashes, and mapped into memory.
Every shard's hash is checked while it is unpacked.
"""

from __future__ import annotations

import dataclasses
import fcntl
import functools
import hashlib
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cslm.codecs.codec import Units
from cslm.corpora.word_times import Word
from cslm.errors import UserError
from cslm.files.atomic_file import file_aside, folder_at
from cslm.files.cache_folder import cache_folder
from cslm.units.shards import (
    ShardInfo,
    StoreHeader,
    StoreRow,
    make_header,
    read_header,
    read_shard,
    shard_schema,
    write_header,
    write_shard,
)

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
)
_REPEATED_STRINGS = ("language", "speaker")


def write_store(
    folder: str | os.PathLike[str],
    rows: Iterable[StoreRow],
    *,
    fingerprint: str,
    card: str,
    codebook_sizes: Sequence[int],
    frame_rate_hz: float,
    utterances_per_shard: int = 1000,
) -> UnitStore:
    """Write rows that are already units (merged where there is one codebook) as a store, and open it.

    Raises:
        UserError: the folder holds something.
    """
    folder = folder_at(folder)
    if folder.exists() and any(folder.iterdir()):
        raise UserError(f"{folder} is not empty: remove it or write to another folder")
    digest, shards, stream = hashlib.sha256(), list[ShardInfo](), iter(rows)
    while batch := list(islice(stream, utterances_per_shard)):
        shards.append(write_shard(folder, len(shards), batch, codebook_sizes))
        digest.update(shards[-1].sha256.encode())
    header = make_header(
        shards,
        fingerprint=fingerprint,
        card=card,
        codebook_sizes=codebook_sizes,
        frame_rate_hz=frame_rate_hz,
        corpus=f"sha256:{digest.hexdigest()}",
    )
    write_header(folder, header)
    return UnitStore.open(folder)


class _Strings:
    """A mapped column of strings; a string is made when it is asked for, which takes half a microsecond."""

    def __init__(self, column: pa.Array) -> None:
        assert column.offset == 0, "a column that is a slice of another"
        _, offsets, data = column.buffers()
        self._offsets = np.frombuffer(offsets, np.int32) if offsets else np.zeros(len(column) + 1, np.int32)
        self._data = memoryview(data) if data else memoryview(b"")
        self._missing = frozenset(np.flatnonzero(~column.is_valid().to_numpy(zero_copy_only=False)).tolist())

    def __getitem__(self, i: int) -> str | None:
        return None if i in self._missing else self.known(i)

    def known(self, i: int) -> str:
        """The string ``i`` of a column without gaps."""
        return str(self._data[self._offsets[i] : self._offsets[i + 1]], "utf-8")


@dataclass(frozen=True)
class _Batch:
    """One shard in memory-mapped arrays."""

    strings: dict[str, _Strings]
    duration_sec: NDArray[np.float64]
    num_codebooks: NDArray[np.int8]
    units: tuple[NDArray[Any], NDArray[Any]]  # offsets, values
    durations: tuple[NDArray[Any], NDArray[Any]]
    has_words: NDArray[np.bool_]
    words: tuple[NDArray[Any], _Strings, NDArray[Any], NDArray[Any]]  # offsets, words, start_sec, end_sec


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
        self._batch = functools.lru_cache(maxsize=1024)(self._open_batch)

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
        return cls(folder, header, _unpacked(folder, header))

    def __reduce__(self) -> tuple[Any, ...]:
        return (UnitStore.open, (self.path,))

    def __len__(self) -> int:
        return self.header.num_utterances

    @property
    def digest(self) -> str:
        """Says which shards these are, by their hashes."""
        return hashlib.sha256(repr([dataclasses.astuple(shard) for shard in self.header.shards]).encode()).hexdigest()

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
        return _row(self._batch(shard), index - self._starts[shard], with_words)

    def __iter__(self) -> Iterator[StoreRow]:
        return (self.row(index) for index in range(len(self)))

    def column(self, name: str) -> NDArray[Any]:
        """A light column as an array (num_utterances,): numbers, or an object array of str and None."""
        assert name in LIGHT_COLUMNS, f"{name} is read with row(), not column()"
        chunks = [self._reader.get_batch(i).column(name) for i in range(self._reader.num_record_batches)]
        if name in _REPEATED_STRINGS:
            return np.concatenate([_shared_strings(chunk) for chunk in chunks] or [np.zeros(0, object)])
        return np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in chunks] or [np.zeros(0)])

    def index_of(self, utterance_id: str) -> int:
        """Row of an utterance by its id.

        Raises:
            UserError: the store holds no utterance of that id.
        """
        key = _short_hash(utterance_id)
        hashes, order = self._id_index
        first = int(np.searchsorted(hashes, key, side="left"))
        for position in range(first, len(hashes)):
            if hashes[position] != key:
                break
            index = int(order[position])
            if self.row(index).id == utterance_id:
                return index
        raise UserError(
            f"{self.path} holds no utterance {utterance_id!r}: was it rejected when the corpus was tokenized?"
        )

    @functools.cached_property
    def _id_index(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Sorted 64-bit hashes of all ids, and the row of each: 16 bytes an utterance."""
        hashes = np.fromiter((_short_hash(i) for i in self.column("id")), np.uint64, len(self))
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order

    def _open_batch(self, shard: int) -> _Batch:
        batch = self._reader.get_batch(shard)
        columns = {name: batch.column(name) for name in batch.schema.names}
        words = columns["words"]
        word, start_sec, end_sec = (words.values.field(name) for name in ("word", "start_sec", "end_sec"))
        return _Batch(
            strings={name: _Strings(columns[name]) for name in ("id", "language", "speaker", "group", "text")},
            duration_sec=columns["duration_sec"].to_numpy(),
            num_codebooks=columns["num_codebooks"].to_numpy(),
            units=(columns["units"].offsets.to_numpy(), columns["units"].values.to_numpy()),
            durations=(columns["durations"].offsets.to_numpy(), columns["durations"].values.to_numpy()),
            has_words=words.is_valid().to_numpy(zero_copy_only=False),
            words=(words.offsets.to_numpy(), _Strings(word), start_sec.to_numpy(), end_sec.to_numpy()),
        )


def _row(batch: _Batch, i: int, with_words: bool) -> StoreRow:
    strings = batch.strings
    num_codebooks = int(batch.num_codebooks[i])
    offsets, flat = batch.units
    ids = flat[offsets[i] : offsets[i + 1]].astype(np.int64).reshape(-1, num_codebooks)
    offsets, flat = batch.durations
    durations = flat[offsets[i] : offsets[i + 1]].astype(np.int64) if num_codebooks == 1 else None
    return StoreRow(
        id=strings["id"].known(i),
        language=strings["language"].known(i),
        text=strings["text"].known(i),
        duration_sec=float(batch.duration_sec[i]),
        units=Units(ids, durations),
        speaker=strings["speaker"][i],
        group=strings["group"][i],
        words=_words(batch, i) if with_words and batch.has_words[i] else None,
    )


def _words(batch: _Batch, i: int) -> list[Word]:
    offsets, word, start_sec, end_sec = batch.words
    first, stop = int(offsets[i]), int(offsets[i + 1])
    said = map(word.known, range(first, stop))
    return list(zip(said, start_sec[first:stop].tolist(), end_sec[first:stop].tolist(), strict=True))


def _shared_strings(chunk: pa.Array) -> NDArray[Any]:
    encoded = chunk.dictionary_encode(null_encoding="encode")
    values = np.array(encoded.dictionary.to_pylist(), dtype=object)
    strings: NDArray[Any] = values[encoded.indices.to_numpy()]
    return strings


def _short_hash(text: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little"))


def _unpacked(folder: Path, header: StoreHeader) -> Path:
    """The store as one Arrow file in the cache folder; made now if it is not there."""
    digest = hashlib.sha256(repr([dataclasses.astuple(shard) for shard in header.shards]).encode()).hexdigest()
    table = cache_folder("units") / f"{digest[:32]}.arrow"
    if table.is_file():
        return table
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process unpacks, the others wait
        if not table.is_file():
            _unpack(folder, header, table)
    return table


def _unpack(folder: Path, header: StoreHeader, table: Path) -> None:
    with (
        file_aside(table) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, shard_schema(header.codebook_sizes)) as writer,
    ):
        for shard in header.shards:
            writer.write_batch(_shard_batch(folder / shard.file, shard.sha256))


def _shard_batch(file: Path, sha256: str) -> pa.RecordBatch:
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"{file} changed since it was written (its hash is not the header's): tokenize the corpus again"
        )
    return read_shard(content).to_batches()[0]
