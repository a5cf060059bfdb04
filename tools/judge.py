"""Judge replies in a file: ``python tools/judge.py REPLIES.jsonl --config YAML --output judged.json``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.evaluation.judge import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
