"""How fast training is beside Hugging Face's Trainer and TRL: ``python tools/bench_train.py [--json FILE]``."""

from __future__ import annotations

import argparse
import json

from cslm.benchmarks.compared_speed import SYSTEMS, summary, training_speed
from cslm.benchmarks.loader_speed import loader_speed
from cslm.benchmarks.loss_memory import NUM_TOKENS, loss_memory
from cslm.benchmarks.paper_mixture import Shape
from cslm.errors import UserError, exit_with_status
from cslm.files.written_yaml import path_of


def main() -> None:
    """Measure and print; the systems are explained in ``cslm/benchmarks/compared_speed.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in vars(Shape()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="what to run")
    parser.add_argument("--repeats", type=int, default=3, help="times that every system runs, in turn")
    parser.add_argument("--loss_tokens", type=int, default=NUM_TOKENS, help="of the loss alone; 8,192 need 16 GB")
    parser.add_argument("--json", type=path_of, help="write rows and ratios to this file")
    given = vars(parser.parse_args())
    systems, repeats, loss_tokens, file = (given.pop(name) for name in ("systems", "repeats", "loss_tokens", "json"))
    if file is not None and not file.parent.is_dir():
        raise UserError(f"--json: there is no folder {file.parent}")
    found = summary(training_speed(Shape(**given), systems, repeats))
    found |= loss_memory(num_tokens=loss_tokens) | loader_speed()
    if "ours" in systems:
        found["loader_share_of_step"] = found["ours_tokens_per_sec"] / found["loader_tokens_per_sec"]
    for name, value in found.items():
        print(f"{name}: {value:.3g}" if isinstance(value, float) else f"{name}: {value}")
    if file is not None:
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    exit_with_status(main)
