"""Measure a claim of a method on the village: ``python recipes/village/claims.py --claim NAME --output FILE.json``."""

from __future__ import annotations

import sys

from cslm.benchmarks.claims.measure_claim import main
from cslm.errors import exit_with_status

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
