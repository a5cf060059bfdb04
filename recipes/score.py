"""Score a checkpoint: ``python recipes/score.py CHECKPOINT --config YAML --output results.json``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.evaluation.score import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
