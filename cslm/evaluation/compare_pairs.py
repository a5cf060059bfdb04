"""Compare two checkpoints on the same pairs: ``cslm compare-pairs A/pairs.jsonl B/pairs.jsonl``.

With several seeds: the files of the first checkpoint's seeds, then those of the second's in the same order.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.evaluation.pair_rows import Measure, measures_of, won
from cslm.evaluation.paired_tests import NUM_RESAMPLES, document_clusters, mcnemar_exact, paired_difference
from cslm.evaluation.score_contract import Record
from cslm.files.atomic_file import write_atomically
from cslm.files.json_lines import read_json_lines
from cslm.ranges import Range, check_numbers

Key = tuple[str, str, str]
"""Set, kind and direction."""
Rows = dict[str, Record]
"""Rows of one file, set, kind and direction by the id of the pair."""
_NAMED = 5


@dataclass
class ComparePairsConfig:
    """Two checkpoints on the same pairs."""

    rows: list[str]
    """pairs.jsonl of the first checkpoint and of the second; with several seeds those of the first, then those of the
    second in the same order"""
    output: str | None = None
    """JSON file to write; null only prints it"""
    num_resamples: int = NUM_RESAMPLES
    """how often documents are resampled within seeds"""
    seed: int = 0
    """for the bootstrap"""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: an odd number of files, or a number out of range.
        """
        check_numbers(self, "", num_resamples=Range(least=100))
        if not self.rows or len(self.rows) % 2:
            found = ", ".join(self.rows) or "none"
            raise UserError(f"compare-pairs takes as many files of the second checkpoint as of the first, not {found}")


def compare_pairs(config: ComparePairsConfig) -> dict[str, Any]:
    """How much more often the first is right than the second, by set, kind, direction and measure.

    Each is ``first``, ``second``, ``difference``, its 95 % bootstrap interval (whole documents are drawn, within
    seeds), ``by_seed`` and whether their signs agree, and the p of McNemar's exact test, which takes pairs for
    independent.

    Raises:
        UserError: files that cannot be read, or are not of the same pairs.
    """
    pooled: dict[Key, list[tuple[int, Record, Record]]] = {}
    half = len(config.rows) // 2
    for seed, (first, second) in enumerate(zip(config.rows[:half], config.rows[half:], strict=True)):
        ours, theirs = _rows(Path(first)), _rows(Path(second))
        _check_same(ours, theirs, first, second)
        for key, rows in ours.items():
            pooled.setdefault(key, []).extend((seed, row, theirs[key][name]) for name, row in rows.items())
    found: dict[str, Any] = {}
    for (name, kind, direction), triples in pooled.items():
        found.setdefault(name, {}).setdefault(kind, {})[direction] = _compared(triples, config)
    if config.output is not None:
        text = json.dumps(found, indent=2, ensure_ascii=False)
        write_atomically(Path(config.output), f"{text}\n".encode())
    return found


def _compared(rows: Sequence[tuple[int, Record, Record]], config: ComparePairsConfig) -> Record:
    seeds = [seed for seed, _, _ in rows]
    ours, theirs = [row for _, row, _ in rows], [row for _, _, row in rows]
    clusters = document_clusters(ours, "id")
    compared: Record = {
        name: _difference(measure, ours, theirs, clusters, seeds, config)
        for name, measure in measures_of([*ours, *theirs]).items()
    }
    return {**compared, "n": len(rows)}


def _difference(
    measure: Measure,
    ours: Sequence[Record],
    theirs: Sequence[Record],
    clusters: Sequence[Hashable] | None,
    seeds: Sequence[int],
    config: ComparePairsConfig,
) -> Record:
    first, second = ([won(row, measure) for row in rows] for rows in (ours, theirs))
    generator = np.random.default_rng(config.seed)
    interval = paired_difference(first, second, clusters, seeds, config.num_resamples, generator)
    return {
        "first": round(float(np.mean(first)), 5),
        "second": round(float(np.mean(second)), 5),
        "difference": round(interval.value, 5),
        "difference_interval": [round(interval.low, 5), round(interval.high, 5)],
        "by_seed": [round(value, 5) for value in interval.by_stratum.values()],
        "signs_agree": interval.signs_agree,
        "mcnemar_p": float(f"{mcnemar_exact(first, second):.4g}"),
    }


def _rows(path: Path) -> dict[Key, Rows]:
    """The rows of a file by set, kind and direction.

    Raises:
        UserError: a line that is no row of ``score``, or none at all.
    """
    found: dict[Key, Rows] = {}
    for number, row in read_json_lines(path):
        missing = [name for name in ("set", "id", "kind", "direction", "document", "whole") if name not in row]
        if missing:
            raise UserError(f"{path}, line {number}: misses {missing[0]!r}: give a pairs.jsonl that score wrote")
        found.setdefault((row["set"], row["kind"], row["direction"]), {})[row["id"]] = row
    if not found:
        raise UserError(f"{path} holds no pair: score the checkpoint again")
    return found


def _check_same(ours: Mapping[Key, Rows], theirs: Mapping[Key, Rows], first: str, second: str) -> None:
    """Both files are of the same pairs.

    Raises:
        UserError: one has pairs that the other lacks.
    """
    names = [{(*key, name) for key, rows in one.items() for name in rows} for one in (ours, theirs)]
    apart = sorted(names[0] ^ names[1])
    if apart:
        some = "; ".join(", ".join(parts) for parts in apart[:_NAMED])
        raise UserError(
            f"{first} and {second} differ in {len(apart)} pairs ({some}): score both checkpoints on the same pairs"
        )


def main(arguments: list[str]) -> None:
    """Parse, compare, and print the result."""
    found = compare_pairs(parse_configuration(ComparePairsConfig, arguments, "compare-pairs", ("rows",)))
    print(json.dumps(found, indent=2, ensure_ascii=False))
