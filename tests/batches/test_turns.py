"""Steps that hold one source, or one language, each."""

from __future__ import annotations

import json
from collections import Counter
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.batches.accounts import account_lines
from cslm.batches.micro_batch import StepBatch
from cslm.batches.mixture import Mixture
from cslm.batches.read_ahead import read_ahead
from cslm.batches.stream import BatchStream
from cslm.batches.turns import Turns
from cslm.batches.weights import WeightSchedule
from cslm.errors import UserError
from tests.worlds.equal_batches import equal
from tests.worlds.small_world import open_stream
from tests.worlds.spoken_stories import store_of, story_source, told_in

SIZES = {"tokens_per_step": 600, "tokens_per_micro_batch": 300, "max_length": 60, "seed": 3}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return store_of(tmp_path_factory.mktemp("stories"), told_in(["en", "fr"], 12, 5))


@pytest.fixture(autouse=True)
def own_cache(world):
    """The cache of the small world."""


def stream_of(form, store, alternate="language", weights=(1, 1), **changes) -> BatchStream:
    sources = {
        language: story_source(store, languages=[language], joined_tokens=60, weight=weight)
        for language, weight in zip(("en", "fr"), weights, strict=True)
    }
    return open_stream(sources, form, **{**SIZES, "alternate": alternate, **changes})


def steps(stream, count: int, position: dict[str, Any] | None = None, *shape: int) -> list[StepBatch]:
    found = []
    position = position or {}
    for _ in range(count):
        found.append(stream.step(position, *shape))
        position = json.loads(json.dumps(found[-1].position))  # as a checkpoint keeps it
    return found


def test_a_step_holds_one_language_and_languages_take_turns(form, store):
    found = steps(stream_of(form, store), 12)
    assert [set(step.accounts) for step in found] == [{"en"}, {"fr"}] * 6
    assert all(sum(step.consumed.values()) == 600 for step in found), "a step is as full as any"
    mixed = steps(stream_of(form, store, alternate=None), 3)
    assert all(set(step.accounts) == {"en", "fr"} for step in mixed)


def test_rows_hold_what_their_step_does(form, store):
    for step, language in zip(steps(stream_of(form, store), 4), ["en", "fr", "en", "fr"], strict=True):
        units = {20: "en", 21: "fr"}
        last = [id_ - form.vocabulary.first_unit_id for row in step.micro_batches for id_ in row.input_ids[0].tolist()]
        assert {units[unit] for unit in last if unit in units} == {language}


@pytest.mark.parametrize("world_size", [2, 3])
def test_a_step_is_the_same_for_any_number_of_processes(form, store, world_size):
    stream = stream_of(form, store)
    alone = steps(stream, 6)
    for rank in range(world_size):
        shares = steps(stream, 6, None, rank, world_size)
        for share, whole in zip(shares, alone, strict=True):
            assert (share.position, share.consumed, share.accounts) == (whole.position, whole.consumed, whole.accounts)
    for number, whole in enumerate(alone):
        position = {} if not number else alone[number - 1].position
        rows = [row for rank in range(world_size) for row in stream.step(position, rank, world_size).micro_batches]
        assert documents(rows) == documents(whole.micro_batches)


def documents(rows) -> list[tuple[int, ...]]:
    ids = [(row.input_ids[0].tolist(), row.boundaries) for row in rows]
    return sorted(tuple(line[start:stop]) for line, ends in ids for start, stop in pairwise(ends) if len(line) > 1)


def test_a_run_goes_on_at_any_step_with_another_length_of_rows(form, store):
    found = steps(stream_of(form, store), 9)
    other = stream_of(form, store, tokens_per_micro_batch=600)
    for number in (4, 8, 1):
        again = other.step(found[number - 1].position)
        assert documents(again.micro_batches) == documents(found[number].micro_batches)
        assert again.position == found[number].position


def test_no_slot_is_passed_over_or_taken_twice(form, store):
    """What the mixture deals is only put into another order."""
    stream = stream_of(form, store)
    found = steps(stream, 30)
    end = found[-1].position["slot"]
    taken = Counter(document for step in found for document in documents(step.micro_batches))
    wanted = Counter(tuple(stream.document(slot)[1].ids.tolist()) for slot in range(end))
    assert not wanted - taken
    assert sum((taken - wanted).values()) <= 2 * 10, "the others are beyond, of the language that is ahead"


def test_three_times_the_weight_has_three_times_the_turns(form, store):
    found = steps(stream_of(form, store, weights=(3, 1)), 40)
    turns = [next(iter(step.accounts)) for step in found]
    assert turns.count("en") == pytest.approx(30, abs=1)
    assert max(len(list(run)) for language, run in groupby(turns) if language == "fr") == 1


