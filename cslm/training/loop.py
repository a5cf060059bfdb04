"""The training loop of everything that learns: language model and decoder, on the DeepSpeed engine."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from cslm.errors import StoppedError, UserError
from cslm.files.atomic_file import write_atomically
from cslm.training.engine import (
    accumulate_gradients,
    full_weights,
    set_learning_rate,
    stack_versions,
    start_engine,
    start_processes,
    update_weights,
    wait_for_all,
)
from cslm.training.meters import LossMeter, RunLog, check_finite
from cslm.training.row_training import RowTraining
from cslm.training.schedule import learning_rate_at
from cslm.training.state import TrainingState, find_latest, load_state, needs_universal, save_state
from cslm.training.stopping import StopSignal
from cslm.training.training_config import TrainingConfig
from cslm.training.validation import Validator
from cslm.training.work_meter import WorkMeter

FINISHED = "finished.json"


class StepBatch(Protocol):
    """The data of one optimizer step for one process."""

    @property
    def micro_batches(self) -> Sequence[dict[str, Tensor]]:
        """the same number on each process; one with nothing to learn still runs"""
        ...

    @property
    def num_trained(self) -> int:
        """trained tokens over all processes and micro-batches"""
        ...

    @property
    def position(self) -> dict[str, Any]:
        """where the next step starts; plain values for JSON"""
        ...

    @property
    def consumed(self) -> dict[str, int]:
        """tokens of this step over all processes, by source"""
        ...

    @property
    def notes(self) -> dict[str, int]:
        """what was dropped or cut in this step over all processes, with its count"""
        ...


class Stream(Protocol):
    """The data as a pure function of a position."""

    @property
    def groups(self) -> Sequence[str]:
        """names of what losses are reported by, in the order of ``label_group``"""
        ...

    def step(self, position: dict[str, Any], rank: int, world_size: int) -> StepBatch:
        """The batch at ``position``; an empty position is the start."""
        ...


def train(
    module: nn.Module,
    stream: Stream,
    config: TrainingConfig,
    output: Path,
    save: Callable[[dict[str, Tensor], Path], None],
    rows: RowTraining | None = None,
    validator: Validator | None = None,
    vocabulary: str = "",
) -> TrainingState:
    """Train ``module`` from its newest checkpoint in ``output``, or from the start, to the last step.

    Args:
        module: forward takes a micro-batch and returns a :class:`~cslm.model.loss.LossOutput`.
        save: writes the model from its full weights (CPU) into a folder; called on rank 0 only, at the end.
        rows: the rows of embedding and head that learn apart; None where all parameters learn alike.
        validator: looks at held-out data; None never does.
        vocabulary: what the rows of the model stand for, in short; a checkpoint of another one is refused.

    Returns:
        The state after the last step.

    Raises:
        UserError: a checkpoint that is damaged, of another vocabulary, or of another number of processes under ZeRO
            stage 0; or a loss that is not a number.
        OSError: a checkpoint that cannot be written; the one before is untouched.
        StoppedError: a signal asked to stop; the last step is saved.
    """
    rank, world_size = start_processes(config.num_threads)
    saved = find_latest(output)
    if saved is not None and saved.vocabulary != vocabulary:
        raise UserError(
            f"{saved.folder} was trained with another vocabulary ({saved.vocabulary}), this run has {vocabulary}: "
            "give back the tokenizer and the card that it began with, or train in another output folder"
        )
    universal = saved is not None and needs_universal(saved, world_size, config.zero_stage)
    engine = start_engine(module, config, load_universal=universal, rows=rows)
    state = TrainingState() if saved is None else load_state(engine, saved, universal)
    if saved is not None and rank == 0:
        print(f"resuming from step {state.step:,} ({saved.folder})", flush=True)
    log = RunLog(output, config.last_step, state, config.wandb_project) if rank == 0 else None
    with StopSignal() as stop:
        state = _run_steps(_Run(engine, stream, config, output, log, stop, rows, validator, vocabulary), state)
    weights = full_weights(engine)
    if rank == 0:
        save(weights, output)
        for name, tokens in state.consumed.items():
            print(f"{name}: {tokens:,} tokens, {tokens / max(1, state.tokens):.1%} of all", flush=True)
        for what, count in state.notes.items():
            print(f"{what}: {count:,}", flush=True)
        facts = {"steps": state.step, "tokens": state.tokens, "consumed": state.consumed, "notes": state.notes}
        facts |= {"versions": stack_versions()}
        write_atomically(output / FINISHED, (json.dumps(facts, indent=1) + "\n").encode())
    if log is not None:
        log.close()
    wait_for_all()
    engine.destroy()
    return state


def is_finished(output: Path, config: TrainingConfig) -> bool:
    """Whether the run in ``output`` has reached the last step of ``config``."""
    path = output / FINISHED
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["steps"] >= config.last_step


class _Run(NamedTuple):
    """What the steps of a run need."""

    engine: Any
    stream: Stream
    config: TrainingConfig
    output: Path
    log: RunLog | None
    stop: StopSignal
    rows: RowTraining | None
    validator: Validator | None
    vocabulary: str


def _run_steps(run: _Run, state: TrainingState) -> TrainingState:
    engine, stream, config, output, log, stop, rows, validator, vocabulary = run
    meter = LossMeter(stream.groups)
    work = WorkMeter(engine.module, config, engine.device)
    if log is not None:
        log.exclude("setup", work.setup_sec, 0)
    first_step = state.step
    while state.step < config.last_step:
        learning_rate = learning_rate_at(config, state.step)
        state, norm = take_step(engine, stream, config, state, learning_rate, meter, rows, work)
        last = state.step == config.last_step
        stopping = stop.received(engine.device) and not last
        saving = last or stopping or state.step % config.save_every == 0
        if saving or state.step % config.log_every == 0 or state.step == first_step + 1:
            result, done = meter.result(), work.result()
            check_finite(result, float(norm), state, config.log_every)
            if log is not None:
                log.write(state, result, learning_rate, float(norm), done)
        if validator is not None and validator.is_due(state.step, config.last_step):
            looked_at = validator.run(engine, state)
            if log is not None:
                log.write_validation(state, looked_at)
                log.exclude("validation", validator.seconds, validator.left(state.step, config.last_step))
        if saving:
            started = time.perf_counter()
            save_state(engine, state, output, config.save_total, vocabulary)
            if log is not None:
                left = config.last_step // config.save_every - state.step // config.save_every
                log.exclude("saving", time.perf_counter() - started, left)
        if stopping:
            raise StoppedError(
                f"a signal asked for it; step {state.step} is saved, the same command goes on from there"
            )
    return state


def take_step(
    engine: Any,
    stream: Stream,
    config: TrainingConfig,
    state: TrainingState,
    learning_rate: float,
    meter: LossMeter,
    rows: RowTraining | None = None,
    work: WorkMeter | None = None,
) -> tuple[TrainingState, float | Tensor]:
    """One update: the state after it and the norm of its gradient. Random numbers depend on the step alone."""
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    torch.manual_seed(config.seed * 1_000_003 + state.step * world_size + rank)
    batch = stream.step(state.position, rank, world_size)
    if rows is not None:
        rows.begin(state.step)
    meter.add(accumulate_gradients(engine, list(batch.micro_batches), batch.num_trained))
    if work is not None:
        work.add(batch.micro_batches)
    set_learning_rate(engine, learning_rate, rows)
    norm = update_weights(engine, config.gradient_clip)
    tokens = state.tokens + sum(batch.consumed.values())
    consumed, notes = _sum(state.consumed, batch.consumed), _sum(state.notes, batch.notes)
    return TrainingState(state.step + 1, tokens, batch.position, consumed, notes, state.best_loss), norm


def _sum(counts: dict[str, int], more: dict[str, int]) -> dict[str, int]:
    return {**counts, **{name: counts.get(name, 0) + count for name, count in more.items()}}
