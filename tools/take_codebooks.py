"""The first codebooks of a store: ``python tools/take_codebooks.py STORE --tokenizer CARD --output FOLDER``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.units.take_codebooks import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
