"""Show documents as training sees them: ``python recipes/inspect_sequences.py --config YAML [--source NAME]``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.planning.inspect_sequences import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
