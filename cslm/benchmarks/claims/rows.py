"""What the arms of a claim got, item by item: the rows from which every figure can be computed again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cslm.errors import UserError
from cslm.files.atomic_file import file_aside

MOST_BYTES = 1 << 20
"""A file of rows is no larger, so that it can stand beside the figures in the repository."""

_SCHEMA = pa.schema(
    [
        ("arm", pa.dictionary(pa.int32(), pa.string())),
        ("seed", pa.int32()),
        ("item", pa.string()),
        ("metric", pa.dictionary(pa.int32(), pa.string())),
        ("value", pa.float32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Row:
    """One value of one item under one arm."""

    arm: str
    seed: int
    item: str
    """``cluster/name``: items of one cluster (a story, a person's attribute) are drawn together"""
    metric: str
    value: float

    @property
    def cluster(self) -> str:
        """What the item is drawn with."""
        return self.item.partition("/")[0]


def write_rows(rows: Iterable[Row], path: Path) -> None:
    """Write rows as Parquet, sorted, so that the same rows are the same bytes.

    Raises:
        UserError: the file would be larger than :data:`MOST_BYTES`.
    """
    ordered = sorted(rows, key=lambda row: (row.metric, row.arm, row.seed, row.item))
    columns = [[getattr(row, field.name) for row in ordered] for field in _SCHEMA]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, _SCHEMA, strict=True)]
    with file_aside(path) as partial:
        pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), partial, compression="zstd", compression_level=19)
        if partial.stat().st_size > MOST_BYTES:
            raise UserError(f"{path}: {len(ordered)} rows are more than {MOST_BYTES} bytes: score fewer items")


def read_rows(path: Path) -> list[Row]:
    """The rows that :func:`write_rows` wrote.

    Raises:
        UserError: there is no such file.
    """
    if not path.is_file():
        raise UserError(f"{path}: there is no such file of rows")
    return [Row(**record) for record in pq.read_table(path, schema=_SCHEMA).to_pylist()]
