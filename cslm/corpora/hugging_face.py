"""A Hugging Face data set with an audio column, from disk or the hub, as a manifest with the audio beside it.

The audio is written as it is encoded there, never decoded. From the hub it is streamed, once, with its revision.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.corpora.cells import text_of
from cslm.corpora.intake import MAX_REJECTED_SHARE, Intake
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.corpora.word_times import Word
from cslm.corpora.written_audio import write_audio
from cslm.errors import UserError, first_line
from cslm.files.progress import progress_bar


@dataclass
class HuggingFaceConfig:
    """Which data set, and what its columns are."""

    dataset: str
    """A hub id, or a folder (of ``save_to_disk``, or of files that ``load_dataset`` reads)."""
    split: str = "train"
    """Split of it."""
    subset: str | None = None
    """Configuration of it, where it has several."""
    revision: str | None = None
    """Branch, tag or commit on the hub."""
    language: str | None = None
    """BCP 47 language of all rows; or name language_column."""
    audio_column: str = "audio"
    """Column of the audio. In this and the others a dot goes into a column (json.text)."""
    text_column: str | None = "text"
    """Column of the texts (null: there are none)."""
    id_column: str | None = None
    """Column of the utterance ids (default: numbers)."""
    language_column: str | None = None
    """Column of the languages."""
    speaker_column: str | None = None
    """Column of the speakers."""
    group_column: str | None = None
    """Column of the groups: rows of one say the same thing in different languages."""
    document_column: str | None = None
    """Column of the story that a row belongs to."""
    place_column: str | None = None
    """Column of its place in that story, from 0 on."""
    duration_sec_column: str | None = None
    """Column of how long a row is, in seconds from the beginning of its audio."""
    words_column: str | None = None
    """Column of the words: lists of word, start_sec and end_sec, by position or by these names."""
    max_utterances: int | None = None
    """Take no more than so many rows."""
    sample_rate_hz: int | None = None
    """Rate of audio that is numbers without a rate."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share cannot be used, the command ends with status 2; the others are written."""


def prepare_hugging_face(output: Path, config: HuggingFaceConfig) -> None:
    """Write ``manifest.jsonl`` and the audio of every row, as it is encoded, below ``audio/``.

    Rows that cannot be used are listed in ``rejected.jsonl``.

    Raises:
        UserError: no such data set, split or column, no language, an id twice, or not one row that can be used.
    """
    if (config.language is None) == (config.language_column is None):
        raise UserError("give either --language, for all rows, or --language_column")
    if config.language is not None:
        language_tag(config.language)
    rows = open_data_set(config.dataset, config.subset, config.split, config.revision)
    columns = rows.column_names
    for column in (value for name, value in vars(config).items() if name.endswith("_column")):
        if column is not None and columns is not None and not {column, column.split(".")[0]} & set(columns):
            raise UserError(f"{config.dataset}: no column {column!r}; it has {', '.join(columns)}")
    intake = Intake("rows")
    write_manifest(_utterances(rows, output, config, intake), output / "manifest.jsonl")
    if not intake.num_taken and not intake.rejected:
        raise UserError(f"{config.dataset}: the split {config.split} has no rows")
    intake.finish(output, config.dataset)


def open_data_set(dataset: str, subset: str | None, split: str, revision: str | None) -> Any:
    """A data set as a stream of rows: of ``save_to_disk``, of a folder of files, or of the hub.

    Raises:
        UserError: there is no such data set, split or network.
    """
    import datasets

    from cslm.corpora.undecoded_audio import undecoded

    try:
        if (Path(dataset) / "dataset_dict.json").is_file():
            rows = datasets.load_from_disk(dataset)[split].to_iterable_dataset()
        elif (Path(dataset) / "state.json").is_file():
            rows = datasets.load_from_disk(dataset).to_iterable_dataset()
        else:
            rows = datasets.load_dataset(dataset, subset, split=split, revision=revision, streaming=True)
        return undecoded(rows)
    except (ValueError, KeyError, *hub_faults()) as error:  # type: ignore[misc]
        raise UserError(f"{dataset}, split {split}: cannot be read ({first_line(error)})") from None


def hub_faults() -> tuple[type[Exception], ...]:
    """What is raised where the hub cannot be reached or refuses: in some versions more than OSError."""
    from huggingface_hub import errors

    return (OSError, getattr(errors, "HTTPError", OSError))


def cell_of(row: dict[str, Any], column: str) -> Any:
    """The value of a column, or of a key inside it (``json.text``)."""
    value: Any = row
    for key in column.split(".") if column not in row else [column]:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _utterances(
    rows: Iterable[dict[str, Any]], output: Path, config: HuggingFaceConfig, intake: Intake
) -> Iterator[Utterance]:
    for index, row in enumerate(progress_bar(rows, config.max_utterances, "writing audio")):
        if index == config.max_utterances:
            break
        where = f"{config.dataset}, row {index}"
        name = f"{index:08d}" if config.id_column is None else str(cell_of(row, config.id_column))
        make = functools.partial(_utterance, row, name, index, output, config)
        utterance = intake.take(make, name, "", where)
        if utterance is not None:
            yield utterance


def _utterance(row: dict[str, Any], name: str, index: int, output: Path, config: HuggingFaceConfig) -> Utterance:
    where = f"{config.dataset}, row {index}"
    language = cell_of(row, config.language_column) if config.language_column is not None else config.language
    text = cell_of(row, config.text_column) if config.text_column is not None else None
    if config.id_column is not None:
        name = text_of(cell_of(row, config.id_column), config.id_column, where)
    said = "" if text is None else text_of(text, "text", where)
    tag = language_tag(text_of(language, "language", where))
    place, duration_sec = _number(row, config.place_column, where), _number(row, config.duration_sec_column, where)
    if place is not None and place != int(place):
        raise UserError(f"{where}: its place is {place}, not a whole number")
    return Utterance(
        id=name,
        audio=write_audio(cell_of(row, config.audio_column), index, output, where, config.sample_rate_hz),
        text=said,
        language=tag,
        speaker=_named(row, config.speaker_column, "speaker", where),
        group=_named(row, config.group_column, "group", where),
        document=_named(row, config.document_column, "document", where),
        place=None if place is None else int(place),
        duration_sec=duration_sec,
        words=_words(row, config.words_column, where),
    )


def _named(row: dict[str, Any], column: str | None, name: str, where: str) -> str | None:
    """The text of an optional column; None where there is no column, or null in it."""
    value = cell_of(row, column) if column is not None else None
    return None if value is None else text_of(value, name, where)


def _number(row: dict[str, Any], column: str | None, where: str) -> float | None:
    value = cell_of(row, column) if column is not None else None
    if value is not None and (
        isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf
    ):
        raise UserError(f"{where}: its {column} is {str(value)[:40]!r}, not a number from 0 on")
    return value


def _words(row: dict[str, Any], column: str | None, where: str) -> list[Word] | None:
    """The words of a row, as its data set has them."""
    value = cell_of(row, column) if column is not None else None
    if value is not None and not isinstance(value, list):
        raise UserError(f"{where}: {column} is no list of word, start_sec, end_sec")
    return None if value is None else [_word(entry, f"{where}: {column}") for entry in value]


def _word(entry: Any, where: str) -> Word:
    parts = [entry.get(name) for name in ("word", "start_sec", "end_sec")] if isinstance(entry, dict) else entry
    match parts:
        case [str() as word, float() | int() as start_sec, float() | int() as end_sec]:
            return word, float(start_sec), float(end_sec)
    raise UserError(f"{where} holds {str(entry)[:60]}: word, start_sec and end_sec are wanted")
