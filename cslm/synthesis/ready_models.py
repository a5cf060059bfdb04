"""Models of transformers that make corpora: opened whole or not at all, and named by what they hold."""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Any

import torch

from cslm.codecs.fingerprint import canonical_json
from cslm.encoders.runtime import BATCH_SEC, make_runtime
from cslm.errors import UserError, first_line
from cslm.files.progress import without_progress_bar

_NAMES_ONLY = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "_commit_hash")


def open_model(kind: Any, source: str, revision: str | None, device: str, dtype: str, where: str) -> Any:
    """A model for inference, on its device.

    Args:
        kind: the class of transformers, or an ``Auto`` class.
        source: a hub id, or a folder as ``save_pretrained`` writes it.
        revision: branch, tag or commit on the hub.
        device: ``auto``, ``cpu``, ``cuda``.
        dtype: name of torch's type of its numbers.
        where: the option that names it.

    Raises:
        UserError: it is not there, cannot be read, is of another type, or has not all its weights.
    """
    _check_folder(source, where)
    try:
        with without_progress_bar():
            model, report = kind.from_pretrained(
                source, revision=revision, dtype=getattr(torch, dtype), output_loading_info=True
            )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{where}: the model {source} cannot be opened: {first_line(error)}") from None
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(f"{where}: {source} has no weights for {missing[0]} and {len(missing) - 1} more: is it whole?")
    return model.to(make_runtime(device, BATCH_SEC).device).eval().requires_grad_(False)


def open_part(kind: Any, source: str, revision: str | None, where: str) -> Any:
    """A tokenizer, processor or feature extractor of a model.

    Raises:
        UserError: it is not there, or cannot be read.
        MissingExtraError: it needs a package that is not installed.
    """
    _check_folder(source, where)
    try:
        return kind.from_pretrained(source, revision=revision)
    except ImportError as error:
        raise UserError(f"{where}: {source} needs another package: {first_line(error)}") from None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:  # of what is no tokenizer at all
        raise UserError(f"{where}: {kind.__name__} of {source} cannot be opened: {first_line(error)}") from None


def model_digest(model: Any) -> str:
    """``sha256:`` of a model's weights and configuration: where they are the same, so is what it makes."""
    generation = getattr(model, "generation_config", None)
    said = {"model": model.config.to_dict(), "generation": None if generation is None else generation.to_dict()}
    digest = hashlib.sha256(canonical_json(_plain(said)).encode())
    for name, tensor in sorted(model.state_dict().items()):
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"\n{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(memoryview(flat.view(torch.uint8).numpy()))
    return f"sha256:{digest.hexdigest()}"


def seed_of(*parts: str | int) -> int:
    """A seed for what is drawn in making one thing, from all that names it."""
    named = canonical_json(list(parts)).encode()
    return int.from_bytes(hashlib.sha256(named).digest()[:8], "little") >> 1


def _plain(value: Any) -> Any:
    """A configuration without names and versions, its numbers without end as words: JSON has none."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items() if key not in _NAMES_ONLY}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _check_folder(source: str, where: str) -> None:
    if (os.path.isabs(source) or source.startswith(".") or source.count("/") > 1) and not Path(source).is_dir():
        raise UserError(f"{where}: there is no folder {source} with a model: give a hub id or a folder")
