"""Weights & Biases, for a run that asks for it: imported only then."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from cslm.errors import MissingExtraError
from cslm.files.atomic_file import write_atomically

RUN_ID = "wandb_run_id"


class WandbRun:
    """One run of a project, named like the output folder; a resumed run goes on with the id in that folder."""

    def __init__(self, project: str, output: Path) -> None:
        """Start or go on.

        Raises:
            MissingExtraError: wandb is not installed.
        """
        try:
            wandb: Any = importlib.import_module("wandb")
        except ImportError:
            raise MissingExtraError("wandb", "tracking", "training.wandb_project") from None
        path = output / RUN_ID
        known = path.read_text(encoding="utf-8").strip() if path.is_file() else None
        self._run = wandb.init(
            project=project, name=output.resolve().name, dir=str(output), id=known, resume="allow" if known else None
        )
        write_atomically(path, f"{self._run.id}\n".encode())

    def log(self, values: dict[str, float], step: int) -> None:
        """Send the values of one step."""
        self._run.log(values, step=step)

    def close(self) -> None:
        """Send what is left."""
        self._run.finish()
