"""One update after another: data, forward and backward, optimizer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from cslm.batches.micro_batch import StepBatch
from cslm.training.engine import accumulate_gradients, forget_moments, set_learning_rate, update_weights
from cslm.training.meters import LossMeter
from cslm.training.row_training import RowTraining
from cslm.training.state import TrainingState
from cslm.training.training_config import TrainingConfig
from cslm.training.work_meter import WorkMeter

RESET_NOTE = "steps after which the optimizer forgot its moments, for chains became shorter"


class Stream(Protocol):
    """The data as a pure function of a position."""

    @property
    def groups(self) -> Sequence[str]:
        """names of what losses are reported by, in the order of a module's report"""
        ...

    def step(self, position: Mapping[str, Any], rank: int, world_size: int) -> StepBatch:
        """The batch at ``position``; an empty position is the start."""
        ...


@runtime_checkable
class BeginsSteps(Protocol):
    """A module, or what trains beside one, that changes while training goes on."""

    def begin(self, step: int, last_step: int) -> None:
        """Before the data of a step, counted from 0, pass; ``last_step`` ends the schedule that the run began with."""
        ...


@runtime_checkable
class HasPhases(Protocol):
    """A stream whose data change in phases; the optimizer forgets its moments between two of them."""

    def phase(self, position: Mapping[str, Any]) -> tuple[int, ...]:
        """That of the data at ``position``."""
        ...


class Steps:
    """The updates of ``engine`` on the batches of ``stream``.

    Its module takes a micro-batch and returns an :class:`~cslm.model.objective.Objective`; one that
    :class:`BeginsSteps` is called before each step.
    """

    def __init__(
        self, engine: Any, stream: Stream, config: TrainingConfig, row_training: RowTraining | None = None
    ) -> None:
        self.losses = LossMeter(stream.groups)
        self.work = WorkMeter(engine.module, config.device, engine.device)
        self._engine, self._stream, self._config, self._row_training = engine, stream, config, row_training
        self._beginning = [part for part in (row_training, engine.module) if isinstance(part, BeginsSteps)]

    def take(self, state: TrainingState, learning_rate: float) -> tuple[TrainingState, float | Tensor]:
        """One update: the state after it and the norm of its gradient. Random numbers depend on the step alone."""
        rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
        torch.manual_seed(self._config.seed * 1_000_003 + state.step * world_size + rank)
        batch = self._stream.step(state.position, rank, world_size)
        scheduled = (
            state.schedule_tokens or self._config.schedule_tokens
        )  # that of the start, were it stopped or longer
        for part in self._beginning:
            part.begin(state.step, max(1, scheduled // self._config.tokens_per_step))
        self.losses.add(accumulate_gradients(self._engine, batch))
        self.work.add(batch.micro_batches)
        set_learning_rate(self._engine, learning_rate, self._row_training)
        norm = update_weights(self._engine, self._config.optimizer.gradient_clip)
        notes = batch.notes
        if self._phase(state.position) != self._phase(batch.position):  # before it is saved: a run goes on with it
            forget_moments(self._engine)
            notes = _sum(notes, {RESET_NOTE: 1})
        after = dataclasses.replace(
            state,
            step=state.step + 1,
            tokens=state.tokens + sum(batch.consumed.values()),
            position=batch.position,
            consumed=_sum(state.consumed, batch.consumed),
            notes=_sum(state.notes, notes),
            accounts=_sum(state.accounts, batch.accounts),
        )
        return after, norm

    def _phase(self, position: Mapping[str, Any]) -> tuple[int, ...]:
        return self._stream.phase(position) if isinstance(self._stream, HasPhases) else ()


def _sum(counts: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    return {**counts, **{name: counts.get(name, 0) + count for name, count in more.items()}}
