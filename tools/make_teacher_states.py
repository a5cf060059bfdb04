"""States of a teacher on transcripts: ``python tools/make_teacher_states.py MANIFEST --llm M --output S``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.synthesis.make_teacher_states import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
