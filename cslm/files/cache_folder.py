"""The user's cache folder: what can be made again from a corpus, once per machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """``$CSLM_CACHE/KIND``, else ``$XDG_CACHE_HOME/cslm/KIND``, else ``~/.cache/cslm/KIND``."""
    base = os.environ.get("CSLM_CACHE")
    if base:
        return Path(base).expanduser() / kind
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "cslm" / kind
