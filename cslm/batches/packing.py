"""Documents into rows: best-fit-decreasing, planned from lengths alone.

A row is as long as its documents: nothing is padded. Every document goes into exactly one row, whole.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Lengths = Sequence[int] | NDArray[np.int64]


def pack(lengths: Lengths, capacity: int, multiple_of: int = 1) -> list[list[int]]:
    """Rows of document numbers, each of at most ``capacity`` tokens; their number is a multiple of ``multiple_of``.

    Where best-fit-decreasing gives a number of rows that the processes cannot share evenly, the documents are spread
    over the next such number, longest first, each into the emptiest row; rows without documents fill up at the end.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    assert not len(sizes) or (sizes.min() > 0 and sizes.max() <= capacity), "a document is longer than a row"
    rows = best_fit_decreasing(sizes, capacity)
    missing = -len(rows) % multiple_of
    if missing:
        spread = _spread(sizes, len(rows) + missing, capacity)
        rows = spread if spread is not None else [*rows, *([] for _ in range(missing))]
    return rows


def best_fit_decreasing(lengths: Lengths, capacity: int) -> list[list[int]]:
    """Longest first, each document into the fullest row that still holds it; of equals the earlier one first.

    Open rows stand by the tokens they have left, and one whole number has a bit for each such place that is taken: the
    next row is found by a shift, and documents of one length enter it together.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    sizes, counts = np.unique(lengths, return_counts=True)
    order = np.argsort(-lengths, kind="stable").tolist()
    rows: list[list[int]] = []
    waiting: list[list[int]] = [[] for _ in range(capacity)]
    taken, first = 0, 0
    for size, count in zip(sizes[::-1].tolist(), counts[::-1].tolist(), strict=True):
        while count:
            fitting = taken >> size
            if fitting:
                left = size + (fitting & -fitting).bit_length() - 1
                row = waiting[left].pop()
                if not waiting[left]:
                    taken ^= 1 << left
            else:
                left, row = capacity, len(rows)
                rows.append([])
            entering = min(count, left // size)
            rows[row] += order[first : first + entering]
            first, count, left = first + entering, count - entering, left - entering * size
            if left:
                waiting[left].append(row)
                taken |= 1 << left
    return rows


def _spread(lengths: NDArray[np.int64], num_rows: int, capacity: int) -> list[list[int]] | None:
    """Longest first into the emptiest row; None where a row would overflow."""
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    emptiest = [(0, row) for row in range(num_rows)]
    order = np.argsort(-lengths, kind="stable")
    for document, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        tokens, row = emptiest[0]
        if tokens + length > capacity:
            return None
        rows[row].append(document)
        heapq.heapreplace(emptiest, (tokens + length, row))
    return rows
