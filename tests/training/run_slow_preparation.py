"""Run by test_engine.py in each process: one prepares for longer than collective operations wait."""

from __future__ import annotations

import time
from datetime import timedelta

import torch

from cslm.training import engine


def main() -> None:
    """Prepare, then use the collective operations of training."""
    engine._TIMEOUT = timedelta(seconds=4)
    rank, _ = engine.start_processes(num_threads=1)
    with engine.preparation():
        time.sleep(8 * rank)
    total = torch.tensor(rank + 1)
    torch.distributed.all_reduce(total)
    print(f"sum {int(total)}", flush=True)


if __name__ == "__main__":
    main()
