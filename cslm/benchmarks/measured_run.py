"""A short run whose memory and checkpoint are measured: ``python -m`` this in each process, with its JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig

from cslm.batches.micro_batch import StepBatch
from cslm.batches.packed_row import PackedRow
from cslm.model.activation_checkpointing import checkpoint_activations
from cslm.model.backbone import model_of_shape
from cslm.model.cpu_layers import use_cpu_layers
from cslm.model.document_attention import DOCUMENT_ATTENTION
from cslm.model.loss import LanguageModelLoss
from cslm.training.engine import runs_on_cpu
from cslm.training.loop import train
from cslm.training.training_config import DeviceConfig, TrainingConfig


@dataclass(frozen=True)
class MeasuredShape:
    """The model and the rows of a measured run."""

    hidden_size: int = 512
    num_layers: int = 8
    vocab_size: int = 8192
    document: int = 128
    documents: int = 4
    steps: int = 3
    precision: str = "fp32"
    checkpointing: int = 0

    @property
    def lengths(self) -> list[int]:
        """Tokens of the documents of a row."""
        return [self.document] * self.documents

    @property
    def num_targets(self) -> int:
        """Trained tokens of a row: all but the first of each document."""
        return sum(length - 1 for length in self.lengths)

    def config(self) -> LlamaConfig:
        """The configuration of the model."""
        return LlamaConfig(
            vocab_size=self.vocab_size, hidden_size=self.hidden_size, intermediate_size=3 * self.hidden_size,
            num_hidden_layers=self.num_layers, num_attention_heads=max(2, self.hidden_size // 64),
            num_key_value_heads=max(1, self.hidden_size // 128), tie_word_embeddings=False,
        )  # fmt: skip

    def training(self, stage: int) -> TrainingConfig:
        """How it is trained: two rows a process in every step."""
        return TrainingConfig(
            max_steps=self.steps,
            log_every=1,
            device=DeviceConfig(
                zero_stage=stage,
                precision=self.precision,
                num_threads=1,
                gradient_checkpointing=bool(self.checkpointing),
                peak_tflops=1.0,
            ),
        )


class _Rows:
    """The same full rows in every step."""

    groups = ("document/text/en",)

    def __init__(self, shape: MeasuredShape) -> None:
        self._shape = shape

    def step(self, position: Mapping[str, Any], rank: int, world_size: int) -> StepBatch:
        boundaries = torch.tensor([0, *self._shape.lengths]).cumsum(0)
        ids = torch.arange(int(boundaries[-1])) % self._shape.vocab_size
        targets = torch.tensor([i for i in range(len(ids)) if i not in boundaries])
        row = PackedRow(
            input_ids=ids[None],
            position_ids=torch.cat([torch.arange(length) for length in self._shape.lengths])[None],
            boundaries=tuple(boundaries.tolist()),
            target_positions=targets - 1,
            target_ids=ids[targets],
            target_weights=torch.ones(len(targets)),
            target_groups=torch.zeros_like(targets),
        )
        return StepBatch([row, row], {"step": 1}, {"rows": 2 * world_size * len(ids)})


def main() -> None:
    """Train and leave ``metrics.jsonl`` and a checkpoint in the folder."""
    asked = json.loads(sys.argv[1])
    stage, folder, shape = asked["stage"], asked["folder"], MeasuredShape(**asked["shape"])
    config = shape.training(stage)
    torch.manual_seed(0)
    model = model_of_shape(shape.config(), DOCUMENT_ATTENTION, torch.float32)
    if runs_on_cpu() and stage < 3:
        use_cpu_layers(model)
    if config.device.gradient_checkpointing:
        checkpoint_activations(model)
    train(LanguageModelLoss(model, 1), _Rows(shape), config, Path(folder), lambda weights, written_to: None)


if __name__ == "__main__":
    main()
