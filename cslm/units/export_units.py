"""``export-units``: a unit store as JSON Lines with unit strings, for tools that read those."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cslm.codecs.units import expand_repeats, unit_string
from cslm.configuration import parse_configuration
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.files.progress import progress_bar
from cslm.units.store import StoreRow, UnitStore


@dataclass
class ExportUnitsConfig:
    """A unit store as JSON Lines: ``export-units STORE --output FILE.jsonl``."""

    store: str
    """Folder of the store."""
    output: str
    """File to write."""
    repeats: str = "merged"
    """``merged`` (with durations, in frames), or ``kept``: one unit a frame."""


def export_units(config: ExportUnitsConfig) -> int:
    """Write a line for every utterance, and return their number.

    ``units`` is a unit string (``<12><7>``; further codebooks ``<1:5>``), which ``import-units`` reads again.

    Raises:
        UserError: no store, or an unknown way with repeats.
    """
    if config.repeats not in ("merged", "kept"):
        raise UserError(f"--repeats is merged or kept, not {config.repeats!r}")
    store = UnitStore.open(config.store)
    rows = progress_bar(store, len(store), "exporting")
    count = write_json_lines(_lines(rows, config.repeats == "kept"), config.output)
    print(f"{config.output}: {count} utterances", file=sys.stderr)
    return count


def _lines(rows: Iterator[StoreRow], keep_repeats: bool) -> Iterator[dict[str, Any]]:
    for row in rows:
        units = expand_repeats(row.units) if keep_repeats else row.units
        line: dict[str, Any] = {
            "id": row.id,
            "language": row.language,
            "text": row.text,
            "duration_sec": row.duration_sec,
            "speaker": row.speaker,
            "group": row.group,
            "document": row.document,
            "place": row.place,
            "units": unit_string(units.ids),
        }
        if units.durations is not None:
            line["durations"] = units.durations.tolist()
        yield {key: value for key, value in line.items() if value is not None}


def main(arguments: list[str]) -> None:
    """Command line: the store, then options."""
    export_units(parse_configuration(ExportUnitsConfig, arguments, "export-units", positionals=("store",)))
