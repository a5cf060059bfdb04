"""The shards of a store as one Arrow file in the user's cache folder, to be mapped into memory.

Unpacked once, under a name made of the shards' hashes; every shard's hash is checked on the way.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
from collections.abc import Sequence
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
    """A unit store as one Arrow file in the cache folder; made now if it is not there."""
    files = [(folder / shard.file, shard.sha256) for shard in header.shards]
    schema = shard_schema(header.codebook_sizes, header.in_documents)
    return arrow_file("units", shards_digest(header), files, schema, "tokenize the corpus again")


def arrow_file(kind: str, digest: str, files: Sequence[tuple[Path, str]], schema: pa.Schema, advice: str) -> Path:
    """Shards as one Arrow file in the cache folder, a batch a shard; made now if it is not there.

    Args:
        kind: of the stores: a folder of the cache.
        digest: says which shards these are.
        files: shards, and the hash of each.
        advice: what to do about one that changed.

    Raises:
        UserError: a shard that has not its hash.
    """
    table = cache_folder(kind) / f"{digest[:32]}.arrow"
    if table.is_file():
        return table
    table.parent.mkdir(parents=True, exist_ok=True)
    with table.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one process unpacks, the others wait
        if not table.is_file():
            _unpack(files, schema, table, advice)
    return table


def _unpack(files: Sequence[tuple[Path, str]], schema: pa.Schema, table: Path, advice: str) -> None:
    with (
        file_aside(table) as temporary,
        pa.OSFile(str(temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for file, sha256 in files:
            writer.write_batch(read_shard(whole_shard(file, sha256, advice)).to_batches()[0])


def whole_shard(file: Path, sha256: str, advice: str) -> bytes:
    """The content of a shard that is as it was written.

    Raises:
        UserError: it has another hash.
    """
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(f"{file} changed since it was written (its hash is not the header's): {advice}")
    return content
