"""Train a small speech recognizer from nothing: ``deepspeed recipes/train_recognizer.py --config YAML``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.training.train_recognizer import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
