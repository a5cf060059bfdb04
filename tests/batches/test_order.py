from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cslm.batches.order import mix, name_seed, permuted_index


@given(st.integers(0, 2**64 - 1), st.integers(0, 1000), st.integers(1, 300))
def test_every_epoch_is_a_permutation(seed, epoch, n):
    assert sorted(permuted_index(seed, epoch, k, n) for k in range(n)) == list(range(n))


def test_epochs_seeds_and_names_differ():
    def order(seed, epoch):
        return [permuted_index(seed, epoch, k, 50) for k in range(50)]

    assert order(0, 0) != order(0, 1) != order(1, 0) != order(0, 0)
    assert order(0, 0) != list(range(50))
    assert len({name_seed(0, "asr"), name_seed(0, "tts"), name_seed(1, "asr")}) == 3


def test_the_order_is_the_same_on_every_machine():
    assert [permuted_index(7, 2, k, 10) for k in range(10)] == [6, 5, 3, 8, 1, 4, 7, 2, 9, 0]
    assert mix(1, 2, 3) == 15020427595393229491
    assert permuted_index(7, 2, 10**15, 10**18) == 209990798493752591


@pytest.mark.parametrize("n", [1, 2, 7, 64])
def test_places_are_shared_evenly(n):
    places = [permuted_index(seed, 0, 0, n) for seed in range(200 * n)]
    counts = [places.count(index) for index in range(n)]
    assert min(counts) > 140 and max(counts) < 260
