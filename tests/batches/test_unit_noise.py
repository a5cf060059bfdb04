from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.batches.sources import open_sources
from cslm.batches.unit_noise import read_with_noise
from cslm.sequences.sequence import Sequence, Span
from cslm.sequences.tasks import TASKS
from tests.worlds.small_world import open_stream


def document(learnt: int) -> Sequence:
    """Five ids of text, ten units that are heard (100 to 109), ``learnt`` units that are spoken (200 and above)."""
    ids = np.array([*range(5), *range(100, 110), *range(200, 200 + learnt)], dtype=np.int32)
    trained = np.arange(len(ids)) >= 15
    spans = (
        Span(0, 5, "text", "en", "document", False),
        Span(5, 15, "speech", "en", "document", False),
        Span(15, 15 + learnt, "speech", "en", "document", True),
    )
    return Sequence(ids, trained, spans, "tts")


@given(st.floats(0.01, 0.99), st.integers(0, 2**63 - 1), st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_only_units_that_are_learnt_are_read_as_other_units_of_the_document(share, seed, learnt):
    clean = document(learnt)
    noisy = read_with_noise(clean, share, seed)
    assert noisy.read is not None
    np.testing.assert_array_equal(noisy.ids, clean.ids)
    np.testing.assert_array_equal(noisy.read[:15], clean.ids[:15])
    assert set(noisy.read[15:].tolist()) <= set(clean.ids[5:].tolist())
    np.testing.assert_array_equal(noisy.read, read_with_noise(clean, share, seed).read)


def test_the_share_is_that_of_the_units_that_change():
    clean = document(20_000)
    for share in (0.1, 0.3):
        noisy = read_with_noise(clean, share, seed=5)
        assert np.mean(noisy.read[15:] != clean.ids[15:]) == pytest.approx(share, abs=0.01)


def test_a_document_without_spoken_units_is_left_alone():
    clean = document(0)
    assert read_with_noise(dataclasses.replace(clean, spans=clean.spans[:2]), 0.5, seed=1).read is None


def test_a_window_reads_the_same_units():
    noisy = read_with_noise(document(50), 0.5, seed=2)
    np.testing.assert_array_equal(noisy.window(20, 40).read, noisy.read[20:40])


def rows(world, form, rank=0, world_size=1, **changes):
    """The documents of a step as (what is read, what is to be learnt, where), sorted."""
    sizes = {"tokens_per_step": 900, "tokens_per_micro_batch": 400, "max_length": 300, "seed": 3}
    step = open_stream(world, form, **sizes | changes).step({"slot": 7}, rank, world_size)
    found = []
    for row in step.micro_batches:
        for start, stop in zip(row.boundaries[:-1], row.boundaries[1:], strict=True):
            inside = (row.target_positions >= start) & (row.target_positions < stop)
            read = tuple(row.input_ids[0, start:stop].tolist())
            where = tuple((row.target_positions[inside] - start).tolist())
            if len(read) > 1:
                found.append((read, tuple(row.target_ids[inside].tolist()), where))
    return found


def with_noise(world, share):
    """The same sources; those that speak read a share of their units as others."""
    noisy = {"unit_noise": share}
    return {
        name: dataclasses.replace(config, **noisy if "unit_noise" in TASKS[config.task].reads else {})
        for name, config in world.items()
    }


def test_noise_changes_what_is_read_and_not_what_is_learnt(world, form):
    clean, noisy = rows(world, form), rows(with_noise(world, 0.3), form)
    assert [document[1:] for document in clean] == [document[1:] for document in noisy]
    assert [document[0] for document in clean] != [document[0] for document in noisy]


def test_noise_is_the_same_for_any_number_of_processes(world, form):
    noisy = with_noise(world, 0.3)
    together = [document for rank in range(2) for document in rows(noisy, form, rank, 2)]
    assert sorted(together) == sorted(rows(noisy, form))


def test_no_noise_reads_what_is_written(world, form):
    (source,) = open_sources({"tts": world["tts"]}, form).values()
    assert source.sequence(0, 1).read is None


def test_a_model_reads_the_noise(world, form):
    step = open_stream(
        with_noise({"tts": world["tts"]}, 0.5), form, tokens_per_step=300, tokens_per_micro_batch=300, max_length=300,
        seed=0,
    ).step({})  # fmt: skip
    (row,) = step.micro_batches
    learnt_after = row.input_ids[0, row.target_positions[1:]]
    assert not torch.equal(learnt_after, row.target_ids[:-1])
