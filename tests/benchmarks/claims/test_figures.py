"""Figures of a claim are what their rows give: differences by item, bars that want every seed to agree."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.benchmarks.claims.figures import (
    Rows,
    difference,
    gain_figure,
    relative_gain_figure,
    share_of_gap,
)
from cslm.benchmarks.claims.rows import Row, read_rows, write_rows
from cslm.errors import UserError


def rows_of(right, num_items=200, seeds=(0, 1, 2), per_cluster=4):
    """Rows of accuracy: ``right[arm](seed, item)`` says 0 or 1."""
    return [
        Row(arm, seed, f"story-{item // per_cluster}/pair-{item}", "accuracy", float(value(seed, item)))
        for arm, value in right.items()
        for seed in seeds
        for item in range(num_items)
    ]


def half(seed, item):
    return item % 2


def three_quarters(seed, item):
    return item % 4 > 0


def test_a_difference_is_paired_by_item_and_seed_in_whatever_order_the_rows_stand():
    rows = rows_of({"method": three_quarters, "baseline": half})
    np.random.default_rng(0).shuffle(rows)
    gain = difference(Rows(rows), "accuracy", "method", "baseline")
    assert gain.value == 0.25 and gain.low == gain.high == 0.25, "each story of four gains one: nothing varies"
    assert gain.by_stratum == {0: 0.25, 1: 0.25, 2: 0.25}


def test_items_that_one_arm_lacks_are_in_no_difference():
    rows = rows_of({"method": three_quarters, "baseline": half})
    rows = [row for row in rows if not (row.arm == "baseline" and row.item.endswith(("0", "2", "4", "6", "8")))]
    assert difference(Rows(rows), "accuracy", "method", "baseline").value == 0


def test_a_gain_that_one_seed_lacks_does_not_meet_its_bar():
    def not_on_seed_1(seed, item):
        return half(seed, item) if seed == 1 else three_quarters(seed, item)

    good, uneven = (Rows(rows_of({"m": arm, "b": half})) for arm in (three_quarters, not_on_seed_1))
    assert gain_figure("gain", good, "accuracy", "m", "b", 0.12).met is True
    assert gain_figure("gain", good, "accuracy", "m", "b", 0.26).met is False
    found = gain_figure("gain", uneven, "accuracy", "m", "b", 0.12)
    assert found.value > 0.12 and found.interval[0] > 0 and found.met is False


def test_a_relative_gain_wants_points_too():
    def rarely(seed, item):
        return item % 20 == 0

    def twice_as_often(seed, item):
        return item % 10 == 0

    rows = Rows(rows_of({"m": twice_as_often, "b": rarely}))
    found = relative_gain_figure("gain", rows, "accuracy", "m", "b", 0.45)
    assert found.value == pytest.approx(1.0) and found.met is False, "twice as many, and only 5 points"


def test_the_share_of_the_gap_that_is_closed():
    rows = Rows(rows_of({"m": three_quarters, "b": half}))
    assert share_of_gap(rows, "accuracy", "m", "b", 1.0) == pytest.approx(0.5)
    assert np.isnan(share_of_gap(rows, "accuracy", "m", "b", 0.5))


def test_rows_are_the_same_bytes_in_any_order_and_come_back(tmp_path):
    rows = rows_of({"method": three_quarters, "baseline": half})
    write_rows(rows, tmp_path / "a.parquet")
    write_rows(rows[::-1], tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert sorted(read_rows(tmp_path / "a.parquet"), key=repr) == sorted(rows, key=repr)


def test_rows_too_many_to_be_committed_are_refused(tmp_path):
    noise = np.random.default_rng(0).normal(size=300_000)
    with pytest.raises(UserError, match="score fewer items"):
        write_rows((Row("a", 0, f"{i:06d}", "nll", float(x)) for i, x in enumerate(noise)), tmp_path / "rows.parquet")
    assert not list(tmp_path.iterdir())
