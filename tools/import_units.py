"""Units of other tools as a unit store: ``python tools/import_units.py FILE --output STORE --tokenizer CARD``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.units.import_units import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
