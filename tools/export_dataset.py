"""A corpus as a data set with a card: ``python tools/export_dataset.py CORPUS OUT``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.publishing.export_dataset import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