def staged(form, store, **changes) -> BatchStream:
    """English alone for a half, both in one story for a quarter, then languages in turn."""

    def weight(*values):
        return WeightSchedule([float(value) for value in values], [0, 0.5, 0.75], "steps")

    sources = {
        "english": story_source(store, languages=["en"], joined_tokens=60, weight=weight(1, 0, 1)),
        "both": story_source(store, joined_tokens=60, weight=weight(0, 1, 0)),
        "french": story_source(store, languages=["fr"], joined_tokens=60, weight=weight(0, 0, 1)),
    }
    return open_stream(sources, form, **{**SIZES, "alternate": "language", "total_tokens": 80 * 600.0, **changes})


def test_turns_are_taken_within_a_stage(form, store):
    found = steps(staged(form, store), 80)
    taken = [next(iter(step.consumed)) for step in found]
    assert all(len(step.consumed) == 1 for step in found)
    first = [len(list(run)) for name, run in groupby(taken) if name in ("english", "both")][:2]
    assert first == [pytest.approx(40, abs=2), pytest.approx(20, abs=2)], "English alone, then both"
    turns = taken[sum(first) :]
    assert set(turns) == {"english", "french"} and turns.count("english") == pytest.approx(len(turns) / 2, abs=1)
    assert all(len(list(run)) <= 2 for _, run in groupby(turns))
    assert sum(sum(step.consumed.values()) == 600 for step in found) >= 77, "one step a stage may be smaller"


def test_stages_are_accounted_for_by_language(form, store):
    accounts: Counter[str] = Counter()
    for step in steps(staged(form, store), 80):
        accounts.update(step.accounts)
    assert set(accounts) == {"1/en", "2/en", "2/fr", "3/en", "3/fr"}
    assert accounts["1/en"] == pytest.approx(40 * 600, rel=0.06)
    assert accounts["2/en"] == pytest.approx(accounts["2/fr"], rel=0.1)
    assert accounts["3/en"] == pytest.approx(accounts["3/fr"], rel=0.15)
    lines = list(account_lines(accounts))
    assert [line.split(":")[0] for line in lines] == [
        "tokens of stage 1", "tokens of stage 2", "tokens of stage 3", "tokens of all"
    ]  # fmt: skip


def test_a_stage_resumes_as_it_was(form, store):
    found = steps(staged(form, store), 66)
    for number in (38, 45, 61):
        again = steps(staged(form, store), 4, found[number - 1].position)
        for one, other in zip(again, found[number:], strict=False):
            assert documents(one.micro_batches) == documents(other.micro_batches)
            assert one.position == other.position


@pytest.mark.parametrize("make", [stream_of, staged])
def test_what_reads_ahead_gives_the_same_steps(form, store, make):
    stream = make(form, store)
    wanted = steps(stream, 50)
    with read_ahead(stream, 1) as ahead:
        for one, other in zip(steps(ahead, 50), wanted, strict=True):
            assert one.position == other.position
            assert all(equal(*pair) for pair in zip(one.micro_batches, other.micro_batches, strict=True))
    with read_ahead(stream, 1) as ahead:
        assert steps(ahead, 2, wanted[20].position)[1].position == wanted[22].position


def test_sources_can_take_turns_too(form, store):
    stream = stream_of(form, store, alternate="source", weights=(1, 1))
    assert [next(iter(step.consumed)) for step in steps(stream, 4)] == ["en", "fr", "en", "fr"]


@pytest.mark.parametrize(("by", "message"), [("language", "all sources are of one, en"), ("speaker", "choose one of")])
def test_turns_that_nobody_can_take_are_refused(form, store, by, message):
    sources = {"en": story_source(store, languages=["en"], joined_tokens=60)}
    with pytest.raises(UserError, match=f"training.data.alternate is .*{by}.*{message}"):
        open_stream(sources, form, **{**SIZES, "alternate": by})


@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 3.0]), min_size=3, max_size=3), min_size=2, max_size=4),
    st.integers(0, 2**32), st.integers(2, 20),
)  # fmt: skip
@settings(deadline=None, max_examples=30)
def test_any_stages_of_any_groups_take_every_slot_once(values, seed, documents_per_step):
    """Steps of so many documents each, until all slots of a training of 1,000 documents were taken."""
    columns = list(zip(*values, strict=True))
    if not all(any(column) for column in columns):
        return
    weights = {f"s{number}": WeightSchedule(list(own), [0, 0.3, 0.6], "steps") for number, own in enumerate(values)}
    mixture = Mixture(weights, dict.fromkeys(weights, 1.0), seed, total_tokens=1000.0)
    turns = Turns(mixture, {name: [name] for name in mixture.names}, documents_per_step)
    position: dict[str, Any] = {}
    taken: list[int] = []
    while position.get("slot", 0) < 1000:
        turn = turns.turn(position)
        slot = turn.first_slot
        for number, slot in enumerate(turns.slots(turn)):
            if number == documents_per_step:
                break
            assert mixture.draw(slot)[0] == turn.group
            taken.append(slot)
        else:
            slot += 1
        position = turns.after(turn, slot)
    assert len(set(taken)) == len(taken) and set(range(1000)) <= set(taken)
