"""Which language a gate hears: ``python tools/gate_report.py MODEL --manifests [M] --output R.json``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.evaluation.gate_report import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
