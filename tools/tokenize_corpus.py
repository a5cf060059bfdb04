"""Turn a corpus into units: ``python tools/tokenize_corpus.py MANIFEST --tokenizer CARD --output STORE``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.units.tokenize_corpus import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
