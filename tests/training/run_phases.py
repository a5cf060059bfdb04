"""Run by test_forgotten_moments.py: train a stream whose data change twice. Arguments: those of run, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cslm.training.loop import train
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_stream import TinyStream, tiny_module

CHANGES = (3, 5)
"""Steps before which the optimizer forgets."""


class PhasedStream(TinyStream):
    """The tiny stream, in three phases."""

    def phase(self, position: dict) -> tuple[int, ...]:
        return (sum(position.get("step", 0) >= change for change in CHANGES),)


def run(output: str, max_steps: int, **settings: object) -> None:
    """Train to ``max_steps`` of a schedule of eight steps."""
    config = training_config(**{
        "max_tokens": 800, "tokens_per_step": 100, "max_steps": max_steps, "log_every": 1, "num_threads": 1,
        "learning_rate": 0.01, "gradient_clip": 0.5, "weight_decay": 0.1, "schedule": "constant", **settings,
    })  # fmt: skip
    train(tiny_module(), PhasedStream(), config, Path(output), lambda weights, folder: None)


if __name__ == "__main__":
    run(**json.loads(sys.argv[1]))
