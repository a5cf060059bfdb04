"""A folder of audio files with a table of their texts, as a manifest; the audio stays where it is."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cslm.corpora.intake import MAX_REJECTED_SHARE, Intake
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, audio_from, write_manifest
from cslm.corpora.table_rows import BLANK, QUOTINGS, read_rows
from cslm.errors import UserError

_DELIMITERS = {".tsv": "\t", ".txt": "\t", ".csv": ","}
_ANYWHERE = "**/"


@dataclass
class TableConfig:
    """Where the audio and its texts are."""

    audio_dir: str
    """Folder of the audio files."""
    table: str
    """Table with a header line (or see columns), gzipped or not; a relative path counts from here, or else from
    audio_dir. A pattern (``**/*.trans.txt``) takes every table below audio_dir that fits."""
    language: str | None = None
    """BCP 47 language of the texts: en, zh; or name language_column."""
    path_template: str = "{id}.wav"
    """Path of a row's audio inside audio_dir; {column} stands for the row's value in a column. ``**/{id}.flac`` finds
    the file in whatever folder it is."""
    id_column: str = "id"
    """Column of the utterance ids."""
    text_column: str = "text"
    """Column of the texts."""
    speaker_column: str | None = None
    """Column of the speakers, where there is one."""
    language_column: str | None = None
    """Column of the languages."""
    start_column: str | None = None
    """Column of where an utterance begins in its file, in seconds."""
    end_column: str | None = None
    """Column of where it ends, in seconds."""
    channel_column: str | None = None
    """Column of its channel, from 0 on."""
    columns: list[str] = field(default_factory=list)
    """Names of the columns of a table without a header line: '[id, text]'."""
    delimiter: str | None = None
    """What separates columns (default: a tab in .tsv and .txt, a comma in .csv). ``blank``: whatever blanks there are,
    and the last column takes the rest of the line."""
    quoting: str = "auto"
    """``csv``: quotes around a cell are no part of it; ``none``: they are characters; ``auto``: csv between commas and
    semicolons, none elsewhere but where quotes are doubled within quotes."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share of the rows cannot be used, the command ends with status 2; the others are written."""


def prepare_table(output: Path, config: TableConfig) -> None:
    """Write ``manifest.jsonl`` with one utterance per row of the table.

    A row that cannot be used is left out and listed in ``rejected.jsonl``. One whose audio file is missing stays in,
    to be listed when the corpus is tokenized; that is said once.

    Raises:
        UserError: no such folder, table or column, an id twice, a template that finds no file at all, or no good row.
    """
    if not os.path.isdir(config.audio_dir):
        raise UserError(f"{config.audio_dir}: no such folder; --audio_dir names the one with the audio files")
    if (config.language is None) == (config.language_column is None):
        raise UserError("give either --language, for all rows, or --language_column")
    if config.quoting not in QUOTINGS:
        raise UserError(f"--quoting is one of {', '.join(QUOTINGS)}, not {config.quoting!r}")
    if config.language is not None:
        language_tag(config.language)
    intake, places = Intake("rows"), _places(config)
    utterances = [u for table in _tables(config) for u in _utterances(table, output, config, places, intake)]
    missing = [utterance for utterance in utterances if not os.path.isfile(output / utterance.audio)]
    intake.finish(output, config.table)
    if len(missing) == len(utterances):
        first = os.path.normpath(output / missing[0].audio)
        where = os.path.join(config.audio_dir, config.path_template)
        told = f"{len(utterances)} rows, but no file at {where}; the first is looked for at {first}"
        raise UserError(f"{config.table}: {told}; correct --path_template")
    if missing:
        told = f"{len(missing)} of {len(utterances)} rows have no audio file, {missing[0].id} is the first"
        print(f"{config.table}: {told}; tokenizing lists them all")
    write_manifest(utterances, output / "manifest.jsonl")


def _tables(config: TableConfig) -> list[Path]:
    path = Path(config.table)
    if path.is_file():
        return [path]
    if any(character in config.table for character in "*?"):
        found = sorted(Path(config.audio_dir).glob(config.table))
        if found:
            return found
    if not (Path(config.audio_dir) / config.table).is_file():
        raise UserError(f"{config.table}: no such table, here or in {config.audio_dir}")
    return [Path(config.audio_dir) / config.table]


def _places(config: TableConfig) -> dict[str, str]:
    """The folder of each file below audio_dir by its name, where the template asks for any folder."""
    if not config.path_template.startswith(_ANYWHERE):
        return {}
    places: dict[str, str] = {}
    for place, _, names in os.walk(config.audio_dir, followlinks=True):
        places |= {name: os.path.join(place, name) for name in names}
    return places


def _utterances(
    table: Path, output: Path, config: TableConfig, places: dict[str, str], intake: Intake
) -> Iterator[Utterance]:
    suffix = Path(table.stem).suffix if table.suffix == ".gz" else table.suffix
    delimiter = config.delimiter or _DELIMITERS.get(suffix.lower())
    if delimiter is None or (len(delimiter) != 1 and delimiter != BLANK):
        raise UserError(
            f"{table}: cannot tell what separates its columns; say it with --delimiter (one character, blank)"
        )
    rows = read_rows(table, delimiter, config.quoting, config.columns)
    header = config.columns or next(rows, (0, list[str]()))[1]
    _check_columns(header, table, config)
    for line, cells in rows:
        where = f"{table}, line {line}"
        row = dict(zip(header, cells, strict=False))
        name = row.get(config.id_column, "").strip() or f"line {line}"
        make = _wrong_length if len(cells) != len(header) else _utterance
        utterance = intake.take(functools.partial(make, row, where, output, config, places), name, "", where)
        if utterance is not None:
            yield utterance


def _wrong_length(row: dict[str, str], where: str, *_: object) -> Utterance:
    raise UserError(f"{where}: has not as many columns as the header")


def _check_columns(found: Sequence[str], path: Path, config: TableConfig) -> None:
    wanted = (config.id_column, config.text_column, config.speaker_column, config.language_column)
    for column in (*wanted, config.start_column, config.end_column, config.channel_column):
        if column is not None and column not in found:
            raise UserError(f"{path}: no column {column!r}; its header has {', '.join(found)[:200] or 'nothing'}")
        if column is not None and found.count(column) > 1:
            raise UserError(f"{path}: {found.count(column)} columns are called {column!r}; give each a name of its own")
    try:
        config.path_template.format_map(dict.fromkeys(found, "0" * 32))
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"--path_template {config.path_template}: {error} is no column of {path}") from None


