"""Recordings with transcripts as batches: a pure function of (seed, position), on any number of processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.utils.rnn import pad_sequence

from cslm.batches.micro_batch import StepBatch
from cslm.batches.order import permuted_draw
from cslm.model.recognizer.recognizer import Recognizer, RecognizerBatch
from cslm.sequences.sequence import Clip


class Lesson(NamedTuple):
    """A recording and what is said in it."""

    clip: Clip
    labels: npt.NDArray[np.int64]
    group: int


class RecognizerStream:
    """Every recording once in an epoch; a step has as many as fill its tokens, reckoned at the length of a window."""

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

    def step(self, position: Mapping[str, Any], rank: int, world_size: int) -> StepBatch:
        """The batch at ``position``: empty at the start, then what the step before returned."""
        first = int(position.get("draw", 0))
        draws = range(first, first + self._per_step)
        lessons = [self._lessons[permuted_draw(self._seed, draw, len(self._lessons))] for draw in draws]
        parts = [lessons[start : start + self._per_micro] for start in range(0, len(lessons), self._per_micro)]
        parts += [[] for _ in range(-len(parts) % world_size)]
        return StepBatch(
            micro_batches=[self._batch(part) for part in parts[rank::world_size]],
            position={"draw": first + self._per_step},
            consumed={"recordings": self._per_step * self._window},
            counts={"labels": sum(len(lesson.labels) for lesson in lessons)},
        )

    def _batch(self, lessons: Sequence[Lesson]) -> RecognizerBatch:
        """Padded; of no recording, a silent one of which nothing is learnt."""
        if not lessons:
            silence = self._recognizer.features(np.zeros(1600, dtype=np.float32))
            return _padded([silence], [np.zeros(0, dtype=np.int64)], [0])
        features = [self._recognizer.features(lesson.clip.read()) for lesson in lessons]
        return _padded(features, [lesson.labels for lesson in lessons], [lesson.group for lesson in lessons])


def _padded(
    features: Sequence[npt.NDArray[np.float32]], labels: Sequence[npt.NDArray[np.int64]], groups: Sequence[int]
) -> RecognizerBatch:
    said = pad_sequence([torch.from_numpy(one) for one in labels], batch_first=True)
    return RecognizerBatch(
        features=pad_sequence([torch.from_numpy(one) for one in features], batch_first=True),
        feature_lengths=torch.tensor([len(one) for one in features]),
        labels=said if said.shape[1] else said.new_zeros(len(said), 1),
        label_lengths=torch.tensor([len(one) for one in labels]),
        groups=torch.tensor(groups),
    )
