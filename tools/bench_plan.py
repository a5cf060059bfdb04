"""How far ``plan`` is from short runs on CPUs, in memory and on disk: ``python tools/bench_plan.py [--json FILE]``."""

from __future__ import annotations

import argparse
import json

from cslm.benchmarks.measured_run import MeasuredShape
from cslm.benchmarks.planned_and_measured import planned_and_measured, table
from cslm.errors import UserError, exit_with_status
from cslm.files.written_yaml import path_of


def main() -> None:
    """Measure and print; what is compared is explained in ``cslm/benchmarks/planned_and_measured.py``."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in vars(MeasuredShape()).items():
        parser.add_argument(f"--{name}", type=type(default), default=default)
    parser.add_argument("--stages", nargs="+", type=int, choices=(0, 1, 2, 3), default=[0, 1, 2, 3], help="of ZeRO")
    parser.add_argument("--processes", nargs="+", type=int, default=[1, 2], help="processes of a run")
    parser.add_argument("--json", type=path_of, help="write the rows to this file")
    given = vars(parser.parse_args())
    stages, processes, file = (given.pop(name) for name in ("stages", "processes", "json"))
    if file is not None and not file.parent.is_dir():
        raise UserError(f"--json: there is no folder {file.parent}")
    rows = planned_and_measured(MeasuredShape(**given), stages, processes)
    print(table(rows))
    if file is not None:
        file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    exit_with_status(main)
