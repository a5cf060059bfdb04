"""How far apart the village's names and values sound: ``python tools/bench_village_words.py [en zh fr de ja]``."""

from __future__ import annotations

import argparse

from cslm.benchmarks.village_words import table, village_words
from cslm.errors import exit_with_status
from cslm.files.written_yaml import expand_path


def main() -> None:
    """Measure and print; the distances are explained in ``cslm/benchmarks/village_words.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "languages", nargs="*", type=expand_path, default=["en", "zh", "fr", "de", "ja"], help="tables, by name or path"
    )
    parser.add_argument("--voices", type=int, default=6, help="the first so many asking voices of each table")
    parser.add_argument("--variants", nargs="+", default=[], help="variants of the synthesizer instead of the table's")
    parser.add_argument("--closest", type=int, default=1, help="pairs to print of each kind")
    given = parser.parse_args()
    sounds = [village_words(name, given.voices, given.variants) for name in given.languages]
    print(table(sounds, given.closest))


if __name__ == "__main__":
    exit_with_status(main)
