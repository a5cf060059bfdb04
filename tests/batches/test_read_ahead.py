"""What reads ahead gives the steps that the stream makes by itself."""

from __future__ import annotations

import multiprocessing

import pytest

from cslm.batches.read_ahead import read_ahead
from cslm.errors import UserError
from tests.worlds.equal_batches import equal
from tests.worlds.small_world import open_stream


@pytest.fixture
def stream(world, form):
    return open_stream(world, form, tokens_per_step=3000, tokens_per_micro_batch=600, max_length=500, seed=3)


def steps(stream, count, position=None, rank=0, world_size=1):
    """The batches of ``count`` steps from a position on."""
    position, batches = position or {}, []
    for _ in range(count):
        batches.append(stream.step(position, rank, world_size))
        position = batches[-1].position
    return batches


def assert_equal(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        assert (one.position, one.consumed, one.notes) == (other.position, other.consumed, other.notes)
        for row, same in zip(one.micro_batches, other.micro_batches, strict=True):
            assert equal(row, same)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_same_steps(stream, workers):
    wanted = steps(stream, 6)
    with read_ahead(stream, workers) as ahead:
        assert ahead.groups == stream.groups
        assert_equal(steps(ahead, 6), wanted)


def test_from_the_middle_on_another_process_and_again(stream):
    middle = steps(stream, 3)[-1].position
    with read_ahead(stream, 2) as ahead:
        for _ in range(2):
            assert_equal(steps(ahead, 3, middle, rank=1, world_size=2), steps(stream, 3, middle, rank=1, world_size=2))


def test_no_process_is_left(stream):
    with read_ahead(stream, 2) as ahead:
        steps(ahead, 1)
        assert len(multiprocessing.active_children()) == 2
    assert multiprocessing.active_children() == []


def test_without_workers_it_is_the_stream(stream):
    with read_ahead(stream, 0) as ahead:
        assert ahead is stream


def test_what_the_stream_refuses_is_said_in_its_own_words(world, form):
    stream = open_stream(world, form, tokens_per_step=3000, tokens_per_micro_batch=8, max_length=8, seed=3)
    stream.sources = {name: _Refusing() for name in stream.sources}
    with read_ahead(stream, 1) as ahead, pytest.raises(UserError, match="^line 7 is damaged$"):
        steps(ahead, 1)


class _Refusing:
    num_documents = 5

    def sequence(self, index, draw_seed, progress=1.0):
        raise UserError("line 7 is damaged")
