"""Put published centroids beside a card: ``python tools/convert_kmeans.py FILE --tokenizer CARD --output MY_CARD``."""

from __future__ import annotations

import sys

from cslm.errors import exit_with_status
from cslm.units.convert_kmeans import main

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
