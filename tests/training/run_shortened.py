"""Run by test_shortened_chains.py: chains that become shorter. Arguments: root, output, and a slot to die at."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cslm.batches.stream import BatchStream
from cslm.training import finetune
from tests.worlds.tiny_world import write_config


def config(root: Path, output: str) -> dict:
    """Eight steps in four phases: the optimizer forgets at each but the first."""
    compression = {"every": 0.25, "all_from": 3, "keep_groups": 1, "smoothing": 2.0, "reset_optimizer": True}
    source = {"task": "dialogue", "documents": "corpus/chains.jsonl", "store": "units", "order": "xs_cot"}
    return {
        "data_root": str(root),
        "output": output,
        "model": {"base": "pretrain"},
        "sources": {"chains": {**source, "compression": compression, "weight": 1.0}},
        "training": {
            "max_tokens": 8 * 1200, "tokens_per_step": 1200, "tokens_per_micro_batch": 400, "max_length": 400,
            "learning_rate": 0.003, "log_every": 1, "checkpoints": {"save_every": 2, "save_total": 4},
            "device": {"num_threads": 1, "zero_stage": 2},
        },
    }  # fmt: skip


def run(root: Path, output: str, dies_behind: int | None = None) -> None:
    """Train; all processes kill themselves at the first step behind a slot, if one is given."""
    step = BatchStream.step

    def dying(self, position, *arguments):
        if dies_behind is not None and position.get("slot", 0) >= dies_behind:
            os.kill(os.getpid(), 9)
        return step(self, position, *arguments)

    BatchStream.step = dying
    path = root / f"{output}-{os.getpid()}.yaml"
    finetune.main(["--config", str(write_config(path, config(root, output)))])


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
