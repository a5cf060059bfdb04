"""The environment of a process that is started to be measured: its own ranks, not those of whoever starts it."""

from __future__ import annotations

import os

RANK_VARIABLES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher tells each process; one that inherits them would wait at an address that is taken."""


def without_ranks() -> dict[str, str]:
    """The environment of this process but for :data:`RANK_VARIABLES`."""
    return {name: value for name, value in os.environ.items() if name not in RANK_VARIABLES}
