"""How well the loop uses a device, with a profile: ``python tools/bench_mfu.py [--json FILE]``, or ``deepspeed`` it."""

from __future__ import annotations

import argparse
import json

from cslm.benchmarks.model_speed import SpeedTrial, model_speed, profile_table
from cslm.errors import UserError, exit_with_status
from cslm.files.written_yaml import path_of


def main() -> None:
    """Train for some steps and print; what is measured is explained in ``cslm/benchmarks/model_speed.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in vars(SpeedTrial()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--json", type=path_of, help="write figures and profile to this file")
    parser.add_argument("--local_rank", type=int, help=argparse.SUPPRESS)
    given = vars(parser.parse_args())
    file = given.pop("json")
    del given["local_rank"]
    if file is not None and not file.parent.is_dir():
        raise UserError(f"--json: there is no folder {file.parent}")
    found = model_speed(SpeedTrial(**given))
    if found.pop("rank") > 0:
        return
    print(profile_table(found))
    if file is not None:
        file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    exit_with_status(main)
