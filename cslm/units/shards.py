"""What a unit store consists of: Parquet shards, and one header that is written last.

``datasets.load_dataset("parquet", data_files="STORE/*.parquet")`` opens the shards as they are. Same rows, same bytes.
A store of utterances that belong to documents has two columns more, in all of its shards; one of others has none of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cslm.codecs.units import Units
from cslm.corpora.word_times import Word
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically

FORMAT = 1
FORMAT_OF_DOCUMENTS = 2
"""with the columns ``document`` and ``place``"""
HEADER = "header.json"


@dataclass(frozen=True, eq=False)
class StoreRow:
    """One utterance of a unit store."""

    id: str
    language: str
    text: str
    duration_sec: float
    units: Units
    speaker: str | None = None
    group: str | None = None
    words: list[Word] | None = None
    document: str | None = None
    place: int | None = None


@dataclass(frozen=True)
class ShardInfo:
    """What the header says about one shard."""

    file: str
    sha256: str
    num_bytes: int
    num_utterances: int
    num_units: int
    num_frames: int
    audio_sec: float


@dataclass(frozen=True)
class StoreHeader:
    """The header of a unit store: which tokenizer made it, and what is in it."""

    fingerprint: str
    card: str
    codebook_sizes: tuple[int, ...]
    frame_rate_hz: float
    merged: bool
    corpus: str
    num_utterances: int
    num_rejected: int
    num_units: int
    num_frames: int
    audio_sec: float
    shards: tuple[ShardInfo, ...]
    format: int = FORMAT

    @property
    def in_documents(self) -> bool:
        """Whether the shards say to which document an utterance belongs, and to which place of it."""
        return self.format == FORMAT_OF_DOCUMENTS


def make_header(
    shards: Sequence[ShardInfo],
    *,
    fingerprint: str,
    card: str,
    codebook_sizes: Sequence[int],
    frame_rate_hz: float,
    corpus: str,
    num_rejected: int = 0,
    in_documents: bool = False,
) -> StoreHeader:
    """The header over all shards. Repeats are merged where there is one codebook."""
    return StoreHeader(
        fingerprint=fingerprint,
        card=card,
        codebook_sizes=tuple(codebook_sizes),
        frame_rate_hz=frame_rate_hz,
        merged=len(codebook_sizes) == 1,
        corpus=corpus,
        num_utterances=sum(shard.num_utterances for shard in shards),
        num_rejected=num_rejected,
        num_units=sum(shard.num_units for shard in shards),
        num_frames=sum(shard.num_frames for shard in shards),
        audio_sec=math.fsum(shard.audio_sec for shard in shards),
        shards=tuple(shards),
        format=FORMAT_OF_DOCUMENTS if in_documents else FORMAT,
    )


def write_header(folder: Path, header: StoreHeader) -> None:
    """Write ``header.json``, which makes the folder a store."""
    text = json.dumps(dataclasses.asdict(header), indent=1, ensure_ascii=False)
    write_atomically(folder / HEADER, f"{text}\n".encode())


def read_header(folder: Path) -> StoreHeader:
    """The header of a store.

    Raises:
        UserError: the folder is no store, is unfinished, or was written by a later version.
    """
    path = folder / HEADER
    if not path.is_file():
        unfinished = folder.is_dir() and any(folder.glob("shard-*.parquet"))
        hint = (
            "not finished: run tokenize_corpus again" if unfinished else f"not there or not a unit store (no {HEADER})"
        )
        raise UserError(f"{folder} is {hint}")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format"] not in (FORMAT, FORMAT_OF_DOCUMENTS):
            read = f"{FORMAT} and {FORMAT_OF_DOCUMENTS}"
            raise UserError(f"{path} has format {values['format']}, this version reads {read}: update cslm")
        values["shards"] = tuple(ShardInfo(**shard) for shard in values["shards"])
        return StoreHeader(**{**values, "codebook_sizes": tuple(values["codebook_sizes"])})
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError, KeyError) as error:
        raise UserError(f"{path} is not the header of a unit store: {error}") from None


def shard_name(index: int) -> str:
    """File name of shard ``index``."""
    return f"shard-{index:05d}.parquet"


def write_shard(
    folder: Path, index: int, rows: Sequence[StoreRow], codebook_sizes: Sequence[int], in_documents: bool = False
) -> ShardInfo:
    """Write one shard atomically; the rows' units are merged where there is one codebook, and only there."""
    content = parquet_bytes(shard_table(rows, codebook_sizes, in_documents))
    write_atomically(folder / shard_name(index), content)
    return ShardInfo(
        file=shard_name(index),
        sha256=hashlib.sha256(content).hexdigest(),
        num_bytes=len(content),
        num_utterances=len(rows),
        num_units=sum(len(row.units) for row in rows),
        num_frames=sum(row.units.num_frames_total for row in rows),
        audio_sec=math.fsum(row.duration_sec for row in rows),
    )


