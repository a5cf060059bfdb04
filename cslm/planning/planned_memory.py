"""Memory and disk of a run by ZeRO stage, from what DeepSpeed's optimizers allocate under this package's settings.

The settings are those of :mod:`cslm.training.engine`; what is allocated was read in DeepSpeed 0.19 (``runtime/engine``,
``zero/stage_1_and_2``, ``zero/stage3``, ``fp16/unfused_optimizer``). Gradients are accumulated in the precision of the
weights, float32 only while the optimizer updates. ZeRO 1 and 2 keep a second copy of the weights even in fp32. Frozen
weights have neither gradients nor states. Offloaded states live in the memory of the CPU, and gradients join them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cslm.planning.activation_memory import ActivationMemory
from cslm.training.training_config import TrainingConfig

_BUCKET = 500_000_000
"""most parameters in a bucket that is reduced or gathered together (``engine._settings``)"""
_ZERO_3_AT_A_TIME = 1_000_000_000
"""most parameters that ZeRO-3 gathers or updates at a time (``stage3_max_live_parameters``, ``sub_group_size``)"""


@dataclass(frozen=True)
class ModelSize:
    """Numbers of parameters."""

    all: int
    """frozen ones included"""
    inner: int = 0
    """in matrices inside the layers, which have one state instead of two under Muon"""
    frozen: int = 0
    """that do not learn (LoRA)"""
    added: int = 0
    """in matrices that are merged into others in what is written (LoRA)"""

    @property
    def trained(self) -> int:
        """Those that learn."""
        return self.all - self.frozen


@dataclass(frozen=True)
class Offload:
    """What lives in the memory of the CPU, and how much is sent at a time."""

    optimizer: bool = False
    """states of the optimizer, the copy that it updates, and gradients"""
    weights: bool = False
    """under ZeRO 3 the shards of the weights too"""
    bucket: int = _BUCKET
    """most parameters in a bucket that is reduced or gathered together"""


@dataclass(frozen=True)
class StageMemory:
    """Bytes of one process under one ZeRO stage."""

    stage: int
    """0 to 3"""
    weights: int
    """what forward and backward compute with; under ZeRO-3 the shard, and what is gathered of the others"""
    masters: int
    """the copy of the weights that the optimizer updates"""
    optimizer: int
    """its states"""
    gradients: int
    """while a step accumulates them"""
    buffers: int
    """of gradients, and under ZeRO-3 of weights, on their way between processes"""
    activations: int
    """what the layers keep for the backward pass, and need while they compute"""
    logits: int
    """what logits and loss take beyond, at the peak"""
    update: int
    """most that gradients and buffers take while they are reduced and applied; activations are gone then"""
    host: int = 0
    """what is offloaded to the memory of the CPU; not part of the peak"""

    @property
    def fixed(self) -> int:
        """What is always there."""
        return self.weights + self.masters + self.optimizer

    @property
    def peak(self) -> int:
        """The most at any time of a step."""
        micro_batch = self.gradients + self.buffers + self.activations + self.logits
        return self.fixed + max(micro_batch, self.update)


def stage_memory(
    stage: int,
    model: ModelSize,
    config: TrainingConfig,
    processes: int,
    micro: ActivationMemory,
    offload: Offload | None = None,
) -> StageMemory:
    """The memory of one of ``processes`` that train a model together."""
    offload = offload or Offload()
    size = 4 if config.device.precision == "fp32" else 2
    shards = processes if stage > 0 else 1
    at_once = min(model.trained, offload.bucket)
    states = _state_bytes(model, config.optimizer.name) // shards
    masters = 4 * model.trained // shards if size == 2 or stage in (1, 2) else 0
    gradients = size * model.trained // (shards if stage >= 2 else 1)
    buffers = size * at_once if stage > 0 else 0
    weights = size * model.all
    host = 0
    if stage == 3:  # what is gathered arrives in one buffer, of which each parameter then takes a copy
        shard = weights // shards
        weights = shard + size * min(model.all, _ZERO_3_AT_A_TIME)
        buffers += size * at_once
        if offload.weights:
            weights, host = weights - shard, shard
    update = max(_reduction(stage, model, size, processes, at_once), _update(stage, model, size, shards, at_once))
    if offload.optimizer and stage > 0:
        host += states + masters + 4 * model.trained // shards
        states = masters = gradients = 0
        update = _reduction(stage, model, size, processes, at_once)
    logits = max(0, micro.head - micro.working)
    return StageMemory(
        stage, weights, masters, states, gradients, buffers, micro.kept + micro.working, logits, update, host
    )


def checkpoint_bytes(stage: int, model: ModelSize, config: TrainingConfig) -> int:
    """A checkpoint to resume from, all processes together: weights, the copy that is updated, optimizer states."""
    size = 4 if config.device.precision == "fp32" else 2
    weights = size * (model.frozen if stage == 3 else model.all)
    copy = 4 * model.trained if size == 2 or stage > 0 else 0
    return weights + copy + _state_bytes(model, config.optimizer.name)


def model_bytes(model: ModelSize, config: TrainingConfig) -> int:
    """The finished model."""
    return (4 if config.device.precision == "fp32" else 2) * (model.all - model.added)


def _state_bytes(model: ModelSize, optimizer: str) -> int:
    """Float32 moments: two of AdamW, one of Muon for the matrices inside the layers, none of SGD without momentum."""
    if optimizer == "sgd":
        return 0
    return 8 * model.trained - (4 * model.inner if optimizer == "muon" else 0)


def _reduction(stage: int, model: ModelSize, size: int, processes: int, at_once: int) -> int:
    """Gradients and their copies while processes exchange them: a bucket is flattened into a second one."""
    whole, bucket = size * model.trained, size * at_once
    if stage == 0:
        return whole + (bucket if processes > 1 else 0)
    shard = whole // processes
    if stage == 1:
        return whole - bucket + 2 * bucket + shard
    return 2 * bucket + shard


def _update(stage: int, model: ModelSize, size: int, shards: int, at_once: int) -> int:
    """Gradients of the shard, made one tensor, and that one in float32."""
    shard = model.trained // shards
    if stage == 0:
        return shard * size + (0 if size == 4 else 4 * shard)
    updated = min(model.trained, _ZERO_3_AT_A_TIME) // shards if stage == 3 else shard
    bucket = size * at_once if stage == 3 else 0
    return shard * size + updated * size + (0 if size == 4 else 4 * updated) + bucket
