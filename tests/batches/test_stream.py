from __future__ import annotations

import dataclasses
import time
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cslm.batches.held_out import HeldOut
from cslm.batches.mixture import BLOCK
from cslm.batches.parts import Part
from cslm.batches.sources import SourceConfig, open_sources
from cslm.errors import UserError
from tests.worlds.small_world import open_stream


def new_stream(world, form, **changes):
    settings_ = {"tokens_per_step": 900, "tokens_per_micro_batch": 400, "max_length": 300, "seed": 3} | changes
    return open_stream(world, form, **settings_)


@pytest.fixture(scope="module")
def stream(world, form):
    return new_stream(world, form)


def documents_of(micro_batches) -> list[tuple[int, ...]]:
    """The documents of rows, sorted, without rows that are only padding."""
    documents = []
    for row in micro_batches:
        boundaries = row.boundaries
        ids = row.input_ids[0].tolist()
        if len(ids) > 1:
            documents += [tuple(ids[start:stop]) for start, stop in pairwise(boundaries)]
    return sorted(documents)


@given(st.integers(0, 20_000), st.integers(1, 4))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_step_is_the_same_for_any_number_of_processes(stream, slot, world_size):
    position = {"slot": slot}
    alone = stream.step(position)
    shares = [stream.step(position, rank, world_size) for rank in range(world_size)]
    assert len({len(share.micro_batches) for share in shares}) == 1
    together = [row for share in shares for row in share.micro_batches]
    assert documents_of(together) == documents_of(alone.micro_batches)
    for share in shares:
        assert (share.counts, share.position, share.consumed) == (
            alone.counts,
            alone.position,
            alone.consumed,
        )
    assert sum(row.num_targets for row in together) == alone.counts["targets"]


def test_a_run_goes_on_at_any_step(world, form, stream):
    position: dict = {}
    steps = []
    for _ in range(6):
        steps.append((position, stream.step(position)))
        position = steps[-1][1].position
    other = new_stream(world, form, tokens_per_micro_batch=900)
    for position, step in reversed(steps):
        again = other.step(position)
        assert documents_of(again.micro_batches) == documents_of(step.micro_batches)
        assert again.position == step.position


def test_no_slot_is_skipped_or_taken_twice(stream):
    position: dict = {}
    seen = []
    for _ in range(5):
        step = stream.step(position)
        seen += documents_of(step.micro_batches)
        position = step.position
    expected = [stream.document(slot)[1] for slot in range(position["slot"])]
    assert sorted(seen) == sorted(tuple(document.ids.tolist()) for document in expected)


def test_steps_are_as_full_as_documents_allow(stream):
    step = stream.step({})
    tokens = sum(step.consumed.values())
    _, following = stream.document(step.position["slot"])
    assert tokens <= 900 < tokens + len(following)
    assert all(row.input_ids.shape[1] <= 400 for row in step.micro_batches)


def test_targets_are_the_next_ids_of_the_same_document(stream, form):
    step = stream.step({"slot": 77})
    for row in step.micro_batches:
        ids, positions = row.input_ids[0], row.target_positions
        assert row.input_ids.dtype == row.target_ids.dtype == row.target_groups.dtype == torch.int64
        assert torch.equal(ids[positions + 1], row.target_ids)
        starts = row.boundaries[:-1]
        assert set((positions + 1).tolist()).isdisjoint(starts)
        for start, stop in pairwise(row.boundaries):
            assert row.position_ids[0, start:stop].tolist() == list(range(stop - start))
        speech = [stream.groups[group].split("/")[1] == "speech" for group in row.target_groups.tolist()]
        assert speech == form.vocabulary.is_unit(row.target_ids).tolist()


def test_masks_of_rows_are_those_of_the_sequences(stream):
    step = stream.step({"slot": 5})
    trained = {}
    for slot in range(5, step.position["slot"]):
        document = stream.document(slot)[1]
        trained[tuple(document.ids.tolist())] = document.trained
    for row in step.micro_batches:
        ids = row.input_ids[0].tolist()
        for start, stop in pairwise(row.boundaries):
            mask = trained[tuple(ids[start:stop])].copy()
            mask[0] = False
            inside = (row.target_positions >= start) & (row.target_positions < stop)
            assert (row.target_positions[inside] + 1 - start).tolist() == np.flatnonzero(mask).tolist()


def test_groups_name_task_modality_and_language(stream):
    assert stream.groups == sorted(stream.groups)
    assert {"asr/text/en", "tts/speech/zh", "dialogue/speech/en", "instruction/text/en"} <= set(stream.groups)
    assert "instruction/text/zh" not in stream.groups


def test_more_processes_than_documents_get_padding(world, form):
    stream = new_stream(world, form, tokens_per_step=1)
    steps = [stream.step({}, rank, 3) for rank in range(3)]
    assert [len(step.micro_batches) for step in steps] == [1, 1, 1]
    empty = steps[2].micro_batches[0]
    assert empty.input_ids.tolist() == [[0]] and empty.boundaries == (0, 1)
    assert len(empty.target_positions) == empty.num_targets == len(empty.target_groups) == 0
    assert steps[2].counts["targets"] == steps[0].counts["targets"] > 0


