"""The folder of a run: it holds one configuration, and no other run may write there."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from cslm.configuration import former_names, to_plain, under_new_names
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically

CONFIG_FILE = "config.yaml"
MAY_CHANGE = (
    "data_root", "output", "decoder", "training.max_steps", "training.tokens_per_micro_batch", "training.log_every",
    "training.wandb_project", "training.checkpoints.save_every", "training.checkpoints.save_total",
    "training.data.loader_workers", "training.data.tokenize_texts_first", "training.device.num_threads",
    "training.device.zero_stage", "training.device.deepspeed", "training.device.gradient_checkpointing",
    "training.device.compile", "training.device.loss_kernel", "training.device.peak_tflops", "validation.eval_steps",
    "validation.keep_best",
)  # fmt: skip
"""Keys that may differ when a run is resumed: where it lies, when it stops, what machine it runs on."""
_MAY_CHANGE_IN_SOURCES = ".max_too_long_share"


def check_output(output: Path, config: Any) -> None:
    """Make sure that ``output`` is new or holds a run with this configuration. Nothing is written.

    A setting that the run's file lacks, since it was begun with an older version, has its default there; one that it
    has by a former name is taken by its new one.

    Raises:
        UserError: it holds something else, or a run with other settings; names the first that differs.
    """
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file: give another output folder")
    path = output / CONFIG_FILE
    if not path.is_file():
        if output.is_dir() and any(entry.name[0] != "." for entry in output.iterdir()):
            raise UserError(f"{output} is not empty and holds no run ({CONFIG_FILE}): give another output folder")
        return
    try:
        written = under_new_names(yaml.safe_load(path.read_text(encoding="utf-8")), former_names(type(config)))
        found = _flat(_with_defaults(written, config))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is not YAML ({error}): give another output folder") from None
    wanted = _flat(to_plain(config))
    for key in sorted(found.keys() | wanted.keys()):
        may_change = key in MAY_CHANGE or key.endswith(_MAY_CHANGE_IN_SOURCES)
        if found.get(key) != wanted.get(key) and not may_change:
            raise UserError(
                f"{output} holds another run: {key} is {found.get(key)!r} there and {wanted.get(key)!r} here: "
                "give another output folder, or delete that one"
            )


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
