"""What could not be made, as data: one bad text is one entry on a list, never the end of a run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Stands where a translation or a recording would stand."""

    reason: str
    """Why there is none, in one line, for the list of the rejected."""
