"""Answer a spoken question: ``python recipes/respond.py CHECKPOINT QUESTION.wav --output ANSWER.wav``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.generation.respond import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
