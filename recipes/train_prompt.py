"""Train a connector that lets a frozen language model hear: ``deepspeed recipes/train_prompt.py --config YAML``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.training.train_prompt import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
