"""Pre-train a language model, with speech or without: ``deepspeed recipes/pretrain.py --config YAML``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.training.pretrain import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
