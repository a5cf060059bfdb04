"""How frozen networks run, as opposed to what they compute: device, size of batches, threads that read audio."""

from __future__ import annotations

import os
from dataclasses import dataclass

from cslm.errors import UserError

META = "meta"
"""a device without memory: networks have their shapes there and no weights, and none are read"""

# Audio in a batch: on a CPU, larger ones leave its caches and are slower; a large GPU may like more.
BATCH_SEC = 20.0

_MOST_LOADING_THREADS = 8


@dataclass(frozen=True)
class Runtime:
    """How a codec runs, as opposed to what it computes: nothing of it is on the card or in the fingerprint.

    Where neural networks are batched it may change a unit in ten thousand (``check-tokenizer`` measures it).
    """

    device: str = "cpu"
    """Where networks run: ``cpu``, ``cuda``, ``cuda:1``; on ``meta`` they have shapes alone, for who plans."""
    batch_sec: float = BATCH_SEC
    """Audio in a batch, padding included; one longer utterance is a batch."""
    loading_threads: int = 1
    """Threads that read audio while a network runs."""


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
