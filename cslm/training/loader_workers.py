"""How many processes make documents ahead."""

from __future__ import annotations

from cslm.training.engine import runs_on_cpu, share_of_cores
from cslm.training.training_config import TrainingConfig

_MOST_WORKERS = 4


def loader_workers(config: TrainingConfig) -> int:
    """On a CPU all cores train; beside an accelerator some read ahead and one is left, unless told otherwise."""
    if config.data.loader_workers is not None:
        return config.data.loader_workers
    return 0 if runs_on_cpu() else max(1, min(_MOST_WORKERS, share_of_cores() - 1))
