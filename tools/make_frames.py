"""What a frozen encoder makes of recordings, once: ``python tools/make_frames.py MANIFEST --output STORE ...``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.units.make_frames import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
