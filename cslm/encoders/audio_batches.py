"""Which utterances share a batch of a network: those of nearly one length, so that little is padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")


class AudioBatches:
    """Makes batches of at most ``batch_sec`` of audio, padding included, and counts what it put into them.

    A longer utterance is a batch of its own.
    """

    def __init__(self, batch_sec: float) -> None:
        """Nothing is counted yet."""
        self.batch_sec = batch_sec
        self.num_frames = 0
        self.num_slots = 0
        """The same with padding."""

    @property
    def padding_share(self) -> float:
        """Share of the slots that held no frame; 0 where nothing was batched."""
        return 1 - self.num_frames / self.num_slots if self.num_slots else 0.0

    def groups(self, lengths: Sequence[int], frame_rate_hz: float) -> Iterator[list[int]]:
        """Indices of utterances, shortest first, a batch at a time; ``lengths`` in frames."""
        limit, group = self.batch_sec * frame_rate_hz, list[int]()
        for index in sorted(range(len(lengths)), key=lengths.__getitem__):
            if group and (len(group) + 1) * lengths[index] > limit:
                yield self._counted(group, lengths)
                group = []
            group.append(index)
        if group:
            yield self._counted(group, lengths)

    def run(
        self,
        function: Callable[[list[NDArray[np.float32]]], Sequence[Result]],
        waveforms: Sequence[NDArray[np.float32]],
        lengths: Sequence[int],
        frame_rate_hz: float,
    ) -> Iterator[tuple[int, Result]]:
        """Index and result of each waveform, from a function of a batch of them; ``lengths`` in frames."""
        for chosen in self.groups(lengths, frame_rate_hz):
            yield from zip(chosen, function([waveforms[i] for i in chosen]), strict=True)

    def _counted(self, group: list[int], lengths: Sequence[int]) -> list[int]:
        self.num_frames += sum(lengths[i] for i in group)
        self.num_slots += len(group) * lengths[group[-1]]
        return group


def in_order(pairs: Iterable[tuple[int, Result]]) -> list[Result]:
    """Results by their index, 0, 1, 2, ..."""
    return [result for _, result in sorted(pairs, key=lambda pair: pair[0])]
