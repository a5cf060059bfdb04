"""Make a corpus and its manifests: ``python tools/prepare_corpus.py village OUT --size small --seed 0``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.synthesis.prepare_corpus import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
