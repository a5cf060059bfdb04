"""Where the YAML files of a claim's stages are, and how a verb is told to take them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cslm.errors import UserError
from cslm.files.shipped_files import find_shipped


def settings_file(folder: str, name: str) -> Path:
    """The YAML file ``recipes/village/FOLDER/NAME.yaml``.

    Raises:
        UserError: it did not come with the package.
    """
    found = find_shipped(f"recipes/village/{folder}/{name}.yaml")
    if found is None:
        raise UserError(f"recipes/village/{folder}/{name}.yaml is missing from this installation")
    return found.resolve()


def told_by(files: Sequence[Path]) -> list[str]:
    """The arguments that name the files, the later one winning."""
    return [part for file in files for part in ("--config", str(file))]
