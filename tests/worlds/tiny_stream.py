"""Packed random rows as a stream, a tiny model to learn them, and a ten-line torch loop to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from cslm.model.loss import LanguageModelLoss
from tests.worlds.tiny_models import packed_row, tiny_model


@dataclass
class Step:
    """One step's rows of one process."""

    micro_batches: list[dict[str, torch.Tensor]]
    num_trained: int
    position: dict[str, Any]
    consumed: dict[str, int]
    notes: dict[str, int]


class TinyStream:
    """Four rows a step, of different lengths and shares to learn; in every third step the last has nothing to learn."""

    groups = ("asr/text/en", "tts/speech/en", "mt/text/zh")

    def rows(self, step: int) -> list[dict[str, torch.Tensor]]:
        """All rows of a step."""
        shares = (0.9, 0.3, 0.6, 0.0 if step % 3 == 2 else 0.5)
        return [packed_row([5 + 3 * i, 9, 4], seed=10 * step + i, trained=share) for i, share in enumerate(shares)]

    def step(self, position: dict[str, Any], rank: int = 0, world_size: int = 1) -> Step:
        """The rows of one process."""
        number = position.get("step", 0)
        rows = self.rows(number)
        trained = sum(len(row["target_ids"]) for row in rows)
        tokens = sum(row["input_ids"].numel() for row in rows)
        return Step(rows[rank::world_size], trained, {"step": number + 1}, {"rows": tokens}, {})


def tiny_module(family: str = "qwen3") -> LanguageModelLoss:
    """The same weights every time."""
    return LanguageModelLoss(tiny_model(family, attention="document").train(), num_groups=3)


def torch_loop(module: LanguageModelLoss, optimizer: torch.optim.Optimizer, clip: float, steps: int) -> dict[str, list]:
    """Plain torch: one process, all rows of a step, no DeepSpeed. Losses, and the gradients of each step."""
    losses, gradients = [], []
    for step in range(steps):
        batch = TinyStream().step({"step": step})
        outputs = [module(row) for row in batch.micro_batches]
        loss = sum(output.loss_sum for output in outputs) / batch.num_trained
        optimizer.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append({name: p.grad.clone() for name, p in module.named_parameters()})
        torch.nn.utils.clip_grad_norm_(module.parameters(), clip or float("inf"))
        optimizer.step()
    return {"losses": losses, "gradients": gradients}
