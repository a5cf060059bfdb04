"""Go on from a recording: ``python recipes/continue_speech.py CHECKPOINT IN.wav OUT.wav``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.generation.continue_speech import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
