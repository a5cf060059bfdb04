"""What a run is made of on disk: its configuration, checkpoints to resume from, the pointer to the newest one.

``OUTPUT/checkpoints/step-00000500/`` holds DeepSpeed's state and ``state.json`` (step, tokens, position in the data).
It is written aside and renamed, then ``OUTPUT/checkpoints/latest`` names it, then older ones go.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import pickle
import shutil
import time
from argparse import Namespace
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from deepspeed.checkpoint import ds_to_universal

from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.training.engine import wait_for_all

_POLL_SEC = 0.5
_ALMOST_FULL = 1 << 26  # bytes; a file that did not fit leaves some of the disk unused


@dataclass
class TrainingState:
    """How far a run is; everything but the weights and the optimizer."""

    step: int = 0
    """updates done"""
    tokens: int = 0
    """tokens seen, over all processes"""
    position: dict[str, Any] = field(default_factory=dict)
    """where the data goes on; empty is the start"""
    consumed: dict[str, int] = field(default_factory=dict)
    """tokens seen by source"""
    notes: dict[str, int] = field(default_factory=dict)
    """what was dropped or cut, by what and why, with its count"""
    best_loss: float | None = None
    """lowest validation loss so far"""
    schedule_tokens: int | None = None
    """tokens of the schedule that the run began with: what its data reckon their progress by, made longer or not"""


@dataclass(frozen=True)
class SavedState:
    """A checkpoint to resume from."""

    folder: Path
    """where it is"""
    state: TrainingState
    """how far it is"""
    world_size: int
    """processes that wrote it"""
    zero_stage: int
    """how DeepSpeed sharded it"""
    vocabulary: str = ""
    """what its rows stand for"""


def find_latest(output: Path) -> SavedState | None:
    """The checkpoint that ``latest`` names; None for a run that has none.

    Raises:
        UserError: the pointer or the checkpoint is damaged.
    """
    pointer = output / "checkpoints" / "latest"
    if not pointer.is_file():
        return None
    folder = pointer.parent / pointer.read_text(encoding="utf-8").strip()
    try:
        values = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        state = TrainingState(
            values["step"], values["tokens"], values["position"], values["consumed"], values["notes"],
            values["best_loss"], values.get("schedule_tokens"),
        )  # fmt: skip
        return SavedState(folder, state, values["world_size"], values["zero_stage"], values["vocabulary"])
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"{folder}: damaged checkpoint ({error}): write the name of a whole one into {pointer}, or delete both"
        ) from None


def save_state(engine: Any, state: TrainingState, output: Path, keep: int, vocabulary: str = "") -> None:
    """Write a checkpoint to resume from; all processes call this together.

    Raises:
        OSError: the disk is full, or fails; the checkpoint before is untouched.
    """
    folder = output / "checkpoints"
    name = f"step-{state.step:08d}"
    aside = f".{name}.being-written"
    first = torch.distributed.get_rank() == 0
    if first:
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink()
    wait_for_all()
    try:
        engine.save_checkpoint(str(folder), tag=aside, save_latest=False)
    except RuntimeError as error:
        if "inline_container" not in str(error):  # torch's writer of files, which hides why it failed
            raise
        number = errno.ENOSPC if shutil.disk_usage(folder).free < _ALMOST_FULL else errno.EIO
        raise OSError(number, os.strerror(number), str(folder / aside)) from error
    wait_for_all()
    if first:
        facts = {
            **asdict(state),
            "world_size": torch.distributed.get_world_size(),
            "zero_stage": engine.zero_optimization_stage(),
            "vocabulary": vocabulary,
        }
        write_atomically(folder / aside / "state.json", json.dumps(facts, indent=1).encode())
        _publish(folder, aside, name, keep)
    wait_for_all()


def _publish(folder: Path, aside: str, name: str, keep: int) -> None:
    for file in (folder / aside).rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    shutil.rmtree(folder / name, ignore_errors=True)
    os.replace(folder / aside, folder / name)
    write_atomically(folder / "latest", f"{name}\n".encode())
    for old in sorted(folder.glob("step-*"))[:-keep]:
        if old.name != name:
            shutil.rmtree(old)


def needs_universal(saved: SavedState, world_size: int, zero_stage: int) -> bool:
    """Whether the checkpoint has to be converted for this run.

    Raises:
        UserError: it was written by another number of processes and cannot be converted.
    """
    if (saved.world_size, saved.zero_stage) == (world_size, zero_stage):
        return False
    if 0 in (saved.zero_stage, zero_stage):
        raise UserError(
            f"{saved.folder} was written by {saved.world_size} processes with ZeRO stage {saved.zero_stage}, and this "
            f"run has {world_size} with stage {zero_stage}: DeepSpeed has no universal checkpoint for stage 0, so "
            f"resume with {saved.world_size} processes and stage {saved.zero_stage}"
        )
    return True


def load_state(engine: Any, saved: SavedState, universal: bool) -> TrainingState:
    """Load weights and optimizer into the engine and return the rest; all processes call this together.

    Raises:
        UserError: the checkpoint is cut off or damaged.
    """
    folder = saved.folder
    settings = [{k: v for k, v in group.items() if k != "params"} for group in engine.optimizer.param_groups]
    try:
        if universal:
            folder = _converted(saved)
        loaded, _ = engine.load_checkpoint(str(folder.parent), tag=folder.name)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{saved.folder}: this checkpoint cannot be loaded ({error}): delete it and write the name of an older "
            f"one into {saved.folder.parent / 'latest'}"
        ) from error
    assert loaded is not None, f"DeepSpeed found nothing in {folder}"
    if universal:
        _set_groups_apart(engine, settings)
    wait_for_all()
    if universal and torch.distributed.get_rank() == 0:
        shutil.rmtree(folder)
    return saved.state


def _set_groups_apart(engine: Any, settings: list[dict[str, Any]]) -> None:
    """Undo what DeepSpeed does to several parameter groups when it loads a universal checkpoint of stage 3.

    All get the settings (decay, multiple of the rate) of the first, and share one tensor that counts steps, which each
    of them then counts up.
    """
    for group, own in zip(engine.optimizer.param_groups, settings, strict=True):
        parameters = group["params"]
        group.clear()
        group.update(own, params=parameters)
    for state in engine.optimizer.optimizer.state.values():
        if "step" in state:
            state["step"] = state["step"].clone()


def _converted(saved: SavedState) -> Path:
    """DeepSpeed's universal form of a checkpoint: rank 0 writes it, the others look until it is there."""
    target = saved.folder.with_name(f".{saved.folder.name}.universal")
    first = torch.distributed.get_rank() == 0
    if first:
        shutil.rmtree(target, ignore_errors=True)
    wait_for_all()
    if first:
        aside = target.with_name(f"{target.name}.being-written")
        shutil.rmtree(aside, ignore_errors=True)
        arguments = Namespace(
            input_folder=str(saved.folder), output_folder=str(aside), num_extract_workers=1, num_merge_workers=1,
            keep_temp_folder=False, strict=True, inject_missing_state=True,
        )  # fmt: skip
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ds_to_universal.main(arguments)
        (target.parent / "latest_universal").unlink(missing_ok=True)
        os.replace(aside, target)
    while not target.is_dir():
        time.sleep(_POLL_SEC)
    return target
