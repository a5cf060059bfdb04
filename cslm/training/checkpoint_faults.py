"""What is wrong with the files of a checkpoint, found before the engine takes any of them."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch

from cslm.training.engine import gathered


def fault_of(folder: Path, num_bytes: Mapping[str, int]) -> str | None:
    """What is wrong, or None: every file is read once, by one of the processes, which call this together.

    Args:
        num_bytes: of each file that was written, by its name in the folder; may be empty.
    """
    rank, world_size = torch.distributed.get_rank(), torch.distributed.get_world_size()
    names = sorted({*num_bytes, *(str(file.relative_to(folder)) for file in folder.rglob("*.pt"))})
    own = [_fault_of_file(folder / name, num_bytes.get(name)) for name in names[rank::world_size]]
    found = [fault for each in gathered([fault for fault in own if fault]) for fault in each]
    if not names:
        return "it holds no weights"
    return found[0] if found else None


def _fault_of_file(file: Path, num_bytes: int | None) -> str | None:
    """What is wrong with a file of torch: an archive with a sum of each of its parts."""
    if not file.is_file():
        return f"{file.name} is missing"
    if num_bytes is not None and file.stat().st_size != num_bytes:
        return f"{file.name} has {file.stat().st_size:,} bytes of {num_bytes:,}"
    try:
        with zipfile.ZipFile(file) as archive:
            part = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        return f"{file.name} cannot be read ({error})"
    return None if part is None else f"{file.name} has changed since it was written"
