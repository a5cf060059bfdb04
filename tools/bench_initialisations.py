"""Losses early in pre-training from each initialisation: ``python tools/bench_initialisations.py YAML RUN OUTPUT``."""

from __future__ import annotations

import argparse
import json
from statistics import fmean

from cslm.errors import exit_with_status
from cslm.files.written_yaml import expand_path, path_of
from cslm.model.extension import INITIALISATIONS
from cslm.training import pretrain


def main() -> None:
    """Train and print the losses of the last steps, mean of the languages, a line for each initialisation and seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", type=expand_path, help="YAML of pretrain")
    parser.add_argument("root", type=path_of, help="folder of a run: its text model, units, card and corpus are read")
    parser.add_argument("output", type=path_of, help="folder for the runs")
    parser.add_argument("--steps", type=int, default=150, help="steps of each run")
    parser.add_argument("--last", type=int, default=25, help="steps that the losses are of; a divisor of --steps")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--initialisations", nargs="+", choices=INITIALISATIONS, default=list(INITIALISATIONS))
    given, more = parser.parse_known_args()
    more += ["--training.max_steps", str(given.steps), "--training.log_every", str(given.last)]
    for seed in given.seeds:
        for name in given.initialisations:
            folder = given.output.resolve() / f"{name}-{seed}"
            where = ["--config", given.config, "--data_root", str(given.root), "--output", str(folder)]
            pretrain.main([*where, *more, "--initialisation", name, "--training.seed", str(seed)])
            row = json.loads((folder / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
            kinds = sorted({group.rpartition("/")[0] for group in row["groups"]})
            means = {k: round(fmean(v for g, v in row["groups"].items() if g.startswith(f"{k}/")), 3) for k in kinds}
            print(json.dumps({"initialisation": name, "seed": seed, "tokens": row["tokens"], **means}))


if __name__ == "__main__":
    exit_with_status(main)
