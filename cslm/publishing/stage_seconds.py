"""How long each stage of a run took: files ``STAGE.json`` with ``{"seconds": ...}``, which shell scripts write."""

from __future__ import annotations

import json
from pathlib import Path

from cslm.errors import UserError


def read_stage_seconds(folder: Path) -> dict[str, float]:
    """The seconds of each finished stage, in the order in which they finished, and their ``total``.

    Raises:
        UserError: a file that holds something else.
    """
    seconds: dict[str, float] = {}
    for path in sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            seconds[path.stem] = float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} holds no number of seconds ({error}): remove it and run its stage again") from None
    return {**seconds, "total": round(sum(seconds.values()), 1)}
