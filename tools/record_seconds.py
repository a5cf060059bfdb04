"""Put the seconds of every stage, the cores and the seed into the results: ``record_seconds.py OUT --seed N``."""

from __future__ import annotations

import argparse
import json
import os

from cslm.files.atomic_file import write_atomically
from cslm.files.written_yaml import path_of
from cslm.publishing.stage_seconds import read_stage_seconds


def main() -> None:
    """Merge ``OUT/.stages/*.json`` into ``OUT/results.json``, atomically."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=path_of, help="the folder of the run")
    parser.add_argument("--seed", type=int, required=True, help="the seed of the run")
    given = parser.parse_args()
    path = given.output / "results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    results["seconds"] = read_stage_seconds(given.output / ".stages")
    results |= {"cores": len(os.sched_getaffinity(0)), "seed": given.seed}
    write_atomically(path, (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode("utf-8"))


if __name__ == "__main__":
    main()
