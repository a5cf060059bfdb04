"""The folder of a checkpoint: where it lies, or where a model of the Hub was downloaded to."""

from __future__ import annotations

import os
import re
from pathlib import Path

from huggingface_hub import snapshot_download

from cslm.errors import UserError

# Of a model on the Hub: configuration and tokenizer, and what speech needs; then the weights. No code, no pickles.
_SMALL = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "speech/**", "speech_prompt.yaml"]
_WEIGHTS = ["*.safetensors"]
_NOT = ["consolidated*", "original/*", "checkpoints/*"]
_HUB_ID = re.compile(r"\w[\w.-]*(/[\w.-]+)?")


def local_folder(
    place: str | os.PathLike[str], revision: str | None = None, weights: bool = True, looked_for: Path | None = None
) -> Path:
    """The folder of a checkpoint: the path itself, or where a model of the Hub was downloaded to.

    Args:
        place: a folder or a Hub id.
        revision: of the model on the Hub; None is its newest.
        weights: whether they are needed; without, only what is small is downloaded.
        looked_for: where a folder of this name would have been, for the message; by default the place itself.

    Raises:
        UserError: neither a folder nor an id that can be downloaded.
    """
    if Path(place).is_dir():
        return Path(place)
    where = os.path.abspath(place if looked_for is None else looked_for)
    if Path(place).exists():
        raise UserError(
            f"{place} is a file ({where}): give the folder of a checkpoint, or the id of a model on the Hub"
        )
    if not _HUB_ID.fullmatch(str(place)):
        raise UserError(f"{place}: there is no such checkpoint folder, nor a model on the Hub: looked for {where}")
    wanted = [*_SMALL, *(_WEIGHTS if weights else [])]
    try:
        found = snapshot_download(str(place), revision=revision, allow_patterns=wanted, ignore_patterns=_NOT)
    except (OSError, ValueError) as error:
        told = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(
            f"{place}: there is no such checkpoint folder, nor a model on the Hub ({told}): looked for {where}"
        ) from error
    return Path(found)
