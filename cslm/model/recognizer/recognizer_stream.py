"""Recordings with transcripts as batches: a pure function of (seed, position), on any number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.rnn import pad_sequence

from cslm.batches.micro_batch import StepBatch
from cslm.batches.order import permuted_draw, permuted_index
from cslm.batches.recording_sources import RecordedClip
from cslm.model.recognizer.recognizer import Recognizer, RecognizerBatch

_STEPS_BY_LENGTH = 32
"""how many steps share their recordings out by length, at most"""
_SILENCE_EVERY = 4
"""of so many steps one hears whole windows: who listens with the recognizer fills them with silence"""


class Lesson(NamedTuple):
    """A recording and what is said in it."""

    clip: RecordedClip
    labels: npt.NDArray[np.int64]
    group: int


class RecognizerStream:
    """Every recording once in an epoch; a step has as many as fill its tokens, reckoned at the length of a window.

    The recordings of a few steps are dealt out by length, so that a batch is not computed at the length of its longest
    one for the sake of many short ones; these steps come in an order of their own. Every fourth hears the silence that
    fills the window too.
    """

    def __init__(
        self, lessons: Sequence[Lesson], recognizer: Recognizer, groups: Sequence[str], window_frames: int,
        per_step: int, per_micro: int, seed: int,
    ) -> None:  # fmt: skip
        """Make a stream.

        Args:
            window_frames: what a recording counts as, in frames of 10 ms.
            per_step: recordings of a step, over all processes.
            per_micro: recordings of a micro-batch.
        """
        self.groups = tuple(groups)
        self._lessons, self._recognizer, self._window = lessons, recognizer, window_frames
        self._per_step, self._per_micro, self._seed = per_step, per_micro, seed
        self._pool_steps = max(1, min(_STEPS_BY_LENGTH, len(lessons) // per_step))
        self._pool, self._by_length = -1, list[int]()

    def step(self, position: Mapping[str, Any], rank: int, world_size: int) -> StepBatch:
        """The batch at ``position``: empty at the start, then what the step before returned."""
        first = int(position.get("draw", 0))
        number = first // self._per_step
        lessons, is_whole = self._of_step(number), number % _SILENCE_EVERY == _SILENCE_EVERY - 1
        parts = [lessons[start : start + self._per_micro] for start in range(0, len(lessons), self._per_micro)]
        parts += [[] for _ in range(-len(parts) % world_size)]
        return StepBatch(
            micro_batches=[self._batch(part, is_whole) for part in parts[rank::world_size]],
            position={"draw": first + self._per_step},
            consumed={"recordings": self._per_step * self._window},
            counts={"labels": sum(len(lesson.labels) for lesson in lessons)},
        )

    def _of_step(self, step: int) -> list[Lesson]:
        """The recordings of a step, the shortest first: those of one length among all that its neighbours draw."""
        pool, place = divmod(step, self._pool_steps)
        if pool != self._pool:
            size = self._pool_steps * self._per_step
            draws = range(pool * size, (pool + 1) * size)
            drawn = [permuted_draw(self._seed, draw, len(self._lessons)) for draw in draws]
            self._pool, self._by_length = pool, sorted(drawn, key=lambda index: self._lessons[index].clip.num_samples)
        rank = permuted_index(self._seed, pool, place, self._pool_steps)
        return [self._lessons[index] for index in self._by_length[rank * self._per_step : (rank + 1) * self._per_step]]

    def _batch(self, lessons: Sequence[Lesson], is_whole: bool) -> RecognizerBatch:
        """Padded, with the silence of the window as a part of it or not; of no recording, a silent one of no label."""
        if not lessons:
            silence = self._recognizer.features(np.zeros(1600, dtype=np.float32))
            return _padded([silence], [self._recognizer.num_features(1600)], [np.zeros(0, dtype=np.int64)], [0])
        features = [self._recognizer.features(lesson.clip.read()) for lesson in lessons]
        lengths = [
            len(one) if is_whole else self._recognizer.num_features(lesson.clip.num_samples)
            for one, lesson in zip(features, lessons, strict=True)
        ]
        return _padded(features, lengths, [lesson.labels for lesson in lessons], [lesson.group for lesson in lessons])


def _padded(
    features: Sequence[npt.NDArray[np.float32]], lengths: Sequence[int], labels: Sequence[npt.NDArray[np.int64]],
    groups: Sequence[int],
) -> RecognizerBatch:  # fmt: skip
    said = pad_sequence([torch.from_numpy(one) for one in labels], batch_first=True)
    return RecognizerBatch(
        features=pad_sequence([torch.from_numpy(one) for one in features], batch_first=True),
        feature_lengths=torch.tensor(list(lengths)),
        labels=said if said.shape[1] else said.new_zeros(len(said), 1),
        label_lengths=torch.tensor([len(one) for one in labels]),
        groups=torch.tensor(groups),
    )
