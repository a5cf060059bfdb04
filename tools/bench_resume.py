"""What resuming promises, tried: ``python tools/bench_resume.py kills|position [--json FILE]``."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from cslm.benchmarks.resume_trials import TRIALS
from cslm.errors import UserError, exit_with_status
from cslm.files.written_yaml import path_of


def main() -> None:
    """Run one trial and print its figures; the trials are explained in ``cslm/benchmarks/resume_trials.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trial", choices=TRIALS, help="what to try")
    parser.add_argument("--json", type=path_of, help="write the figures to this file")
    given = parser.parse_args()
    if given.json is not None and not given.json.parent.is_dir():
        raise UserError(f"--json: there is no folder {given.json.parent}")
    with tempfile.TemporaryDirectory() as folder:
        found = TRIALS[given.trial](Path(folder))
    for name, value in found.items():
        print(f"{name}: {value}")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    exit_with_status(main)
