from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cslm.batches.packing import best_fit_decreasing, pack

LENGTHS = st.lists(st.integers(1, 50), max_size=80)


@given(LENGTHS, st.integers(50, 120), st.integers(1, 5))
def test_every_document_stands_once_and_no_row_overflows(lengths, capacity, multiple_of):
    rows = pack(lengths, capacity, multiple_of)
    assert sorted(index for row in rows for index in row) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in row) <= capacity for row in rows)
    assert len(rows) % multiple_of == 0


@given(LENGTHS, st.integers(50, 120))
def test_no_two_rows_would_fit_into_one(lengths, capacity):
    loads = sorted(sum(lengths[index] for index in row) for row in best_fit_decreasing(lengths, capacity))
    assert len(loads) < 2 or loads[0] + loads[1] > capacity


@given(LENGTHS, st.integers(50, 120))
def test_every_document_goes_where_the_least_would_be_left(lengths, capacity):
    """The plain rule, a document and a row at a time, leaves the same tokens in each row."""
    left: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [row for row, tokens in enumerate(left) if tokens >= length]
        if fitting:
            left[min(fitting, key=lambda row: left[row])] -= length
        else:
            left.append(capacity - length)
    rows = best_fit_decreasing(lengths, capacity)
    assert sorted(capacity - sum(lengths[index] for index in row) for row in rows) == sorted(left)


def test_by_eye():
    assert best_fit_decreasing([3, 7, 5, 5, 2, 8], 10) == [[5, 4], [1, 0], [2, 3]]


def test_rows_are_shared_among_processes():
    lengths = [10] * 6
    assert [len(row) for row in pack(lengths, 60, 1)] == [6]
    assert [len(row) for row in pack(lengths, 60, 2)] == [3, 3]
    assert [len(row) for row in pack([10], 60, 4)] == [1, 0, 0, 0]
    assert pack([], 60, 2) == []
