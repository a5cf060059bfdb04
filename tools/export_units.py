"""A unit store as JSON Lines: ``python tools/export_units.py STORE --output FILE.jsonl``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.units.export_units import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
