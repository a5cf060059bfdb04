"""A signal that asks to stop: the run saves and leaves with a status that says so."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any

import torch

SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
"""What a scheduler sends before it ends a job (Slurm: ``--signal=USR1@300``)."""


class StopSignal:
    """Listens for :data:`SIGNALS`, in the main thread of every process."""

    def __init__(self) -> None:
        self._received = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def received(self, device: torch.device) -> bool:
        """Whether any process has received one; all of them call this together, and get the same answer."""
        if torch.distributed.get_world_size() == 1:
            return self._received
        flag = torch.tensor(float(self._received), device=device)
        torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self._received = True
