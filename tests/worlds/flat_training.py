"""Settings of the training by the last part of their names: tests change many of them, one at a time."""

from __future__ import annotations

from typing import Any

from cslm.training.training_config import (
    CheckpointsConfig,
    DataConfig,
    DeviceConfig,
    OptimizerConfig,
    ScheduleConfig,
    TrainingConfig,
)

GROUPS = {
    "optimizer": OptimizerConfig,
    "schedule": ScheduleConfig,
    "checkpoints": CheckpointsConfig,
    "data": DataConfig,
    "device": DeviceConfig,
}


def grouped(**settings: Any) -> dict[str, Any]:
    """As a YAML file has them; ``optimizer`` and ``schedule`` are the name of the one and the shape of the other."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        group, _, own = TrainingConfig.FORMER_NAMES.get(name, name).rpartition(".")
        (found.setdefault(group, {}) if group else found)[own] = value
    return found


def training_config(**settings: Any) -> TrainingConfig:
    """As the training takes them."""
    given = grouped(**settings)
    return TrainingConfig(**{name: GROUPS[name](**value) if name in GROUPS else value for name, value in given.items()})
