"""What tokenizing a corpus promises, tried on yours: ``python tools/bench_tokenize_corpus.py TRIAL CARD MANIFEST``."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from cslm.benchmarks.tokenizing_trials import TRIALS
from cslm.errors import UserError, exit_with_status
from cslm.files.written_yaml import expand_path, path_of


def main() -> None:
    """Run one trial and print its figures; the trials are explained in ``cslm/benchmarks/tokenizing_trials.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trial", choices=TRIALS, help="what to try")
    parser.add_argument("card", type=expand_path, help="card of the speech tokenizer")
    parser.add_argument("manifest", type=expand_path, help="audio to try it on")
    parser.add_argument("--json", type=path_of, help="write the figures to this file")
    given = parser.parse_args()
    if given.json is not None and not given.json.parent.is_dir():
        raise UserError(f"--json: there is no folder {given.json.parent}")
    with tempfile.TemporaryDirectory() as folder:
        row = TRIALS[given.trial](given.card, given.manifest, Path(folder))
    for name, value in row.items():
        print(f"{name}: {f'{value:.2f}' if isinstance(value, float) else value}")
    if given.json is not None:
        given.json.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    exit_with_status(main)
