"""Stores of what frozen networks made of samples, once: targets to imitate, teacher states, features.

The rules of the unit store: Parquet shards that ``datasets.load_dataset`` opens, one JSON header that is written last,
same input, same bytes. The header holds the hash of everything that decides the rows, by name: the language model, the
template, the prompts. A mismatch is an error that names both sides.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cslm.errors import UserError
from cslm.files.atomic_file import folder_at
from cslm.units.id_index import IdIndex
from cslm.units.shards import read_shard
from cslm.units.unpacked_store import arrow_file, whole_shard

FORMAT = 1
HEADER = "header.json"
TARGETS = "targets"
"""the kind of a store of answers to imitate"""
FRAMES = "frames"
"""what a frozen encoder makes of recordings"""
TEACHER_STATES = "teacher_states"
"""the kind of a store of last hidden states on transcripts"""


@dataclass(frozen=True)
class Making:
    """What decides the bytes of a store."""

    kind: str
    """what its rows are: ``targets``, ``teacher_states``, ``frames``"""
    made_with: Mapping[str, str]
    """hash of each thing that decides the rows, by a name for people: ``language model``, ``template``"""
    settings: Mapping[str, Any]
    """plain values that decide them too"""
    samples: str
    """hash of what they are made from"""
    num_samples: int
    samples_per_shard: int

    @property
    def num_shards(self) -> int:
        """Number of shards; one without a row has no file."""
        return -(-self.num_samples // self.samples_per_shard)


@dataclass(frozen=True)
class SampleShard:
    """What the header says about one shard."""

    file: str
    sha256: str
    num_bytes: int
    num_rows: int


@dataclass(frozen=True)
class SampleHeader:
    """The header of a store: what made it, and what is in it."""

    making: Making
    num_rows: int
    num_rejected: int
    """samples without rows; ``rejected.jsonl`` names them"""
    counts: Mapping[str, int]
    """of what the rows are, by name"""
    shards: tuple[SampleShard, ...]
    format: int = FORMAT


class SampleStore:
    """A finished store, open for reading: ``len(store)``, ``store.row(i)``, ``store.column("task")``.

    Pickling keeps the path only, so worker processes map the same file.
    """

    def __init__(self, path: Path, header: SampleHeader, table: Path) -> None:
        """Use ``SampleStore.open``."""
        self.path = path
        self.header = header
        self._reader = pa.ipc.open_file(pa.memory_map(str(table), "r"))
        self._starts = [0, *accumulate(shard.num_rows for shard in header.shards)]
        self._batch = functools.lru_cache(maxsize=1024)(self._reader.get_batch)

    @classmethod
    def open(cls, path: str | os.PathLike[str], kind: str) -> SampleStore:
        """Open a store of a kind.

        Raises:
            UserError: no such store there, an unfinished one, one of another kind, or shards that are missing or
                changed.
        """
        folder = folder_at(path)
        header = read_sample_header(folder)
        if header.making.kind != kind:
            raise UserError(f"{folder} is a store of {header.making.kind}: a store of {kind} is wanted")
        for shard in header.shards:
            file = folder / shard.file
            if not file.is_file() or file.stat().st_size != shard.num_bytes:
                raise UserError(f"{file} is missing or changed since it was written: make the store again")
        return cls(folder, header, _unpacked(folder, header))

    def __reduce__(self) -> tuple[Any, ...]:
        return (SampleStore.open, (self.path, self.header.making.kind))

    def __len__(self) -> int:
        return self.header.num_rows

    @property
    def columns(self) -> list[str]:
        """What each row has."""
        return list(self._reader.schema.names)

    @property
    def digest(self) -> str:
        """Says which rows these are."""
        return _digest(self.header)

    def row(self, index: int, columns: Collection[str] | None = None) -> dict[str, Any]:
        """The row at ``index``, 0 to ``len(store) - 1``, or some columns of it; lists of numbers are arrays."""
        if not 0 <= index < len(self):
            raise IndexError(f"row {index} of a store with {len(self)}")
        shard = bisect_right(self._starts, index) - 1
        batch, place = self._batch(shard), index - self._starts[shard]
        names = batch.schema.names if columns is None else columns
        return {name: _plain(batch.column(name)[place]) for name in names}

    def column(self, name: str) -> NDArray[Any]:
        """A column of numbers or strings as an array ``(num_rows,)``."""
        chunks = [self._batch(i).column(name) for i in range(self._reader.num_record_batches)]
        return np.concatenate([chunk.to_numpy(zero_copy_only=False) for chunk in chunks] or [np.zeros(0)])

    def find(self, name: str) -> int | None:
        """The first row with the id ``name``, in a store whose rows have one; None where there is none."""
        return self._id_index.find(name)

    @functools.cached_property
    def _id_index(self) -> IdIndex:
        return IdIndex(self.column("id"), len(self), lambda index: str(self.row(index, ["id"])["id"]))

    def check_made_with(self, wanted: Mapping[str, str], who: str) -> None:
        """Make sure that the rows were made with these.

        Args:
            wanted: hashes by the names of ``Making.made_with``.
            who: whose they are, for the message.

        Raises:
            UserError: another hash, or none, of a name.
        """
        for name, expected in wanted.items():
            found = self.header.making.made_with.get(name, "nothing")
            if found != expected:
                raise UserError(
                    f"the store {self.path} was made with another {name} ({found}) than {who} ({expected}): use those "
                    "that belong together, or make the store again"
                )


def read_sample_header(folder: Path) -> SampleHeader:
    """The header of a store.

    Raises:
        UserError: the folder is no such store, is unfinished, or was written by a later version.
    """
    path = folder / HEADER
    if not path.is_file():
        unfinished = folder.is_dir() and (folder / ".progress").exists()
        hint = "not finished: run what makes it again" if unfinished else f"not there or not a store (no {HEADER})"
        raise UserError(f"{folder} is {hint}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise UserError(f"{path} has format {values['format']}, this version reads {FORMAT}: update cslm")
        making, shards = Making(**values["making"]), tuple(SampleShard(**shard) for shard in values["shards"])
        return SampleHeader(**{**values, "making": making, "shards": shards})
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise UserError(f"{path} is not the header of a store of samples: {error}") from None


def _digest(header: SampleHeader) -> str:
    return hashlib.sha256(repr([dataclasses.astuple(shard) for shard in header.shards]).encode()).hexdigest()


def _unpacked(folder: Path, header: SampleHeader) -> Path:
    files: Sequence[tuple[Path, str]] = [(folder / shard.file, shard.sha256) for shard in header.shards]
    advice = "make the store again"
    schema = read_shard(whole_shard(*files[0], advice)).schema
    return arrow_file(header.making.kind, _digest(header), files, schema, advice)


def _plain(value: pa.Scalar) -> Any:
    """A value of a row: a number, a string, None, or an array of a list of numbers."""
    if not isinstance(value, pa.ListScalar | pa.FixedSizeListScalar) or not value.is_valid:
        return value.as_py()
    kind = value.type.value_type
    holds_numbers = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return value.values.to_numpy(zero_copy_only=False) if holds_numbers else value.as_py()
