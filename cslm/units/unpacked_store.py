"""The shards of a store as one Arrow file in the user's cache folder, to be mapped into memory.

Unpacked once, under a name made of the shards' hashes; every shard's hash is checked on the way.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
from pathlib import Path

import pyarrow as pa

from cslm.errors import UserError
from cslm.files.atomic_file import file_aside
from cslm.files.cache_folder import cache_folder
from cslm.units.shards import StoreHeader, read_shard, shard_schema


def shards_digest(header: StoreHeader) -> str:
    """Says which shards these are, by their hashes."""
    return hashlib.sha256(repr([dataclasses.astuple(shard) for shard in header.shards]).encode()).hexdigest()


def unpacked(folder: Path, header: StoreHeader) -> Path:
    """The store as one Arrow file in the cache folder; made now if it is not there."""
    table = cache_folder("units") / f"{shards_digest(header)[:32]}.arrow"
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
        pa.ipc.new_file(sink, shard_schema(header.codebook_sizes, header.in_documents)) as writer,
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
