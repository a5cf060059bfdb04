"""How well the devices are used: operations of the model, waiting, memory, over all processes."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from cslm.batches.micro_batch import MicroBatch
from cslm.batches.packed_row import PackedRow
from cslm.model.flops import ModelFlops, model_flops
from cslm.model.loss import LanguageModelLoss
from cslm.training.device_limits import peak_flops, peak_memory
from cslm.training.training_config import DeviceConfig


@dataclass(frozen=True)
class DeviceWork:
    """What all processes did since the last log line."""

    flops: float | None
    """operations of the model, forward and backward; None where they are not known (a decoder, a mixture of experts)"""
    peak_flops: float | None
    """operations a second that all devices could do; None where one of them is not known"""
    slots: int
    """tokens that would have been seen had every row been as long as the longest that another process had meanwhile"""
    peak_memory: int
    """bytes of the process that took most: of its GPU since the last line, or resident since it started"""

    def mfu(self, seconds: float) -> float | None:
        """Share of the devices' peak that went into the model's operations."""
        if self.flops is None or self.peak_flops is None:
            return None
        return self.flops / (seconds * self.peak_flops)

    def waiting(self, tokens: int) -> float:
        """Share of padding and waiting, of ``tokens`` that were real."""
        return max(0.0, 1 - tokens / self.slots) if self.slots else 0.0


class WorkMeter:
    """Notes the micro-batches of this process; everything stays on the CPU until a log line is due."""

    def __init__(self, module: nn.Module, config: DeviceConfig, device: torch.device) -> None:
        self._costs: ModelFlops | None = None
        started = time.perf_counter()
        if isinstance(module, LanguageModelLoss):
            self._costs = model_flops(module.model)
        self._peak = peak_flops(config, device) if self._costs is not None else None
        self._device = device
        self._flops = 0
        self._slots: list[int] = []
        self.setup_sec = time.perf_counter() - started
        """seconds that finding the peak took"""

    def add(self, micro_batches: Sequence[MicroBatch]) -> None:
        """Note the micro-batches of one step of this process: as many as every process has."""
        for micro_batch in micro_batches:
            self._slots.append(micro_batch.num_slots)
            if self._costs is not None and isinstance(micro_batch, PackedRow):
                self._flops += self._costs.step(micro_batch.document_lengths, micro_batch.num_targets)

    def result(self) -> DeviceWork:
        """The work since the last call over all processes, which call this together."""
        most = torch.tensor([peak_memory(self._device), *self._slots], dtype=torch.float64, device=self._device)
        peak = math.nan if self._peak is None else self._peak
        total = torch.tensor([self._flops, peak], dtype=torch.float64, device=self._device)
        world_size = torch.distributed.get_world_size()
        if world_size > 1:
            torch.distributed.all_reduce(most, op=torch.distributed.ReduceOp.MAX)
            torch.distributed.all_reduce(total)
        memory, *longest = most.tolist()
        flops, peak = total.tolist()
        self._flops, self._slots = 0, []
        slots = world_size * sum(int(length) for length in longest)
        known = None if math.isnan(peak) else peak
        return DeviceWork(flops if self._costs is not None else None, known, slots, int(memory))
