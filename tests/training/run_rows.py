"""Run by test_row_training.py: train the tiny stream with rows that learn apart. Arguments: those of run, as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from safetensors.torch import save_file

from cslm.model.lora import LoraOptions, add_lora, merge_lora
from cslm.model.loss import LanguageModelLoss
from cslm.training.loop import train
from cslm.training.row_training import RowTraining
from tests.worlds.flat_training import training_config
from tests.worlds.tiny_models import tiny_model
from tests.worlds.tiny_stream import TinyStream

FIRST_ROW = 40
"""Of 64: the ids that the stream draws stand on both sides."""


def run(
    output: str,
    max_steps: int,
    first_steps: int = 0,
    lora: bool = False,
    tied: bool = True,
    dropout: float = 0.0,
    **settings: object,
) -> None:
    """Train to ``max_steps`` of a schedule of eight steps, decay and all."""
    config = training_config(**{
        "max_tokens": 800, "tokens_per_step": 100, "max_steps": max_steps, "log_every": 1, "num_threads": 1,
        "learning_rate": 0.01, "gradient_clip": 0.5, "weight_decay": 0.1, "embedding_rate": 2.0, **settings,
    })  # fmt: skip
    model = tiny_model("qwen3", tied, attention="document").train()
    if lora:
        add_lora(model, LoraOptions(rank=4, dropout=dropout))
    rows = RowTraining(model, FIRST_ROW, first_steps, always=lora)

    def save(weights: dict, folder: Path) -> None:
        state = merge_lora(model, {name.removeprefix("model."): value for name, value in weights.items()})
        assert set(state) == set(tiny_model("qwen3", tied).state_dict())
        save_file({name: value for name, value in state.items() if not (tied and "lm_head" in name)},
                  Path(output) / "w.safetensors")  # fmt: skip

    train(LanguageModelLoss(model, 3), TinyStream(), config, Path(output), save, rows)


if __name__ == "__main__":
    run(**json.loads(sys.argv[1]))
