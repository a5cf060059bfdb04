"""What the devices of a run could do at most, and how much memory it has taken: the yardsticks of its log."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import torch

from cslm.training.training_config import DeviceConfig

# TFLOPs of dense bf16 matrix products with float32 sums, from the vendors' data sheets. The first name that is part of
# the device's counts, so the special ones stand first.
_TFLOPS = (
    ("H100 PCIe", 756.0), ("H100 NVL", 835.0), ("H100", 989.4), ("H200", 989.4), ("A100", 312.0), ("L40S", 362.05),
    ("L4", 121.0), ("RTX 4090", 165.2), ("B200", 2250.0), ("MI300X", 1307.4),
)  # fmt: skip
_MEASURED_SIZE = 512
_MEASURED_SEC = 0.25


def peak_flops(config: DeviceConfig, device: torch.device) -> float | None:
    """FLOPs a second of one device at most; None where nobody said and the device is not known.

    A CPU is measured, for a quarter of a second, with the threads that training has and in its precision. The known
    GPUs are known in bf16 only.
    """
    if config.peak_tflops is not None:
        return config.peak_tflops * 1e12
    if device.type == "cpu":
        return _measured(torch.bfloat16 if config.precision == "bf16" else torch.float32)
    if config.precision != "bf16" or device.type != "cuda":
        return None
    return known_peak(torch.cuda.get_device_name(device))


def known_peak(name: str) -> float | None:
    """FLOPs a second in dense bf16 of a GPU, by the name that its driver gives; None for one that is not listed."""
    words = f"{name.replace('-', ' ')} "
    return next((tflops * 1e12 for part, tflops in _TFLOPS if f"{part} " in words), None)


def peak_memory(device: torch.device) -> int:
    """Bytes at most since the last call on a GPU, which forgets them; on a CPU of this process since it started."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return most
    return _peak_resident()


def _peak_resident() -> int:
    """The peak resident set. ``getrusage`` starts with that of the process that started this one."""
    status = Path("/proc/self/status")
    if status.is_file():
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _measured(dtype: torch.dtype) -> float:
    """The fastest of several products of square matrices."""
    matrix = torch.ones(_MEASURED_SIZE, _MEASURED_SIZE, dtype=dtype)
    fastest, until = float("inf"), time.perf_counter() + _MEASURED_SEC
    while time.perf_counter() < until:
        started = time.perf_counter()
        torch.mm(matrix, matrix)
        fastest = min(fastest, time.perf_counter() - started)
    return 2 * _MEASURED_SIZE**3 / fastest
