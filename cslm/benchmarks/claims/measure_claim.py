"""Measure a claim: all arms on all seeds, from start to table, and the file of figures with its rows beside it."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from cslm.benchmarks.claims.claim import Claim
from cslm.benchmarks.claims.claims import CLAIMS, claim_of
from cslm.benchmarks.claims.figures import Figure, Rows
from cslm.benchmarks.claims.rows import Row, read_rows, write_rows
from cslm.benchmarks.claims.stages import Stages
from cslm.errors import UserError
from cslm.files.atomic_file import write_atomically
from cslm.files.written_yaml import path_of


def measure_claim(name: str, seeds: Sequence[int], output: Path, runs: Path) -> list[Figure]:
    """Measure one claim and write ``output`` and its rows; rows of other seeds that are there stay.

    Args:
        name: of the claim, a key of ``CLAIMS``.
        seeds: each draws a world of its own: words, facts, voices, what is held out, weights.
        output: JSON file of the figures; the rows come beside it as Parquet.
        runs: folder of what arms and claims share, by world and seed; killed, it goes on from there.

    Raises:
        UserError: an unknown claim, seeds twice, an output of another kind or with other seeds that were measured
            otherwise, or a stage that stopped.
    """
    claim = claim_of(name)
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise UserError(f"seeds are {list(seeds)}: give different whole numbers from 0 on")
    if output.suffix != ".json":
        raise UserError(f"output is {output}: name a .json file; the rows are written beside it")
    rows, settings = _others(name, seeds, output)
    for seed in seeds:
        stages = Stages(runs.resolve() / claim.world / f"seed{seed}", settings)
        is_drawn = any(row.arm in claim.curve_arms for row in rows)
        rows += claim.measure(stages, seed, claim.arms + (() if is_drawn else claim.curve_arms))
        print(f"{stages.folder}: stages of {sum(stages.seconds().values()) / 60:.1f} minutes in all", flush=True)
        settings |= stages.settings
        write_claim(name, claim, rows, output, settings)  # what is measured is there even if the next seed never is
    return figures_again(output)


def _others(name: str, seeds: Sequence[int], output: Path) -> tuple[list[Row], dict[str, str]]:
    """The rows of other seeds in the file, and what they were measured with.

    Raises:
        UserError: they are of another claim, or the file does not say what they were measured with.
    """
    if not output.is_file():
        return [], {}
    content = json.loads(output.read_bytes())
    others = sorted(set(content["seeds"]) - set(seeds))
    if others and (content["claim"] != name or "settings" not in content):
        raise UserError(f"{output} holds seeds {others} of {content['claim']}, measured otherwise: name another file")
    rows = [row for row in read_rows(output.with_suffix(".parquet")) if row.seed in others] if others else []
    return rows, content["settings"] if others else {}


def write_claim(name: str, claim: Claim, rows: Sequence[Row], output: Path, settings: dict[str, str]) -> None:
    """Write the rows, the figures that they give, and the hash of each file of settings."""
    write_rows(rows, output.with_suffix(".parquet"))
    kept = read_rows(output.with_suffix(".parquet"))  # in the precision of the file: anyone gets these figures again
    content = {
        "claim": name,
        "sentence": claim.sentence,
        "arms": [*claim.arms, *claim.curve_arms],
        "seeds": sorted({row.seed for row in kept}),
        "settings": dict(sorted(settings.items())),
        "figures": [_plain(figure) for figure in claim.figures(Rows(kept))],
    }
    write_atomically(output, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def figures_again(path: Path) -> list[Figure]:
    """The figures of a file, computed again from the rows beside it.

    Raises:
        UserError: there are no rows, or no such claim.
    """
    content = json.loads(path.read_bytes())
    return claim_of(content["claim"]).figures(Rows(read_rows(path.with_suffix(".parquet"))))


def table_of(figures: Iterable[Figure]) -> Table:
    """Figures for a reader."""
    table = Table("figure", "value", "95 %", "bar", "met")
    for figure in figures:
        ends = "" if figure.interval is None else f"{figure.interval[0]:.3f} .. {figure.interval[1]:.3f}"
        met = {None: "", True: "yes", False: "NO"}[figure.met]
        table.add_row(figure.name, f"{figure.value:.3f}", ends, figure.bar, met)
    return table


def main(arguments: list[str]) -> None:
    """``claims.py --claim NAME [--seeds 0 1 2] --output FILE.json [--runs FOLDER]``."""
    parser = argparse.ArgumentParser(prog="claims.py", description=__doc__)
    parser.add_argument("--claim", required=True, metavar="NAME", help=", ".join(CLAIMS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="worlds to measure it in (default: 0)")
    parser.add_argument("--output", type=path_of, required=True, help="JSON file of the figures, the rows beside it")
    parser.add_argument("--runs", type=path_of, default=Path("runs/claims"), help="what arms and claims share")
    given = parser.parse_args(arguments)
    Console().print(table_of(measure_claim(given.claim, given.seeds, given.output, given.runs)))


def _plain(figure: Figure) -> dict[str, Any]:
    """What JSON can hold: null for a share of nothing, and for what is never reached."""
    ends = None if figure.interval is None else [round(end, 6) for end in figure.interval]
    return {
        "name": figure.name,
        "value": round(figure.value, 6) if math.isfinite(figure.value) else None,
        "interval": ends,
        "bar": figure.bar,
        "met": figure.met,
    }
