"""Packed random rows as a stream, a tiny model to learn them, and a ten-line torch loop to compare with."""

from __future__ import annotations

from typing import Any

import torch

from cslm.batches.micro_batch import StepBatch
from cslm.batches.packed_row import PackedRow
from cslm.model.loss import LanguageModelLoss
from tests.worlds.tiny_models import packed_row, tiny_model


class TinyStream:
    """Four rows a step, of different lengths and shares to learn; in every third step the last has nothing to learn."""

    groups = ("asr/text/en", "tts/speech/en", "mt/text/zh")

    def rows(self, step: int) -> list[PackedRow]:
        """All rows of a step."""
        shares = (0.9, 0.3, 0.6, 0.0 if step % 3 == 2 else 0.5)
        return [packed_row([5 + 3 * i, 9, 4], seed=10 * step + i, trained=share) for i, share in enumerate(shares)]

    def step(self, position: dict[str, Any], rank: int = 0, world_size: int = 1) -> StepBatch:
        """The rows of one process."""
        number = position.get("step", 0)
        rows = self.rows(number)
        trained = sum(row.num_targets for row in rows)
        tokens = sum(row.num_slots for row in rows)
        return StepBatch(rows[rank::world_size], {"step": number + 1}, {"rows": tokens}, {"targets": trained})


def tiny_module(family: str = "qwen3") -> LanguageModelLoss:
    """The same weights every time."""
    return LanguageModelLoss(tiny_model(family, attention="document").train(), num_groups=3)


def torch_loop(module: LanguageModelLoss, optimizer: torch.optim.Optimizer, clip: float, steps: int) -> dict[str, list]:
    """Plain torch: one process, all rows of a step, no DeepSpeed. Losses, and the gradients of each step."""
    losses, gradients = [], []
    for step in range(steps):
        batch = TinyStream().step({"step": step})
        outputs = [module(row) for row in batch.micro_batches]
        loss = sum(output.weighted_sum for output in outputs) / batch.counts["targets"]
        optimizer.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append({name: p.grad.clone() for name, p in module.named_parameters()})
        torch.nn.utils.clip_grad_norm_(module.parameters(), clip or float("inf"))
        optimizer.step()
    return {"losses": losses, "gradients": gradients}
