"""Batches of a recognizer: each recording once in an epoch, alike in length, the same on any number of processes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cslm.model.recognizer.recognizer_stream import _SILENCE_EVERY, _STEPS_BY_LENGTH, Lesson, RecognizerStream

PER_STEP, WINDOW = 4, 10_000
LENGTHS = np.random.default_rng(0).integers(1_000, 9_000, PER_STEP * _STEPS_BY_LENGTH)


class Recording:
    def __init__(self, num_samples: int) -> None:
        self.num_samples = num_samples

    def read(self) -> np.ndarray:
        return np.ones(self.num_samples, dtype=np.float32)


class Windows:
    """What it reads of a recording are its samples, and silence up to ten thousand."""

    def features(self, waveform: np.ndarray) -> np.ndarray:
        return np.pad(waveform, (0, WINDOW - len(waveform)))

    def num_features(self, num_samples: int) -> int:
        return num_samples


def stream(per_micro: int = PER_STEP) -> RecognizerStream:
    lessons = [Lesson(Recording(int(n)), np.array([n]), 0) for n in LENGTHS]
    return RecognizerStream(lessons, Windows(), ["all"], 600, PER_STEP, per_micro, seed=7)


def steps(one: RecognizerStream, count: int, rank: int = 0, world_size: int = 1) -> list[list]:
    position, found = {}, []
    for _ in range(count):
        step = one.step(position, rank, world_size)
        position = step.position
        found.append(step.micro_batches)
    return found


def said(batches: list) -> list[int]:
    return [int(label) for batch in batches for label in batch.labels[batch.label_lengths > 0, 0]]


def test_every_recording_comes_once_in_an_epoch():
    epoch = [label for step in steps(stream(), _STEPS_BY_LENGTH) for label in said(step)]
    assert sorted(epoch) == sorted(LENGTHS.tolist())


def test_a_batch_holds_recordings_of_one_length_and_the_steps_come_mixed():
    batches = [step[0] for step in steps(stream(), _STEPS_BY_LENGTH)]
    cut = [batch for number, batch in enumerate(batches, 1) if number % _SILENCE_EVERY]
    longest = [int(batch.feature_lengths.max()) for batch in cut]
    assert sum(int(batch.feature_lengths.sum()) for batch in cut) > 0.95 * PER_STEP * sum(longest)
    assert longest != sorted(longest)


def test_every_fourth_step_has_the_silence_of_its_window():
    """A recognizer that had never heard it wrote words of silence, where a window was filled up with it."""
    for number, (batch,) in enumerate(steps(stream(), _STEPS_BY_LENGTH), 1):
        is_whole = (batch.feature_lengths == WINDOW).all()
        assert is_whole == (number % 4 == 0)
        assert batch.num_slots == PER_STEP * WINDOW  # the silence is there, and heard where it counts as a part


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_all_processes_together_have_the_step(world_size):
    alone = steps(stream(per_micro=1), 3)
    shared = [steps(stream(per_micro=1), 3, rank, world_size) for rank in range(world_size)]
    for number, step in enumerate(alone):
        assert sorted(said([batch for one in shared for batch in one[number]])) == sorted(said(step))
        assert len({len(one[number]) for one in shared}) == 1


def test_a_step_in_the_middle_is_the_same_without_those_before_it():
    one = stream()
    steps(one, 5)
    resumed = stream().step({"draw": 5 * PER_STEP}, 0, 1).micro_batches[0]
    assert torch.equal(resumed.features, one.step({"draw": 5 * PER_STEP}, 0, 1).micro_batches[0].features)


def test_no_step_has_a_recording_twice_though_there_are_few():
    lessons = [Lesson(Recording(n), np.array([n]), 0) for n in (1000, 2000, 3000, 4000)]
    few = RecognizerStream(lessons, Windows(), ["all"], 600, PER_STEP, PER_STEP, seed=7)
    for step in steps(few, 8):
        assert sorted(said(step)) == [1000, 2000, 3000, 4000]
