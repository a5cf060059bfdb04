"""Memory and disk of a run by ZeRO stage, from what DeepSpeed's optimizers allocate under this package's settings.

The settings are those of :mod:`cslm.training.engine`; what is allocated was read in DeepSpeed 0.19 (``runtime/engine``,
``zero/stage_1_and_2``, ``zero/stage3``, ``fp16/unfused_optimizer``). Gradients are accumulated in the precision of the
weights, float32 only while the optimizer updates. ZeRO 1 and 2 keep a second copy of the weights even in fp32. Offload
(``training.deepspeed``) is not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

from cslm.training.activation_memory import ActivationMemory
from cslm.training.training_config import TrainingConfig

_BUCKET = 500_000_000
"""most parameters in a bucket that is reduced or gathered together (``engine._settings``)"""
_ZERO_3_AT_A_TIME = 1_000_000_000
"""most parameters that ZeRO-3 gathers or updates at a time (``stage3_max_live_parameters``, ``sub_group_size``)"""


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
    stage: int, num_parameters: int, num_inner: int, config: TrainingConfig, processes: int, micro: ActivationMemory
) -> StageMemory:
    """The memory of one of ``processes`` that train all of ``num_parameters``.

    Args:
        num_inner: parameters in matrices inside the layers, which have one state instead of two under Muon.
    """
    size = 4 if config.precision == "fp32" else 2
    shards = processes if stage > 0 else 1
    states = _state_bytes(num_parameters, num_inner, config.optimizer) // shards
    gradients = size * num_parameters // (shards if stage >= 2 else 1)
    bucket = size * min(num_parameters, _BUCKET) if stage > 0 else 0
    weights = size * num_parameters
    buffers = bucket
    if stage == 3:  # what is gathered arrives in one buffer, of which each parameter then takes a copy
        weights = weights // shards + size * min(num_parameters, _ZERO_3_AT_A_TIME)
        buffers += size * min(num_parameters, _BUCKET)
    masters = 4 * num_parameters // shards if size == 2 or stage in (1, 2) else 0
    logits = max(0, micro.head - micro.working)
    return StageMemory(
        stage, weights, masters, states, gradients, buffers, micro.kept + micro.working, logits,
        max(_reduction(stage, num_parameters, size, processes, bucket), _update(stage, num_parameters, size, shards)),
    )  # fmt: skip


def checkpoint_bytes(stage: int, num_parameters: int, num_inner: int, config: TrainingConfig) -> int:
    """A checkpoint to resume from, all processes together: weights, the copy that is updated, optimizer states."""
    size = 4 if config.precision == "fp32" else 2
    states = _state_bytes(num_parameters, num_inner, config.optimizer)
    weights = 0 if stage == 3 else size * num_parameters
    copy = 4 * num_parameters if size == 2 or stage > 0 else 0
    return weights + copy + states


def model_bytes(num_parameters: int, config: TrainingConfig) -> int:
    """The finished model."""
    return (4 if config.precision == "fp32" else 2) * num_parameters


def _state_bytes(num_parameters: int, num_inner: int, optimizer: str) -> int:
    """Float32 moments: two of AdamW, one of Muon for the matrices inside the layers, none of SGD without momentum."""
    if optimizer == "sgd":
        return 0
    return 8 * num_parameters - (4 * num_inner if optimizer == "muon" else 0)


def _reduction(stage: int, num_parameters: int, size: int, processes: int, bucket: int) -> int:
    """Gradients and their copies while processes exchange them: a bucket is flattened into a second one."""
    whole = size * num_parameters
    if stage == 0:
        return whole + (min(whole, size * _BUCKET) if processes > 1 else 0)
    shard = whole // processes
    if stage == 1:
        return whole - bucket + 2 * bucket + shard
    return 2 * bucket + shard


def _update(stage: int, num_parameters: int, size: int, shards: int) -> int:
    """Gradients of the shard, made one tensor, and that one in float32."""
    shard = num_parameters // shards
    if stage == 0:
        return shard * size + (0 if size == 4 else 4 * shard)
    at_a_time = min(num_parameters, _ZERO_3_AT_A_TIME) // shards if stage == 3 else shard
    bucket = size * min(num_parameters, _BUCKET) if stage == 3 else 0
    return shard * size + at_a_time * size + (0 if size == 4 else 4 * at_a_time) + bucket
