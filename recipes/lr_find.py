"""Try rising learning rates and suggest one: ``deepspeed recipes/lr_find.py --config YAML``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.planning.lr_find import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
