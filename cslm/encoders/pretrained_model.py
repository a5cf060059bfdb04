"""Models of transformers that a card names: loaded whole, or not at all."""

from __future__ import annotations

import os
import pickle
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel

from cslm.encoders.runtime import META
from cslm.errors import UserError, first_line
from cslm.files.looked_for import looked_for
from cslm.files.progress import without_progress_bar


def pretrained_config(source: str, revision: str | None, model_types: Collection[str], where: str) -> Any:
    """Configuration of a model, by hub id or folder.

    Raises:
        UserError: no such model, or not one of these types.
    """
    if os.sep in source and source.count("/") != 1 and not Path(source).is_dir():
        raise UserError(f"{where}: there is no folder {source} with a model: give a hub id or a folder")
    try:
        config = AutoConfig.from_pretrained(source, revision=revision)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{where}: the model {source} cannot be read: {first_line(error)}{looked_for(source)}"
        ) from None
    if config.model_type not in model_types:
        known = ", ".join(model_types)
        raise UserError(f"{where}: {source} is a model of type {config.model_type}; this family reads {known}")
    return config


def pretrained_model(source: str, revision: str | None, where: str, device: str = "cpu") -> tuple[Any, set[str]]:
    """The model in float32, for inference, and the names of weights that were not there; see ``check_whole``.

    Args:
        source: a hub id or a folder.
        revision: branch, tag or commit on the hub.
        where: what asks for it, for errors.
        device: on ``meta`` it has its shapes alone, and no weights are read; on others it is loaded on the CPU.

    Raises:
        UserError: weights that cannot be read.
    """
    if device == META:
        with torch.device(META):
            shape = AutoModel.from_config(AutoConfig.from_pretrained(source, revision=revision), dtype=torch.float32)
        return shape.eval().requires_grad_(False), set()
    try:
        with without_progress_bar():
            model, report = AutoModel.from_pretrained(
                source, revision=revision, dtype=torch.float32, output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UserError(
            f"{where}: the weights of {source} cannot be read: {first_line(error)}{looked_for(source)}"
        ) from None
    return model.eval().requires_grad_(False), set(report["missing_keys"])


def torch_file(source: str, where: str) -> Any:
    """What a file of ``torch.save`` holds, or its URL: tensors and plain values only, never other objects.

    Raises:
        UserError: it is not there, or holds something else.
    """
    try:
        if "://" in source:
            return torch.hub.load_state_dict_from_url(source, map_location="cpu", weights_only=True)
        return torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError(f"{where}: there is no file {source}") from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, struct.error, pickle.UnpicklingError) as error:
        raise UserError(f"{where}: {source} cannot be read: {first_line(error)}") from None


def check_whole(used: Collection[str], missing: set[str], source: str, where: str) -> None:
    """Make sure that all weights that are used were in the checkpoint: transformers makes up the rest at random.

    Raises:
        UserError: some were not.
    """
    absent = sorted(set(used) & missing)
    if absent:
        raise UserError(f"{where}: {source} has no weights for {absent[0]} and {len(absent) - 1} more: is it whole?")
