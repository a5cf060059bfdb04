"""Read a unit store again and say what is wrong with it: ``python tools/verify.py STORE``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.units.verify import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
