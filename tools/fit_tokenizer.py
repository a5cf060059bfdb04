"""Fit a speech tokenizer: ``python tools/fit_tokenizer.py MANIFEST --family mel_kmeans --output CARD.yaml``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.units.fit_tokenizer import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
