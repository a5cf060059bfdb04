"""Intervals and tests: known by hand, or by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.evaluation.paired_tests import (
    clustered_mean,
    document_clusters,
    mcnemar_exact,
    paired_difference,
    ratio_interval,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_interval_of_a_ratio_is_what_drawing_by_hand_gives() -> None:
    for count in (1, 2, 60):
        given = np.random.default_rng(count)
        sums, counts = given.integers(0, 4, count), given.integers(0, 9, count)
        drawn = np.random.default_rng(7).integers(0, count, size=(1000, count))
        rates = sums[drawn].sum(axis=1) / np.maximum(1, counts[drawn].sum(axis=1))
        expected = np.quantile(rates, (0.025, 0.975))
        assert ratio_interval(sums, counts, 1000, np.random.default_rng(7)) == pytest.approx(expected, abs=1e-12)


def test_the_difference_and_each_seeds_own_are_means_over_items():
    found = paired_difference([1, 1, 1, 0], [0, 1, 0, 0], None, [0, 0, 7, 7], 100, rng())
    assert found.value == 0.5 and found.by_stratum == {0: 0.5, 7: 0.5} and found.signs_agree
    assert found.low <= 0.5 <= found.high


def test_a_seed_of_the_other_sign_or_of_none_disagrees():
    assert not paired_difference([1, 1, 1, 0], [0, 0, 0, 1], None, [0, 0, 0, 1], 100, rng()).signs_agree
    assert not paired_difference([1, 1, 1], [0, 0, 1], None, [0, 0, 1], 100, rng()).signs_agree
    assert not paired_difference([1, 0], [0, 1], None, None, 100, rng()).signs_agree


def test_items_of_a_cluster_are_drawn_together():
    """Ten copies of each item say no more than one."""
    values = rng(1).integers(0, 2, 60).astype(float).tolist()
    once = clustered_mean(values, None, None, 4000, rng())
    copies = [value for value in values for _ in range(10)]
    names = [index for index in range(60) for _ in range(10)]
    clustered = clustered_mean(copies, names, None, 4000, rng())
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high), abs=1e-12)
    alone = clustered_mean(copies, None, None, 4000, rng())
    assert alone.high - alone.low < 0.5 * (once.high - once.low)


def test_clusters_are_drawn_within_their_seed():
    """Seeds that differ from each other and not within themselves leave nothing to vary."""
    values, seeds = [1.0] * 8 + [0.0] * 8, [0] * 8 + [1] * 8
    within = clustered_mean(values, list(range(16)), seeds, 500, rng())
    assert within.low == within.high == 0.5
    across = clustered_mean(values, list(range(16)), None, 500, rng())
    assert across.low < 0.4 < 0.6 < across.high


def test_one_name_in_two_seeds_is_two_clusters():
    values, seeds = [1.0, 0.0, 1.0, 0.0], [0, 0, 1, 1]
    same = clustered_mean(values, ["a", "b", "a", "b"], seeds, 500, rng())
    other = clustered_mean(values, ["a", "b", "c", "d"], seeds, 500, rng())
    assert same == other


def test_nineteen_intervals_of_twenty_hold_the_truth():
    """Clusters of 5 items with a luck of their own: intervals that ignore them would hold it far less often."""
    generator, held, naive = rng(3), 0, 0
    for _ in range(300):
        luck = generator.beta(2, 2, size=60)
        values = (generator.random((60, 5)) < luck[:, None]).astype(float).reshape(-1).tolist()
        names = np.repeat(np.arange(60), 5).tolist()
        found = clustered_mean(values, names, None, 300, generator)
        held += found.low <= 0.5 <= found.high
        blind = clustered_mean(values, None, None, 300, generator)
        naive += blind.low <= 0.5 <= blind.high
    assert 0.90 <= held / 300 <= 0.99 and naive < held - 15


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_the_interval_lies_among_the_values_and_order_of_seeds_changes_no_mean(values, number):
    strata = [index % (number + 1) for index in range(len(values))]
    found = clustered_mean(values, None, strata, 100, rng())
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert found.value == pytest.approx(float(np.mean(values)))
    assert clustered_mean(values, None, strata, 100, rng()) == found


def test_few_draws_at_a_time_give_what_all_at_once_do(monkeypatch):
    values = rng(2).random(50).tolist()
    whole = clustered_mean(values, None, None, 64, rng())
    monkeypatch.setattr("cslm.evaluation.paired_tests._DRAWN_AT_ONCE", 150)
    assert clustered_mean(values, None, None, 64, rng()) == whole


def test_mcnemar_by_hand():
    """Of 6 items on which they differ the first has 6, or 5: 2 / 2**6, and 2 * (1 + 6) / 2**6."""
    assert mcnemar_exact([1] * 6 + [1, 0], [0] * 6 + [1, 0]) == pytest.approx(2 / 64)
    assert mcnemar_exact([1] * 5 + [0] + [1, 0], [0] * 5 + [1] + [1, 0]) == pytest.approx(14 / 64)
    assert mcnemar_exact([1, 0], [1, 0]) == 1.0 and mcnemar_exact([], []) == 1.0
    assert mcnemar_exact([0.5, 1.0], [0.0, 0.5]) == pytest.approx(0.5)
    assert mcnemar_exact([1, 1, 0], [0, 0, 1]) == mcnemar_exact([0, 0, 1], [1, 1, 0])


def test_rows_without_a_document_are_clusters_of_their_own():
    rows = [
        {"id": "a", "document": "s"},
        {"id": "b", "document": None},
        {"id": "s", "document": None},
        {"id": "c", "document": "s"},
    ]
    clusters = document_clusters(rows, "id")
    assert clusters is not None and len(set(clusters)) == 3 and clusters[0] == clusters[3] == "s"
    assert document_clusters(rows[:3], "id") is None and document_clusters([rows[0], rows[3]], "id") is None