def test_shares_of_tokens_are_the_weights(world, form):
    stream = new_stream(world, form, tokens_per_step=5000, tokens_per_micro_batch=5000)
    consumed: dict[str, int] = {}
    position: dict = {}
    while position.get("slot", 0) < BLOCK:
        step = stream.step(position)
        position = step.position
        for name, tokens in step.consumed.items():
            consumed[name] = consumed.get(name, 0) + tokens
    total, weights = sum(consumed.values()), sum(config.weight for config in world.values())
    for name, config in world.items():
        assert consumed[name] / total == pytest.approx(config.weight / weights, abs=0.01)


def test_long_documents_are_dropped_or_cut_and_counted(world, form):
    stream = new_stream(world, form, max_length=60)
    notes: dict[str, int] = {}
    position: dict = {}
    for _ in range(10):
        step = stream.step(position)
        position = step.position
        notes.update(step.notes)
        assert all(length <= 60 for row in step.micro_batches for length in np.diff(row.boundaries))
    assert notes["dialogue: dropped, longer than 60 tokens"] > 0
    assert notes["code_switched: cut, longer than 60 tokens"] > 0


def test_a_source_of_long_documents_alone_does_not_turn_for_ever(world, form):
    stream = new_stream({"dialogue": world["dialogue"]}, form, max_length=5)
    with pytest.raises(UserError, match="raise max_length"):
        stream.step({})


def test_lengths_that_contradict_are_refused(world, form):
    with pytest.raises(UserError, match=r"max_length 500 is above tokens_per_micro_batch 400"):
        new_stream(world, form, max_length=500)


def test_a_further_source_leaves_the_order_of_the_others(world, form):
    few = {name: world[name] for name in ("asr", "tts")}
    more = {**few, "text": world["text"]}

    def order(configs, name):
        stream = new_stream(configs, form)
        found = [stream.document(slot) for slot in range(150)]
        return [document.ids.tolist() for other, document in found if other == name][:30]

    assert order(few, "asr") == order(more, "asr")


def test_the_millionth_step_costs_what_the_first_does(stream):
    def seconds(slot):
        started = time.perf_counter()
        stream.step({"slot": slot})
        return time.perf_counter() - started

    stream.step({})
    near, far = (min(seconds(slot + 7 * k) for k in range(3)) for slot in (BLOCK, 10**9))
    assert far < 10 * near + 0.1


def test_configurations_can_be_left_out(world, form):
    stream = new_stream({**world, "off": SourceConfig("asr", 0)}, form)
    assert "off" not in stream.sources


def test_each_learnt_token_weighs_what_its_source_says(world, form):
    heavy = world | {"asr": dataclasses.replace(world["asr"], loss_weight=3.0)}
    stream = new_stream(heavy, form)
    weighed = {"asr": set(), "others": set()}
    for row in stream.step({"slot": 40}).micro_batches:
        for group, weight in zip(row.target_groups.tolist(), row.target_weights.tolist(), strict=True):
            weighed["asr" if stream.groups[group].startswith("asr/") else "others"].add(weight)
    assert weighed == {"asr": {3.0}, "others": {1.0}}


def test_documents_know_the_progress_of_their_slot(world, form, monkeypatch):
    """The same on resume and for any number of processes: it hangs on the slot alone."""
    seen: dict[int, list[float]] = {}
    stream = new_stream({"asr": world["asr"]}, form, total_tokens=20_000)
    source = stream.sources["asr"]

    def watched(index, draw_seed, progress=1.0, plain=source.sequence):
        seen.setdefault(draw_seed, []).append(progress)
        return plain(index, draw_seed, progress)

    monkeypatch.setattr(source, "sequence", watched)
    position: dict = {}
    for number in range(12):
        stream.step(position, 0, 1)
        position = stream.step(position, number % 2, 2).position
    progress = [found[0] for found in seen.values()]
    assert all(len(set(found)) == 1 for found in seen.values()) and max(map(len, seen.values())) > 1
    assert progress[0] == 0.0 and progress == sorted(progress) and 0.3 < progress[-1] < 0.7


def test_the_held_out_part_is_seen_as_at_the_end(world, form, monkeypatch):
    stream = new_stream({"asr": world["asr"]}, form, held_out_share=0.3)
    (source,) = open_sources({"asr": world["asr"]}, form, Part(0.3, held_out=True)).values()
    seen = []

    def watched(index, draw_seed, progress=1.0, plain=source.clean_sequence):
        seen.append(progress)
        return plain(index, draw_seed)

    monkeypatch.setattr(source, "clean_sequence", watched)
    assert len(HeldOut({"asr": source}, stream, 3)) == 3 and seen == [1.0] * 3
