"""How frozen networks run, as opposed to what they compute: device, batches by length, threads that read audio."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cslm.errors import UserError

Result = TypeVar("Result")

# Audio in a batch: on a CPU, larger ones leave its caches and are slower; a large GPU may like more.
BATCH_SEC = 20.0

_MOST_LOADING_THREADS = 8


@dataclass
class Runtime:
    """How a codec runs, as opposed to what it computes: nothing of it is on the card or in the fingerprint.

    Where neural networks are batched it may change a unit in ten thousand (``check-tokenizer`` measures it).
    """

    device: str = "cpu"
    """Where networks run: ``cpu``, ``cuda``, ``cuda:1``."""
    batch_sec: float = BATCH_SEC
    """Audio in a batch, padding included; one longer utterance is a batch."""
    loading_threads: int = 1
    """Threads that read audio while a network runs."""
    num_frames: int = 0
    """Frames that were batched so far."""
    num_slots: int = 0
    """The same with padding."""

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

    def in_batches(
        self,
        waveforms: Sequence[NDArray[np.float32]],
        lengths: Sequence[int],
        frame_rate_hz: float,
        function: Callable[[list[NDArray[np.float32]]], Sequence[Result]],
    ) -> Iterator[tuple[int, Result]]:
        """Index and result of each waveform, from a function of a batch of them; ``lengths`` in frames."""
        for chosen in self.groups(lengths, frame_rate_hz):
            yield from zip(chosen, function([waveforms[i] for i in chosen]), strict=True)

    def _counted(self, group: list[int], lengths: Sequence[int]) -> list[int]:
        self.num_frames += sum(lengths[i] for i in group)
        self.num_slots += len(group) * lengths[group[-1]]
        return group


def make_runtime(device: str, batch_sec: float) -> Runtime:
    """A runtime; ``auto`` is the first accelerator, or the CPU.

    Raises:
        UserError: a device that this machine does not have, or batches of no length.
    """
    import torch  # here: the store and the vocabulary read units without it

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device == "auto":
        device = str(accelerator) if accelerator is not None else "cpu"
    if device.partition(":")[0] not in ("cpu", str(accelerator)):
        raise UserError(f"device {device!r}: this machine has {accelerator or 'no accelerator'}; give auto or cpu")
    if device.startswith("cuda"):
        torch.backends.cudnn.allow_tf32 = False  # ten bits of mantissa would change units
    if not batch_sec > 0:
        raise UserError(f"batch_sec is {batch_sec}: more than 0 is needed")
    if device == "cpu":
        return Runtime(device, batch_sec)
    cores = len(os.sched_getaffinity(0)) // torch.accelerator.device_count()
    return Runtime(device, batch_sec, max(1, min(_MOST_LOADING_THREADS, cores)))


def in_order(pairs: Iterable[tuple[int, Result]]) -> list[Result]:
    """Results by their index, 0, 1, 2, ..."""
    return [result for _, result in sorted(pairs, key=lambda pair: pair[0])]
