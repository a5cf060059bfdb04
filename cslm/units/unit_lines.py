"""Files of units that other tools write, line by line: JSON Lines, ``name|71 12 57``, or the lines of k-means (.km)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cslm.errors import UserError
from cslm.files.json_lines import open_bytes, read_json_lines

_NUMBERS = re.compile(r"\d+(?:\s+\d+)*")


def read_unit_lines(file: str, id_key: str, units_key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number from 1, record with at least the two keys, where the line has them).

    The lines of a ``.km`` have no names: they get those of the ``.tsv`` beside it, as fairseq writes both, or the name
    of the file and their number.

    Raises:
        UserError: no such file, or a line of another kind than the first.
    """
    first = _first_line(file)
    if not first:
        raise UserError(f"{file}: is empty; units are wanted, a line for each utterance")
    if first.startswith("{"):
        yield from read_json_lines(file)
        return
    names, number, is_named = _names_beside(file), 0, "|" in first
    for number, line in _lines(file):
        where = f"{file}, line {number}"
        if "|" not in line and not _NUMBERS.fullmatch(line):
            raise UserError(f"{where}: is neither a JSON object nor NAME|UNITS nor a line of units: {line[:40]!r}")
        if ("|" in line) != is_named:
            raise UserError(f"{where}: is of another kind than the first line ({first[:40]!r})")
        if is_named:
            name, _, units = line.partition("|")
            yield number, {id_key: name.strip(), units_key: units.strip()}
        else:
            if names is not None and number > len(names):
                raise UserError(f"{where}: {Path(file).with_suffix('.tsv')} names only {len(names)} files")
            name = names[number - 1] if names is not None else f"{Path(file).stem}-{number:08d}"
            yield number, {id_key: name, units_key: line}
    if names is not None and number < len(names):
        raise UserError(f"{file}: has {number} lines, {Path(file).with_suffix('.tsv')} names {len(names)} files")


def _first_line(file: str) -> str:
    return next((line for _, line in _lines(file)), "")


def _lines(file: str) -> Iterator[tuple[int, str]]:
    with open_bytes(file) as content:
        for number, line in enumerate(content, start=1):
            try:
                text = line.decode("utf-8-sig").strip()
            except UnicodeDecodeError as error:
                raise UserError(f"{file}, line {number}: is not UTF-8 text ({error.reason}); convert it") from None
            if text:
                yield number, text


def _names_beside(file: str) -> list[str] | None:
    """Ids from fairseq's list of files; the first line of it is their folder."""
    beside = str(Path(file).with_suffix(".tsv"))
    if not file.endswith(".km") or not Path(beside).is_file():
        return None
    paths = [line.split("\t")[0] for _, line in _lines(beside)][1:]
    return [str(Path(path).with_suffix("")) for path in paths]
