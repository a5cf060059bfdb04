"""Make a corpus and its manifests: ``python tools/prepare_corpus.py village OUT --size small --seed 0``."""

from __future__ import annotations

import sys

from cslm.corpora.prepare_corpus import main
from cslm.errors import exit_with_status

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
