"""Compare two checkpoints on the same pairs: ``python recipes/compare_pairs.py A/pairs.jsonl B/pairs.jsonl``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.evaluation.compare_pairs import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
