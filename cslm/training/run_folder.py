"""The folder of a run: it holds one configuration, and no other run may write there."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from cslm.configuration import former_names, to_plain, under_new_names
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically

CONFIG_FILE = "config.yaml"
FINISHED_FILE = "finished.json"
METRICS_FILE = "metrics.jsonl"
LOCK_FILE = ".lock"
"""there as long as a start holds the folder"""
TEXT_TOKENIZER_FOLDER = "text_tokenizer"
"""fitted for a model from scratch"""
INDEX_FOLDER = ".documents"
"""where its documents begin, what they are called and which languages they are in"""
_BEFORE_STEPS = (
    CONFIG_FILE, METRICS_FILE, TEXT_TOKENIZER_FOLDER, INDEX_FOLDER, "validation.jsonl", "tensorboard", "checkpoints",
)  # fmt: skip
"""what a start makes before its first step is logged"""
MAY_CHANGE = (
    "data_root", "output", "decoder", "training.max_tokens", "training.max_steps", "training.tokens_per_micro_batch",
    "training.log_every", "training.wandb_project", "training.checkpoints.save_every",
    "training.checkpoints.save_total", "training.data.pack", "training.data.accept_changed_data",
    "training.data.loader_workers", "training.data.tokenize_texts_first", "training.device.num_threads",
    "training.device.zero_stage", "training.device.deepspeed", "training.device.gradient_checkpointing",
    "training.device.compile", "training.device.loss_kernel", "training.device.peak_tflops", "validation.eval_steps",
    "validation.keep_best",
)  # fmt: skip
"""Keys that may differ when a run is resumed: where it lies, when it stops, what machine it runs on."""
_MAY_CHANGE_IN_SOURCES = ".max_too_long_share"
_AFTER_SCHEDULE = "training.schedule.final_learning_rate"
"""may differ too once the schedule has ended: all that is left of it is this rate"""


def check_output(output: Path, config: Any) -> None:
    """Make sure that ``output`` is new, without a step, or holds a run with this configuration. Nothing is written.

    A setting that the run's file lacks, since it was begun with an older version, has its default there; one that it
    has by a former name is taken by its new one.

    Raises:
        UserError: it cannot be read or holds something else, or a run with other settings; names the first.
    """
    try:
        _check_is_free(output)
        differing = settings_that_differ(output, config)
        if differing is not None and has_steps(output):
            raise UserError(f"{output} holds another run: {differing}: give another output folder, or delete that one")
    except OSError as error:
        raise cannot_be_made(output, error) from error


def cannot_be_made(output: Path, error: OSError) -> UserError:
    """What is told of an output folder that the system refuses."""
    return UserError(
        f"output {output} cannot be used ({error.strerror}: {error.filename}): give a folder that can be written"
    )


def has_steps(output: Path) -> bool:
    """Whether a run has logged or saved a step there."""
    saved = output / "checkpoints" / "latest", output / FINISHED_FILE
    metrics = output / METRICS_FILE
    return any(file.is_file() for file in saved) or (metrics.is_file() and metrics.stat().st_size > 0)


def settings_that_differ(output: Path, config: Any) -> str | None:
    """The first setting that the run in ``output`` has otherwise, in words; None for the same run, or none at all.

    Raises:
        UserError: a configuration that is not YAML.
    """
    may_move = getattr(config, "MAY_MOVE", ())
    return next((told for key, told in _differences(output, config) if key not in may_move), None)


def settings_that_moved(output: Path, config: Any) -> list[str]:
    """Those of the configuration's ``MAY_MOVE`` that the run in ``output`` has otherwise, in words."""
    return [told for key, told in _differences(output, config) if key in getattr(config, "MAY_MOVE", ())]


def _differences(output: Path, config: Any) -> Iterator[tuple[str, str]]:
    """Settings that the run in ``output`` has otherwise and that not every run may change: key, and what is told."""
    path = output / CONFIG_FILE
    if not path.is_file():
        return
    try:
        written = under_new_names(yaml.safe_load(path.read_text(encoding="utf-8")), former_names(type(config)))
        found = _flat(_with_defaults(written, config))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML ({error}): give another output folder") from None
    if not isinstance(written, dict) or not {"output", "training"} <= written.keys():
        raise UserError(f"{path} is no configuration of a run: give another output folder")
    wanted = _flat(to_plain(config))
    may_change = (*MAY_CHANGE, _AFTER_SCHEDULE) if _schedule_is_over(output, found) else MAY_CHANGE
    for key in sorted(found.keys() | wanted.keys()):
        if found.get(key) != wanted.get(key) and not (key in may_change or key.endswith(_MAY_CHANGE_IN_SOURCES)):
            yield key, f"{key} is {found.get(key)!r} there and {wanted.get(key)!r} here"


def remove_unbegun(output: Path) -> None:
    """Remove what a start without a step has left; what is not of its making stays, and the folder with it."""
    for name in _BEFORE_STEPS:
        entry = output / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)


def _check_is_free(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file: give another output folder")
    in_the_way = next((folder for folder in output.parents if folder.exists() and not folder.is_dir()), None)
    if in_the_way is not None:
        raise UserError(f"output {output} cannot be made: {in_the_way} is a file: give another output folder")
    is_run = (output / CONFIG_FILE).is_file()
    if not is_run and output.is_dir() and any(entry.name[0] != "." for entry in output.iterdir()):
        raise UserError(f"{output} is not empty and holds no run ({CONFIG_FILE}): give another output folder")


def _schedule_is_over(output: Path, settings: dict[str, Any]) -> bool:
    """Whether the run with these settings has made its whole schedule: only the last rate of it is still to come."""
    finished = output / FINISHED_FILE
    if not finished.is_file():
        return False
    tokens, steps = settings.get("training.max_tokens"), settings.get("training.max_steps")
    whole = int(steps or 1) if tokens is None else round(tokens / settings["training.tokens_per_step"])
    return bool(json.loads(finished.read_text(encoding="utf-8"))["steps"] >= max(1, whole))


def write_configuration(output: Path, config: Any) -> None:
    """Write the resolved configuration into the run's folder."""
    text = yaml.safe_dump(to_plain(config), sort_keys=False, allow_unicode=True)
    write_atomically(output / CONFIG_FILE, text.encode("utf-8"))


def _with_defaults(found: Any, config: Any) -> Any:
    """What an older version wrote, with the settings that it did not have yet at their defaults."""
    if not isinstance(found, dict):
        return found
    if isinstance(config, dict):
        return {key: _with_defaults(value, config.get(key)) for key, value in found.items()}
    filled = {key: _with_defaults(value, getattr(config, key, None)) for key, value in found.items()}
    for setting in dataclasses.fields(config) if dataclasses.is_dataclass(config) else ():
        if setting.name in filled:
            continue
        if setting.default is not dataclasses.MISSING:
            filled[setting.name] = to_plain(setting.default)
        elif setting.default_factory is not dataclasses.MISSING:
            filled[setting.name] = to_plain(setting.default_factory())
    return filled


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """``{"training.seed": 0}`` of nested dictionaries; lists stay values."""
    if not isinstance(value, dict):
        return {prefix: value}
    flat = {}
    for key, item in value.items():
        flat.update(_flat(item, f"{prefix}.{key}" if prefix else str(key)))
    return flat
