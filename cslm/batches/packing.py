"""Documents into rows: best-fit-decreasing, planned from lengths alone.

A row is as long as its documents: nothing is padded. Every document goes into exactly one row, whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Lengths = Sequence[int] | NDArray[np.int64]


def pack(lengths: Lengths, capacity: int, multiple_of: int = 1) -> list[list[int]]:
    """Rows of document numbers, each of at most ``capacity`` tokens; their number is a multiple of ``multiple_of``.

    One process gets what best-fit-decreasing gives. Several share the rows evenly and wait for the longest, so the
    documents are spread over few rows that all can share, about the same tokens in each; where that overflows, over as
    many as best-fit-decreasing needs. Rows without documents fill up at the end.
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    assert not len(sizes) or (sizes.min() > 0 and sizes.max() <= capacity), "a document is longer than a row"
    if multiple_of == 1 or not len(sizes):
        return best_fit_decreasing(sizes, capacity)
    fewest = -(-int(sizes.sum()) // capacity)
    fewest += -fewest % multiple_of
    rows = _spread(sizes, fewest, capacity) or _spread(sizes, fewest + multiple_of, capacity)
    if rows is None:
        tight = best_fit_decreasing(sizes, capacity)
        missing = -len(tight) % multiple_of
        rows = _spread(sizes, len(tight) + missing, capacity) or [*tight, *([] for _ in range(missing))]
    return rows


def one_each(lengths: Lengths, multiple_of: int = 1) -> list[list[int]]:
    """Rows of one document each, the longest first: processes that take them in turn wait little for one another.

    Their number is a multiple of ``multiple_of``; rows without documents fill up at the end.
    """
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
    return [*([index] for index in order), *([] for _ in range(-len(order) % multiple_of))]


def best_fit_decreasing(lengths: Lengths, capacity: int) -> list[list[int]]:
    """Longest first, each document into the fullest row that still holds it; of equals the earlier one first.

    Open rows stand by the tokens they have left, and one whole number has a bit for each such place that is taken: the
    next row is found by a shift, and documents of one length enter it together.
    """
    lengths = np.asarray(lengths, dtype=np.int64)
    sizes, counts = np.unique(lengths, return_counts=True)
    order = np.argsort(-lengths, kind="stable").tolist()
    rows: list[list[int]] = []
    waiting: dict[int, list[int]] = {}
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
                waiting.setdefault(left, []).append(row)
                taken |= 1 << left
    return rows


def _spread(lengths: NDArray[np.int64], num_rows: int, capacity: int) -> list[list[int]] | None:
    """Longest first, into the emptiest rows, many at a time, none above the mean while another is below; None on an
    overflow.
    """
    order = np.argsort(-lengths, kind="stable")
    tokens, row_of = np.zeros(num_rows, dtype=np.int64), np.empty(len(lengths), dtype=np.int64)
    first, limit = 0, -(-int(lengths.sum()) // num_rows)
    while first < len(lengths):
        documents = order[first : first + num_rows]
        emptiest = np.argsort(tokens, kind="stable")[: len(documents)]
        after = tokens[emptiest] + lengths[documents]
        above = np.flatnonzero(after > limit)
        count = int(above[0]) if len(above) else len(documents)
        if count:
            tokens[emptiest[:count]] = after[:count]
            row_of[documents[:count]] = emptiest[:count]
            first += count
        elif after[0] > capacity:
            return None
        else:
            limit = int(after[0])
    ends = np.cumsum(np.bincount(row_of, minlength=num_rows)).tolist()
    by_row = np.argsort(row_of, kind="stable").tolist()
    return [by_row[start:stop] for start, stop in pairwise([0, *ends])]
