"""Write the report of a run, one self-contained page: ``python recipes/report.py OUT``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.publishing.report import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
