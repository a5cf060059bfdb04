from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cslm.codecs.units import LONGEST_RUN, Units, cut, expand_repeats, merge_repeats
from cslm.errors import UserError

FRAMES = st.lists(st.integers(0, 3), max_size=40)


def units(frames: list[int]) -> Units:
    return Units(np.array(frames, np.int64).reshape(-1, 1))


@given(FRAMES)
def test_merging_loses_nothing(frames):
    merged = merge_repeats(units(frames))
    assert merged.num_frames_total == len(frames)
    assert (merged.ids[1:] != merged.ids[:-1]).all()
    assert expand_repeats(merged).ids[:, 0].tolist() == frames
    assert merge_repeats(merged).durations.tolist() == merged.durations.tolist()


@given(FRAMES, st.integers(-5, 45), st.integers(-5, 45))
def test_cutting_merged_units_is_cutting_frames(frames, start, stop):
    piece = cut(merge_repeats(units(frames)), start, stop)
    expected = frames[max(start, 0) : max(stop, start, 0)] if start < len(frames) else []
    assert expand_repeats(piece).ids[:, 0].tolist() == expected
    assert cut(units(frames), start, stop).ids[:, 0].tolist() == expected
    assert (piece.durations >= 1).all()


@given(FRAMES, st.lists(st.integers(0, 40), max_size=4))
def test_pieces_make_up_the_whole(frames, borders):
    borders = [0, *sorted(min(b, len(frames)) for b in borders), len(frames)]
    merged = merge_repeats(units(frames))
    pieces = [expand_repeats(cut(merged, a, b)).ids[:, 0].tolist() for a, b in itertools.pairwise(borders)]
    assert list(itertools.chain.from_iterable(pieces)) == frames


def test_a_run_too_long_for_the_store_becomes_several_rows():
    merged = merge_repeats(units([1, 2] + [5] * (2 * LONGEST_RUN + 7) + [1]))
    assert merged.ids[:, 0].tolist() == [1, 2, 5, 5, 5, 1]
    assert merged.durations.tolist() == [1, 1, LONGEST_RUN, LONGEST_RUN, 7, 1]


def test_several_codebooks_are_not_merged():
    with pytest.raises(UserError, match="one codebook only, these units have 2"):
        merge_repeats(Units(np.zeros((3, 2), np.int64)))


def test_cutting_several_codebooks():
    ids = np.arange(12).reshape(6, 2)
    assert cut(Units(ids), 2, 4).ids.tolist() == [[4, 5], [6, 7]]
