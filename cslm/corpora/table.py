"""A folder of audio files with a table of their texts, as a manifest; the audio stays where it is."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError

_DELIMITERS = {".tsv": "\t", ".txt": "\t", ".csv": ","}


@dataclass
class TableConfig:
    """Where the audio and its texts are."""

    audio_dir: str
    """Folder of the audio files."""
    table: str
    """Table with a header line; a relative path counts from here, or else from audio_dir."""
    language: str
    """BCP 47 language of the texts: en, zh."""
    path_template: str = "{id}.wav"
    """Path of a row's audio inside audio_dir; {column} stands for the row's value in a column."""
    id_column: str = "id"
    """Column of the utterance ids."""
    text_column: str = "text"
    """Column of the texts."""
    speaker_column: str | None = None
    """Column of the speakers, where there is one."""
    delimiter: str | None = None
    """What separates columns (default: a tab in .tsv and .txt, a comma in .csv)."""


def prepare_table(output: Path, config: TableConfig) -> None:
    """Write ``manifest.jsonl`` with one utterance per row of the table.

    A row whose audio file is missing stays in, to be listed when the corpus is tokenized; that is said once.

    Raises:
        UserError: no such folder, table or column, a row that does not fit, or a template that finds no file at all.
    """
    if not os.path.isdir(config.audio_dir):
        raise UserError(f"{config.audio_dir}: no such folder; --audio_dir names the one with the audio files")
    seen: dict[str, int] = {}
    num_found = 0
    utterances = []
    for line, row in _rows(config):
        utterance = _utterance(row, f"{config.table}, line {line}", output, config)
        if utterance.id in seen:
            raise UserError(
                f"{config.table}, line {line}: the id {utterance.id!r} stands in line {seen[utterance.id]} too"
            )
        seen[utterance.id] = line
        num_found += os.path.isfile(output / utterance.audio)
        utterances.append(utterance)
    if not num_found:
        where = os.path.join(config.audio_dir, config.path_template)
        raise UserError(f"{config.table}: {len(utterances)} rows, but no file at {where}; correct --path_template")
    if num_found < len(utterances):
        print(f"{config.table}: {len(utterances) - num_found} of {len(utterances)} rows have no audio file")
    write_manifest(utterances, output / "manifest.jsonl")


def _rows(config: TableConfig) -> Iterator[tuple[int, dict[str, str]]]:
    path = Path(config.table)
    if not path.is_file():
        path = Path(config.audio_dir) / config.table
    if not path.is_file():
        raise UserError(f"{config.table}: no such table, here or in {config.audio_dir}")
    delimiter = config.delimiter or _DELIMITERS.get(path.suffix.lower())
    if delimiter is None:
        raise UserError(f"{path}: cannot tell what separates its columns; say it with --delimiter")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            tabs = delimiter == "\t"  # quotes are ordinary characters there
            reader = csv.DictReader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE if tabs else csv.QUOTE_MINIMAL)
            _check_columns(reader.fieldnames or [], path, config)
            for row in reader:
                if None in row or None in row.values():
                    raise UserError(f"{path}, line {reader.line_num}: has not as many columns as the header")
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from None


def _check_columns(found: Sequence[str], path: Path, config: TableConfig) -> None:
    for column in (config.id_column, config.text_column, config.speaker_column):
        if column is not None and column not in found:
            raise UserError(f"{path}: no column {column!r}; its header has {', '.join(found) or 'nothing'}")


def _utterance(row: dict[str, str], where: str, output: Path, config: TableConfig) -> Utterance:
    try:
        relative = config.path_template.format_map(row)
    except (KeyError, ValueError, IndexError) as error:
        raise UserError(f"--path_template {config.path_template}: {error} is no column of {config.table}") from None
    name, text = row[config.id_column].strip(), row[config.text_column].strip()
    if not name or not text:
        raise UserError(f"{where}: {'the id' if not name else 'the text'} is empty; complete or remove the line")
    audio = os.path.relpath(os.path.join(config.audio_dir, relative), output)
    speaker = row[config.speaker_column] if config.speaker_column is not None else None
    return Utterance(id=name, audio=audio, text=text, language=config.language, speaker=speaker)
