"""Documents into rows: best-fit-decreasing, planned from lengths alone.

A row is as long as its documents: nothing is padded. Every document goes into exactly one row, whole.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Sequence


def pack(lengths: Sequence[int], capacity: int, multiple_of: int = 1) -> list[list[int]]:
    """Rows of document numbers, each of at most ``capacity`` tokens; their number is a multiple of ``multiple_of``.

    Where best-fit-decreasing gives a number of rows that the processes cannot share evenly, the documents are spread
    over the next such number, longest first, each into the emptiest row; rows without documents fill up at the end.
    """
    assert all(0 < length <= capacity for length in lengths), "a document is longer than a row"
    rows = best_fit_decreasing(lengths, capacity)
    missing = -len(rows) % multiple_of
    if missing:
        spread = _spread(lengths, len(rows) + missing, capacity)
        rows = spread if spread is not None else [*rows, *([] for _ in range(missing))]
    return rows


def best_fit_decreasing(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Longest first, each document into the fullest row that still holds it; of equals the earlier one first."""
    rows: list[list[int]] = []
    open_rows: list[tuple[int, int]] = []  # (tokens left, row), sorted
    for document in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        place = bisect_left(open_rows, (lengths[document], -1))
        if place < len(open_rows):
            left, row = open_rows.pop(place)
        else:
            left, row = capacity, len(rows)
            rows.append([])
        rows[row].append(document)
        insort(open_rows, (left - lengths[document], row))
    return rows


def _spread(lengths: Sequence[int], num_rows: int, capacity: int) -> list[list[int]] | None:
    """Longest first into the emptiest row; None where a row would overflow."""
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    emptiest = [(0, row) for row in range(num_rows)]
    for document in sorted(range(len(lengths)), key=lambda index: (-lengths[index], index)):
        tokens, row = heapq.heappop(emptiest)
        if tokens + lengths[document] > capacity:
            return None
        rows[row].append(document)
        heapq.heappush(emptiest, (tokens + lengths[document], row))
    return rows
