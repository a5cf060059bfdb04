"""Put published centroids beside a card: ``python tools/convert_kmeans.py FILE --tokenizer CARD --output MY_CARD``."""

from __future__ import annotations

import sys

from cslm.codecs.convert_kmeans import main
from cslm.errors import exit_with_status

if __name__ == "__main__":
    exit_with_status(lambda: main(sys.argv[1:]))
