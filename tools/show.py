"""Show what is in a unit store, or one utterance of it: ``python tools/show.py STORE [--id ID]``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.units.show import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
