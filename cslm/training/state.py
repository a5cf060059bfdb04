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
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from deepspeed.checkpoint import ds_to_universal

from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.training.checkpoint_faults import fault_of
from cslm.training.engine import wait_for_all

_STATE_FILE = "state.json"
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
    accounts: dict[str, int] = field(default_factory=dict)
    """tokens seen by language, or by stage of the training and language (:mod:`~cslm.batches.accounts`)"""


class MadeOf(NamedTuple):
    """What a checkpoint hangs on, beside the settings of its run."""

    vocabulary: str = ""
    """what the rows of the model stand for, in short"""
    sources: Mapping[str, str] = {}
    """a hash of what each source holds, by name; a source that is not there is not compared"""


NOTHING = MadeOf()


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
    made_of: MadeOf = NOTHING
    """what it hangs on"""
    files: Mapping[str, int] = field(default_factory=dict)
    """bytes of its files, by their names in the folder; none of a checkpoint from before they were noted"""
    passed_over: tuple[str, ...] = ()
    """newer checkpoints that are damaged, each with its fault"""


def find_latest(output: Path, faults_of: Callable[[SavedState], str | None] = lambda saved: None) -> SavedState | None:
    """The checkpoint that ``latest`` names, or the newest before it that is not damaged; None for a run without any.

    Args:
        faults_of: what is wrong with the files of a checkpoint, or None; by default they are not looked at.

    Raises:
        UserError: all of them are damaged.
    """
    pointer = output / "checkpoints" / "latest"
    if not pointer.is_file():
        return None
    newest = pointer.read_text(encoding="utf-8", errors="replace").strip()
    older = sorted((it.name for it in pointer.parent.glob("step-*") if not newest or it.name < newest), reverse=True)
    faults: list[str] = []
    for name in ([newest] if newest else []) + older:
        folder = pointer.parent / name
        try:
            found = _read(folder)
        except (OSError, ValueError, KeyError, TypeError) as error:
            faults.append(f"{folder}: damaged checkpoint ({type(error).__name__}: {error})")
            continue
        fault = faults_of(found)
        if fault is None:
            return replace(found, passed_over=tuple(faults))
        faults.append(f"{folder}: this checkpoint cannot be loaded ({fault})")
    raise UserError(
        f"{'; '.join(faults) or f'{pointer} names no checkpoint'}: no older one is whole, so the run cannot go on: put "
        "a copy back, or delete its folder and train again"
    )


def _read(folder: Path) -> SavedState:
    values = json.loads((folder / _STATE_FILE).read_text(encoding="utf-8"))
    state = TrainingState(
        values["step"], values["tokens"], values["position"], values["consumed"], values["notes"],
        values["best_loss"], values.get("schedule_tokens"), accounts=values.get("accounts", {}),
    )  # fmt: skip
    made_of = MadeOf(values["vocabulary"], values.get("sources", {}))
    return SavedState(folder, state, values["world_size"], values["zero_stage"], made_of, values.get("files", {}))


def find_whole(output: Path) -> SavedState | None:
    """As :func:`find_latest`, after the files of checkpoints were read through; all processes call this together.

    Raises:
        UserError: as :func:`find_latest`.
    """
    return find_latest(output, lambda saved: fault_of(saved.folder, saved.files))


def check_made_of(saved: SavedState, made_of: MadeOf, accept_changed_data: bool) -> list[str]:
    """Make sure that a run goes on with the vocabulary and the data that its checkpoint was trained on.

    Returns:
        Sources that hold something else by now, where that is accepted.

    Raises:
        UserError: another vocabulary, or sources that have changed and were not accepted, by name.
    """
    before = saved.made_of
    if before.vocabulary != made_of.vocabulary:
        raise UserError(
            f"{saved.folder} was trained with another vocabulary ({before.vocabulary}), this run has "
            f"{made_of.vocabulary}: give back the tokenizer and the card that it began with, or train in another "
            "output folder"
        )
    both = before.sources.keys() & made_of.sources.keys()
    changed = sorted(name for name in both if before.sources[name] != made_of.sources[name])
    if changed and not accept_changed_data:
        raise UserError(
            f"{saved.folder} was trained on other data: since then documents or utterances were added, removed or "
            f"replaced in the source {', '.join(changed)}: give them back, train in another output folder, or go on "
            "all the same with --training.data.accept_changed_data true"
        )
    return changed


def save_state(engine: Any, state: TrainingState, output: Path, keep: int, made_of: MadeOf) -> None:
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
        engine.save_checkpoint(str(folder), tag=aside, save_latest=False, exclude_frozen_parameters=_has_frozen(engine))
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
            **made_of._asdict(),
            "files": {str(file.relative_to(folder / aside)): file.stat().st_size
                      for file in sorted((folder / aside).rglob("*.pt"))},
        }  # fmt: skip
        write_atomically(folder / aside / _STATE_FILE, json.dumps(facts, indent=1).encode())
        _publish(folder, aside, name, keep)
    wait_for_all()


def _has_frozen(engine: Any) -> bool:
    """Whether the module has frozen parts that it does not save (:func:`~cslm.training.engine.full_weights`)."""
    return hasattr(engine.module, "saves")


def _publish(folder: Path, aside: str, name: str, keep: int) -> None:
    for file in (folder / aside).rglob("*"):
        if file.is_file():
            with file.open("rb") as opened:
                os.fsync(opened.fileno())
    shutil.rmtree(folder / name, ignore_errors=True)
    os.replace(folder / aside, folder / name)
    write_atomically(folder / "latest", f"{name}\n".encode())
    before = sorted(other for other in folder.glob("step-*") if other.name <= name)
    after = [other for other in folder.glob("step-*") if other.name > name]  # damaged: the run went on from before it
    for old in (*before[:-keep], *after):
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
    if zero_stage == 3 and saved.zero_stage != 3:
        raise UserError(
            f"{saved.folder} was written with ZeRO stage {saved.zero_stage}, and this run has stage 3, into which "
            f"DeepSpeed loads nothing of another stage: resume with stage {saved.zero_stage}"
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
        strict = not _has_frozen(engine)
        loaded, _ = engine.load_checkpoint(str(folder.parent), tag=folder.name, load_module_strict=strict)
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
