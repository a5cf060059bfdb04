"""One whole folder of a connector and what is frozen around it: ``python recipes/merge.py CHECKPOINT OUTPUT``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.model.speech_prompt.merge import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
