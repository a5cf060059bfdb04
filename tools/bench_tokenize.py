"""How fast a card tokenizes, beside the ways others do it: ``python tools/bench_tokenize.py CARD MANIFEST``."""

from __future__ import annotations

import argparse
import json
import os

from cslm.benchmarks.tokenizing_speed import RANDOM_MODELS, table, tokenizing_speed
from cslm.encoders.runtime import BATCH_SEC
from cslm.errors import UserError, exit_with_status
from cslm.files.written_yaml import expand_path, path_of


def main() -> None:
    """Measure and print; the ways are explained in ``cslm/benchmarks/tokenizing_speed.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    cards = f"card of the speech tokenizer, or, with random weights: {', '.join(RANDOM_MODELS)}"
    parser.add_argument("card", type=expand_path, help=cards)
    parser.add_argument("manifest", type=expand_path, help="audio to cut clips of 1 to 20 s from")
    parser.add_argument("--minutes", type=float, default=10.0, help="audio in all")
    parser.add_argument("--batch_size", type=int, default=8, help="clips in a batch of the other ways")
    parser.add_argument("--batch_sec", type=float, default=BATCH_SEC, help="seconds in a batch of ours")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="threads of every way")
    parser.add_argument("--rounds", type=int, default=3, help="times that every way runs, in turn")
    parser.add_argument("--json", type=path_of, help="write the rows to this file")
    given = parser.parse_args()
    if given.json is not None and not given.json.parent.is_dir():
        raise UserError(f"--json: there is no folder {given.json.parent}")
    sizes = (given.minutes, given.batch_size, given.batch_sec, given.threads, given.rounds)
    rows = tokenizing_speed(given.card, given.manifest, *sizes)
    print("\n".join(table(rows)))
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    exit_with_status(main)