def read_shard(content: bytes) -> pa.Table:
    """The rows of a shard, read by this thread alone.

    Arrow's other way to read Parquet starts threads that may outlive the call: a process that ends then is aborted.
    """
    return pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False).combine_chunks()


def shard_schema(codebook_sizes: Sequence[int], in_documents: bool = False) -> pa.Schema:
    """Columns of a shard. ``units`` is flattened row by row: ``num_units`` times ``num_codebooks`` numbers."""
    documents = [("document", pa.string()), ("place", pa.int32())] if in_documents else []
    word = pa.struct([("word", pa.string()), ("start_sec", pa.float64()), ("end_sec", pa.float64())])
    return pa.schema(
        [
            ("id", pa.string()),
            ("language", pa.string()),
            ("speaker", pa.string()),
            ("group", pa.string()),
            *documents,
            ("text", pa.string()),
            ("duration_sec", pa.float64()),
            ("num_codebooks", pa.int8()),
            ("num_units", pa.int32()),
            ("num_frames", pa.int32()),
            ("units", pa.list_(pa.uint16() if max(codebook_sizes) <= 1 << 16 else pa.uint32())),
            ("durations", pa.list_(pa.uint16())),
            ("words", pa.list_(word)),
        ]
    )


def shard_table(rows: Sequence[StoreRow], codebook_sizes: Sequence[int], in_documents: bool = False) -> pa.Table:
    """The rows as an Arrow table."""
    for row in rows:
        _check_row(row, codebook_sizes, in_documents)
    schema = shard_schema(codebook_sizes, in_documents)
    names = ("id", "language", "speaker", "group", *(("document", "place") if in_documents else ()))
    columns: dict[str, list[Any]] = {
        name: [getattr(row, name) for row in rows] for name in (*names, "text", "duration_sec")
    }
    columns["num_codebooks"] = [row.units.num_codebooks for row in rows]
    columns["num_units"] = [len(row.units) for row in rows]
    columns["num_frames"] = [row.units.num_frames_total for row in rows]
    columns["words"] = [None if row.words is None else [_word(word) for word in row.words] for row in rows]
    arrays = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    arrays["units"] = _list_array([row.units.ids.reshape(-1) for row in rows], schema.field("units").type)
    durations = [np.zeros(0, np.int64) if row.units.durations is None else row.units.durations for row in rows]
    arrays["durations"] = _list_array(durations, schema.field("durations").type)
    return pa.table([arrays[name] for name in schema.names], schema=schema)


def _check_row(row: StoreRow, codebook_sizes: Sequence[int], in_documents: bool) -> None:
    units = row.units
    is_alone = row.document is None and row.place is None
    assert in_documents or is_alone, f"{row.id}: belongs to a document, and the store has no column for it"
    assert units.num_codebooks == len(codebook_sizes), f"{row.id}: {units.num_codebooks} codebooks"
    assert (units.durations is not None) == (len(codebook_sizes) == 1), (
        f"{row.id}: repeats merged with one codebook only"
    )
    in_range = (units.ids >= 0).all() and (units.ids < np.asarray(codebook_sizes)[None, :]).all()
    assert in_range, f"{row.id}: a unit outside its codebook"


def _word(word: Word) -> dict[str, Any]:
    return {"word": word[0], "start_sec": float(word[1]), "end_sec": float(word[2])}


def _list_array(values: list[np.ndarray], kind: pa.DataType) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum([len(value) for value in values])]).astype(np.int32)
    flat = np.concatenate(values) if values else np.zeros(0, np.int64)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(flat.astype(kind.value_type.to_pandas_dtype())), type=kind
    )


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as the file of a shard: same rows, same bytes."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", row_group_size=1024)
    return sink.getvalue()