def _utterance(row: dict[str, str], where: str, output: Path, config: TableConfig, places: dict[str, str]) -> Utterance:
    name, text = row[config.id_column].strip(), row[config.text_column].strip()
    if not name or not text:
        raise UserError(f"{where}: {'the id' if not name else 'the text'} is empty; complete or remove the line")
    start_sec, end_sec = _number(row, config.start_column, where), _number(row, config.end_column, where)
    if end_sec is not None and end_sec <= (start_sec or 0.0):
        raise UserError(f"{where}: goes from {start_sec or 0.0} to {end_sec} s")
    channel = _number(row, config.channel_column, where)
    if channel is not None and channel != int(channel):
        raise UserError(f"{where}: {config.channel_column} is {channel}, not a whole number")
    return Utterance(
        id=name,
        audio=audio_from(output, _audio(row, config, places)),
        text=text,
        language=config.language or row[config.language_column or ""].strip(),
        start_sec=start_sec,
        duration_sec=None if end_sec is None else end_sec - (start_sec or 0.0),
        speaker=row[config.speaker_column] if config.speaker_column is not None else None,
        channel=None if channel is None else int(channel),
    )


def _audio(row: dict[str, str], config: TableConfig, places: dict[str, str]) -> str:
    relative = config.path_template.format_map(row)
    if relative.startswith(_ANYWHERE):
        relative = relative.removeprefix(_ANYWHERE)
        return places.get(os.path.basename(relative), os.path.join(config.audio_dir, relative))
    return os.path.join(config.audio_dir, relative)


def _number(row: dict[str, str], column: str | None, where: str) -> float | None:
    """A number of a column; None where the cell is empty."""
    if column is None or not row[column].strip():
        return None
    try:
        number = float(row[column])
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: {column} is {row[column]!r}, not a number")
    return number
