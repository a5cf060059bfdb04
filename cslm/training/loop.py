"""The training loop of everything that learns: language model and decoder, on the DeepSpeed engine."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cslm.batches.accounts import account_lines
from cslm.errors import StoppedError
from cslm.files.atomic_file import write_atomically
from cslm.training.engine import full_weights, stack_versions, start_engine, start_processes, wait_for_all
from cslm.training.meters import NoLog, RunLog, check_finite
from cslm.training.row_training import RowTraining
from cslm.training.run_folder import FINISHED_FILE
from cslm.training.schedule import learning_rate_at
from cslm.training.state import (
    NOTHING,
    MadeOf,
    TrainingState,
    check_made_of,
    find_whole,
    load_state,
    needs_universal,
    save_state,
)
from cslm.training.steps import Steps, Stream
from cslm.training.stopping import StopSignal
from cslm.training.training_config import TrainingConfig
from cslm.training.validation import Validator


def train(
    module: nn.Module,
    stream: Stream,
    config: TrainingConfig,
    output: Path,
    save: Callable[[dict[str, Tensor], Path], None],
    row_training: RowTraining | None = None,
    validator: Validator | None = None,
    made_of: MadeOf = NOTHING,
) -> TrainingState:
    """Train ``module`` from its newest checkpoint in ``output``, or from the start, to the last step.

    Args:
        module: as in :class:`~cslm.training.steps.Steps`.
        save: writes the model from its full weights (CPU) into a folder; called on rank 0 only, at the end.
        row_training: the rows of embedding and head that learn apart; None where all parameters learn alike.
        validator: looks at held-out data; None never does.
        made_of: vocabulary and data of the run; a checkpoint of others is refused.

    Returns:
        The state after the last step.

    Raises:
        UserError: checkpoints that are all damaged; one of another vocabulary or other data, or of another number of
            processes under ZeRO stage 0; or a loss that is not a number.
        OSError: a checkpoint that cannot be written; the one before is untouched.
        StoppedError: a signal asked to stop; the last step is saved.
    """
    rank, _ = start_processes(config.device.num_threads)
    engine, state = _start(module, config, output, row_training, made_of)
    log = RunLog(output, config.last_step, state, config.wandb_project) if rank == 0 else NoLog()
    steps = Steps(engine, stream, config, row_training)
    log.exclude("setup", steps.work.setup_sec, 0)
    first_step, schedule_steps = state.step, _schedule_steps(state, config)
    with StopSignal() as stop:
        while state.step < config.last_step:
            learning_rate = learning_rate_at(config, state.step, schedule_steps)
            state, norm = steps.take(state, learning_rate)
            last = state.step == config.last_step
            stopping = stop.received(engine.device) and not last
            saving = last or stopping or state.step % config.checkpoints.save_every == 0
            if saving or state.step % config.log_every == 0 or state.step == first_step + 1:
                result, work = steps.losses.result(), steps.work.result()
                check_finite(result, float(norm), state, config.log_every)
                log.write(state, result, learning_rate, float(norm), work)
            if validator is not None and validator.is_due(state.step, config.last_step):
                log.write_validation(state, validator.run(engine, state))
                log.exclude("validation", validator.seconds, validator.left(state.step, config.last_step))
            if saving:
                _save_state(engine, state, config, output, made_of, log)
            if stopping:
                raise StoppedError(
                    f"a signal asked for it; step {state.step} is saved, the same command goes on from there"
                )
    _finish(engine, state, output, save)
    log.close()
    wait_for_all()
    engine.destroy()
    return state


def is_finished(output: Path, config: TrainingConfig) -> bool:
    """Whether the run in ``output`` has reached the last step of ``config``."""
    path = output / FINISHED_FILE
    return path.is_file() and json.loads(path.read_text(encoding="utf-8"))["steps"] >= config.last_step


def _start(
    module: nn.Module, config: TrainingConfig, output: Path, row_training: RowTraining | None, made_of: MadeOf
) -> tuple[Any, TrainingState]:
    """The engine, and the state that it goes on from."""
    saved = find_whole(output)
    if saved is None:
        engine = start_engine(module, config, row_training=row_training)
        return engine, TrainingState(schedule_tokens=config.schedule_tokens)
    changed = check_made_of(saved, made_of, config.data.accept_changed_data)
    universal = needs_universal(saved, torch.distributed.get_world_size(), config.device.zero_stage)
    engine = start_engine(module, config, load_universal=universal, row_training=row_training)
    state = load_state(engine, saved, universal)
    if state.schedule_tokens is None:
        state = dataclasses.replace(state, schedule_tokens=config.schedule_tokens)
    if torch.distributed.get_rank() == 0:
        for fault in saved.passed_over:
            print(f"{fault}: going on from the older {saved.folder.name} instead", flush=True)
        print(f"resuming from step {state.step:,} ({saved.folder})", flush=True)
        if changed:
            print(f"accepted: other data than before in the source {', '.join(changed)}", flush=True)
        _tell_of_schedule(state, config)
    return engine, state


def _schedule_steps(state: TrainingState, config: TrainingConfig) -> int:
    """Steps of the schedule that the run began with."""
    assert state.schedule_tokens is not None
    return max(1, state.schedule_tokens // config.tokens_per_step)


def _tell_of_schedule(state: TrainingState, config: TrainingConfig) -> None:
    """Say what becomes of the learning rate of a run that was made longer or shorter."""
    begun = _schedule_steps(state, config)
    if config.schedule_steps == begun:
        return
    rate = learning_rate_at(config, begun, begun)
    told = f"the run began with a schedule of {begun:,} steps, which stays: it now ends at step {config.last_step:,}"
    if config.last_step > begun:
        told += f", and from step {begun + 1:,} on its learning rate is {rate:g}"
        told += " (nothing more is learnt: raise training.schedule.final_learning_rate)" if rate == 0 else ""
    print(told, flush=True)


def _save_state(
    engine: Any, state: TrainingState, config: TrainingConfig, output: Path, made_of: MadeOf, log: NoLog
) -> None:
    started = time.perf_counter()
    save_state(engine, state, output, config.checkpoints.save_total, made_of)
    left = config.last_step // config.checkpoints.save_every - state.step // config.checkpoints.save_every
    log.exclude("saving", time.perf_counter() - started, left)


def _finish(engine: Any, state: TrainingState, output: Path, save: Callable[[dict[str, Tensor], Path], None]) -> None:
    """Write the model, and what it has seen."""
    weights = full_weights(engine)
    if torch.distributed.get_rank() != 0:
        return
    save(weights, output)
    for name, tokens in state.consumed.items():
        print(f"{name}: {tokens:,} tokens, {tokens / max(1, state.tokens):.1%} of all", flush=True)
    for line in account_lines(state.accounts):
        print(line, flush=True)
    for what, count in state.notes.items():
        print(f"{what}: {count:,}", flush=True)
    facts = {"steps": state.step, "tokens": state.tokens, "consumed": state.consumed, "notes": state.notes}
    facts |= {"accounts": state.accounts, "versions": stack_versions()}
    write_atomically(output / FINISHED_FILE, (json.dumps(facts, indent=1) + "\n").encode())
