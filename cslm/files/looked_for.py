"""Where a folder would have been that is not there, for messages about what was then asked of the Hub."""

from __future__ import annotations

import os


def looked_for(place: str | os.PathLike[str]) -> str:
    """The end of a message: nothing where the place is there."""
    return "" if os.path.exists(place) else f": looked for {os.path.abspath(place)}"
