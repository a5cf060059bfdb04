"""Talk to a checkpoint in a browser, or by OpenAI's protocols: ``python recipes/serve.py CHECKPOINT``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.serving.serve import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
