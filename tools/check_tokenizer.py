"""Measure how far units depend on batches, order and threads: ``python tools/check_tokenizer.py CARD MANIFEST``."""

from __future__ import annotations

import sys

from cslm.codecs.check_tokenizer import main
from cslm.errors import exit_with_status

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
