"""A signal that asks to stop: the run saves and leaves with a status that says so."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import Any

import torch

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""What a scheduler sends before it ends a job (Slurm: ``--signal=USR1@300``), and Ctrl+C."""

_TOLD = b"Ctrl+C: the run saves and stops after this step; Ctrl+C again stops it at once, without saving\n"


class StopSignal:
    """Listens for :data:`SIGNALS`, in the main thread of every process. A second Ctrl+C stops it at once."""

    def __init__(self) -> None:
        self._received = False
        self._interrupted = False
        self._asked: torch.Tensor | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignal:
        self._before = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def received(self, device: torch.device) -> bool:
        """Whether any process had received one; all of them call this together, and get the same answer.

        With several processes it is the answer of the call before: an accelerator has it by now, and need not wait.
        """
        if torch.distributed.get_world_size() == 1:
            return self._received
        answer = self._asked is not None and bool(self._asked.item())
        self._asked = torch.tensor(float(self._received), device=device)
        torch.distributed.all_reduce(self._asked, torch.distributed.ReduceOp.MAX)
        return answer

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            if self._interrupted:
                raise KeyboardInterrupt
            self._interrupted = True
            os.write(sys.stderr.fileno(), _TOLD)  # a print may be what was interrupted
        self._received = True
