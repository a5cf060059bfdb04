"""The learning rate at each step."""

from __future__ import annotations

import math

from cslm.training.training_config import TrainingConfig


def learning_rate_at(config: TrainingConfig, step: int, schedule_steps: int | None = None) -> float:
    """The rate of the update number ``step`` (from 0): warm-up from 0, then the schedule down to the final rate.

    Args:
        schedule_steps: of the schedule that the run began with, after which the rate stays at the final one; by default
            those of ``config``.
    """
    total, schedule = schedule_steps or config.schedule_steps, config.schedule
    warmup = schedule.warmup_steps if schedule.warmup_steps is not None else round(schedule.warmup_fraction * total)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = min(1.0, (step - warmup) / max(1, total - warmup))
    remaining = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1.0 + math.cos(math.pi * progress)),
    }[schedule.shape]
    return schedule.final_learning_rate + (config.learning_rate - schedule.final_learning_rate) * remaining
