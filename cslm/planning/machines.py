"""The machines that a run would have, and what a plan says of them whatever is trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.errors import UserError
from cslm.planning.planned_memory import ModelSize, Offload, StageMemory, checkpoint_bytes, model_bytes
from cslm.ranges import Range, check_numbers
from cslm.training.engine import deepspeed_settings
from cslm.training.training_config import DeviceConfig, TrainingConfig

FITS_BELOW = 0.9
"""share of a GPU's memory that a plan may fill: the rest is its context, communication and what lies between tensors"""


@dataclass(kw_only=True)
class MachinesConfig:
    """What a plan is told beside the run; the second of the classes that a plan's own is made of."""

    num_processes: int = 1
    """processes of the run, one for each GPU"""
    gpu_memory_gib: float | None = None
    """memory of one GPU; null says nothing about what fits"""
    peak_tflops: float | None = None
    """what one GPU does at most in the run's precision, in 10^12 operations a second; null says nothing about hours"""
    mfu: float = 0.4
    """share of that peak which the run is expected to reach"""
    cpu: bool = False
    """the run is on CPUs"""
    json: str | None = None
    """write everything to this file too"""

    def check_machines(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "", num_processes=Range(least=1), mfu=Range(above=0, most=1))
        check_numbers(self, "", gpu_memory_gib=Range(above=0), peak_tflops=Range(above=0))
        if self.json is not None and not Path(self.json).parent.is_dir():
            raise UserError(f"json: there is no folder {Path(self.json).parent}")

    def hours(self, flops: float | None, device: DeviceConfig) -> float | None:
        """Of so many operations; None where they or the peak are not known."""
        peak = self.peak_tflops or device.peak_tflops
        if flops is None or peak is None:
            return None
        return flops / (self.num_processes * peak * 1e12 * self.mfu) / 3600

    def offload(self, device: DeviceConfig) -> Offload:
        """What ``training.device.deepspeed`` offloads; on CPUs there is nowhere else."""
        zero = deepspeed_settings(device).get("zero_optimization", {})
        devices = [(zero.get(name) or {}).get("device", "none") for name in ("offload_optimizer", "offload_param")]
        states, weights = (place != "none" and not self.cpu for place in devices)
        return Offload(states, weights, int(zero.get("reduce_bucket_size", Offload.bucket)))

    def stage_facts(self, memory: StageMemory, checkpointing: bool) -> dict[str, Any]:
        """What is said of one ZeRO stage."""
        most = self.gpu_memory_gib
        fits = None if most is None else memory.peak <= FITS_BELOW * most * 2**30
        return {"checkpointing": checkpointing, **vars(memory), "peak": memory.peak, "fits": fits}


def disk_facts(training: TrainingConfig, saved: ModelSize) -> dict[str, int]:
    """Bytes on disk. A new checkpoint is whole before the oldest goes, so there is one more for a while.

    Args:
        saved: what checkpoints hold.
    """
    one, model = checkpoint_bytes(training.device.zero_stage, saved, training), model_bytes(saved, training)
    kept = min(training.checkpoints.save_total, -(-training.last_step // training.checkpoints.save_every))
    return {"checkpoint": one, "kept": kept * one, "most": (kept + 1) * one + model, "model": model}
