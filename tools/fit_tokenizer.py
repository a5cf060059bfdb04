"""Fit a speech tokenizer: ``python tools/fit_tokenizer.py MANIFEST --family mel_kmeans --output CARD.yaml``."""

from __future__ import annotations

import sys

from cslm.codecs.fit_tokenizer import main
from cslm.errors import exit_with_status

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
