"""Put the seconds of every stage, the cores and the seed into the results: ``record_seconds.py OUT --seed N``."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path


def main() -> None:
    """Merge ``OUT/.stages/*.json`` into ``OUT/results.json``, atomically."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path, help="the folder of the run")
    parser.add_argument("--seed", type=int, required=True, help="the seed of the run")
    given = parser.parse_args()
    markers = sorted((given.output / ".stages").glob("*.json"))
    seconds = {marker.stem: json.loads(marker.read_text())["seconds"] for marker in markers}
    path = given.output / "results.json"
    results = json.loads(path.read_text(encoding="utf-8"))
    results["seconds"] = {**seconds, "total": round(sum(seconds.values()), 1)}
    results |= {"cores": len(os.sched_getaffinity(0)), "seed": given.seed}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


if __name__ == "__main__":
    main()
