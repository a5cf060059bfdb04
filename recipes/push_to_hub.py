"""Put a checkpoint on the Hub: ``python recipes/push_to_hub.py CHECKPOINT --repo NAME/MODEL``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.publishing.push_to_hub import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
