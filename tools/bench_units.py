"""How good the units of a card are for a language model, as JSON: ``python tools/bench_units.py MANIFEST CARD``."""

from __future__ import annotations

import argparse
import json

from cslm.benchmarks.unit_quality import unit_quality
from cslm.errors import exit_with_status
from cslm.files.written_yaml import expand_path


def main() -> None:
    """Measure and print; the figures are explained in ``cslm/benchmarks/unit_quality.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=expand_path, help="utterances, best with word times and several speakers")
    parser.add_argument("card", type=expand_path, help="card of the speech tokenizer")
    given = parser.parse_args()
    print(json.dumps(unit_quality(given.manifest, given.card)))


if __name__ == "__main__":
    exit_with_status(main)
