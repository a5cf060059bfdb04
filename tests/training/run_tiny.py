"""Run by test_resume.py in each process: train the tiny stream.

Arguments: output, ZeRO stage, last step, optimizer, JSON file of DeepSpeed settings.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from safetensors.torch import save_file

from cslm.errors import exit_with_status
from cslm.training.loop import train
from cslm.training.state import MadeOf
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_stream import TinyStream, tiny_module


def run(
    output: Path,
    zero_stage: int,
    max_steps: int,
    optimizer: str = "adamw",
    settings: str | None = None,
    vocabulary: str = "",
) -> None:
    """Train to ``max_steps`` of a schedule of eight steps."""
    config = training_config(
        max_tokens=800, tokens_per_step=100, max_steps=max_steps, zero_stage=zero_stage, log_every=1, save_every=3,
        num_threads=1, learning_rate=0.01, gradient_clip=0.5, optimizer=optimizer, deepspeed=settings,
    )  # fmt: skip
    kill_at = int(os.environ.get("KILL_AT_STEP", "-1"))
    stop_at = int(os.environ.get("STOP_AT_STEP", "-1"))

    class Stream(TinyStream):
        def step(self, position, rank=0, world_size=1):
            if position.get("step", 0) == kill_at:
                os.kill(os.getpid(), 9)
            if position.get("step", 0) == stop_at and rank == world_size - 1:
                os.kill(os.getpid(), signal.Signals[os.environ.get("STOP_BY", "SIGUSR1")])
            return super().step(position, rank, world_size)

    def save(weights: dict, folder: Path) -> None:
        save_file({name: value for name, value in weights.items() if "lm_head" not in name}, folder / "w.safetensors")

    train(tiny_module(), Stream(), config, output, save, made_of=MadeOf(vocabulary))


if __name__ == "__main__":
    exit_with_status(lambda: run(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:]))
