"""What a run will need, before it is started: ``python recipes/plan.py --config YAML --num_processes N``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.planning.plan import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
