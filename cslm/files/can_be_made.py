"""Whether a file can be written, asked before anything is computed that goes into it."""

from __future__ import annotations

import os
from pathlib import Path

from cslm.errors import UserError


def check_can_be_made(key: str, name: str | None) -> None:
    """Make sure that a file can be written, before anything is computed.

    Raises:
        UserError: it is a folder, or something on its way is no folder or may not be written.
    """
    if name is None:
        return
    path = Path(name).absolute()
    above = next(folder for folder in path.parents if folder.exists())
    if path.is_dir():
        raise UserError(f"{key} is {name}, which is a folder: give the name of a file")
    if not above.is_dir():
        raise UserError(f"{key} is {name}, which cannot be made: {above} is a file")
    if not os.access(path if path.exists() else above, os.W_OK):
        raise UserError(f"{key} is {name}, which cannot be written: no permission for {above}")
