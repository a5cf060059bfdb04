from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.batches.mixture import BLOCK, Mixture
from cslm.batches.weights import WeightSchedule
from cslm.errors import UserError

SOURCES = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.tuples(st.floats(0.01, 100), st.floats(1, 1000)),
    min_size=1,
    max_size=6,
)


@given(SOURCES, st.integers(0, 2**32), st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_every_block_holds_its_quotas_and_draws_count_up(sources, seed, block):
    weights = {name: weight for name, (weight, _) in sources.items()}
    mixture = Mixture(weights, {name: length for name, (_, length) in sources.items()}, seed)
    quotas = dict(zip(mixture.names, mixture.quotas_at(0.0).tolist(), strict=True))
    assert sum(quotas.values()) == BLOCK and min(quotas.values()) >= 1
    draws = [mixture.draw(slot) for slot in range(block * BLOCK, (block + 1) * BLOCK)]
    assert Counter(name for name, _ in draws) == quotas
    for name, quota in quotas.items():
        assert [draw for other, draw in draws if other == name] == list(range(block * quota, (block + 1) * quota))


def test_weights_are_shares_of_tokens():
    mixture = Mixture({"short": 3.0, "long": 1.0}, {"short": 10.0, "long": 100.0}, 0)
    tokens = Counter(dict.fromkeys(("short", "long"), 0.0))
    for slot in range(BLOCK):
        name, _ = mixture.draw(slot)
        tokens[name] += {"short": 10.0, "long": 100.0}[name]
    assert tokens["short"] / (tokens["short"] + tokens["long"]) == pytest.approx(0.75, abs=0.003)


def test_another_seed_is_another_order():
    orders = [
        [Mixture({"a": 1, "b": 1}, {"a": 1, "b": 1}, seed).draw(slot) for slot in range(64)] for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("weights", [{"a": -1.0}, {"a": float("nan")}, {"a": float("inf")}, {"a": 0.0}, {}])
def test_weights_that_are_none_are_refused(weights):
    with pytest.raises(UserError, match="weight"):
        Mixture(weights, dict.fromkeys(weights, 1.0), 0)


def test_a_weight_of_zero_leaves_the_source_out():
    mixture = Mixture({"a": 1.0, "b": 0.0}, {"a": 1.0, "b": 1.0}, 0)
    assert {mixture.draw(slot)[0] for slot in range(BLOCK)} == {"a"}


def test_scheduled_weights_take_over_and_every_draw_comes_once():
    weights = {"text": WeightSchedule([1.0, 0.0]), "speech": WeightSchedule([0.0, 1.0])}
    num_blocks, lengths = 40, {"text": 20.0, "speech": 50.0}
    total = num_blocks * BLOCK * 30.0
    mixture = Mixture(weights, lengths, 5, total)
    tokens, draws, shares = 0.0, {"text": [], "speech": []}, {}
    for slot in range(num_blocks * BLOCK):
        name, draw = mixture.draw(slot)
        draws[name].append(draw)
        tokens += lengths[name]
        bucket = min(9, int(10 * tokens / total))
        shares.setdefault(bucket, Counter())[name] += lengths[name]
    assert all(numbers == list(range(len(numbers))) for numbers in draws.values())
    for bucket, counts in shares.items():
        if bucket < 9:  # the last holds what comes after the schedule's end
            assert counts["speech"] / counts.total() == pytest.approx((bucket + 0.5) / 10, abs=0.03)


def test_a_short_training_ended_before_its_weights_had_changed():
    """1,500 documents are less than a block of 4,096: of a weight that rises from 0 to 1, half a share is read."""
    weights, lengths = {"a": 1.0, "b": WeightSchedule([0.0, 1.0])}, {"a": 20.0, "b": 20.0}
    mixture = Mixture(weights, lengths, 0, 1500 * 20.0)
    names = [mixture.draw(slot)[0] for slot in range(1500)]
    shares = [names[start : start + 300].count("b") / 300 for start in range(0, 1500, 300)]
    assert shares == sorted(shares) and shares[0] < 0.2 < 0.4 < shares[-1]
    assert names.count("b") / 1500 == pytest.approx(0.307, abs=0.03)  # the mean of x / (1 + x)


def test_after_its_end_a_schedule_stays_and_any_slot_costs_the_same():
    mixture = Mixture({"a": WeightSchedule([1.0, 0.25]), "b": WeightSchedule([0.0, 0.75])}, {"a": 1, "b": 1}, 0, 1e6)
    far = [mixture.draw(10**12 * BLOCK + place) for place in range(BLOCK)]
    assert Counter(name for name, _ in far) == {"a": BLOCK // 4, "b": BLOCK * 3 // 4}
    assert sorted(draw for name, draw in far if name == "b")[0] > 10**14


def test_nothing_left_at_some_point_is_an_error():
    with pytest.raises(UserError, match="no source has a weight above 0 at 100% of the training"):
        Mixture({"a": WeightSchedule([1.0, 0.0])}, {"a": 1.0}, 0, 1e6)


def test_progress_is_the_share_of_the_tokens_before_a_slot():
    """Of two sources of 10 and 30 tokens, as many tokens of each: 15 tokens a document."""
    mixture = Mixture({"a": 1.0, "b": 1.0}, {"a": 10.0, "b": 30.0}, 0, total_tokens=15.0 * 100_000)
    for slot in (0, 1, 1000, 50_000, 99_999):
        assert mixture.progress_at(slot) == pytest.approx(slot / 100_000, rel=1e-3)
    assert mixture.progress_at(100_200) == mixture.progress_at(10**12) == 1.0


def test_progress_under_scheduled_weights_is_what_their_draws_add_up_to():
    weights = {"text": WeightSchedule([1.0, 0.0]), "speech": WeightSchedule([0.0, 1.0])}
    lengths, total = {"text": 20.0, "speech": 50.0}, 40 * BLOCK * 30.0
    mixture, tokens, found = Mixture(weights, lengths, 5, total), 0.0, []
    for slot in range(30 * BLOCK):
        if slot % 1000 == 0:
            assert mixture.progress_at(slot) == pytest.approx(tokens / total, abs=1e-3)
            found.append(mixture.progress_at(slot))
        tokens += lengths[mixture.draw(slot)[0]]
    assert found == sorted(set(found)) and found[-1] < 1
