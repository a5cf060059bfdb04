"""A Hugging Face data set with an audio column, from disk or the hub, as a manifest with the audio beside it.

The audio is written as it is encoded there, never decoded. From the hub it is streamed, once, with its revision.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.corpora.audio_folder import SUFFIXES
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.files.progress import progress_bar

_FILES_IN_A_FOLDER = 1000
_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3", b"\xff\xfb": ".mp3", b"FORM": ".aiff"}


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
    """Column of the audio."""
    text_column: str | None = "text"
    """Column of the texts (null: there are none)."""
    id_column: str | None = None
    """Column of the utterance ids (default: numbers)."""
    language_column: str | None = None
    """Column of the languages."""
    speaker_column: str | None = None
    """Column of the speakers."""
    max_utterances: int | None = None
    """Take no more than so many rows."""


def prepare_hugging_face(output: Path, config: HuggingFaceConfig) -> None:
    """Write ``manifest.jsonl`` and the audio of every row, as it is encoded, below ``audio/``.

    Raises:
        UserError: no such data set, split or column, no language, or a row without audio.
    """
    if (config.language is None) == (config.language_column is None):
        raise UserError("give either --language, for all rows, or --language_column")
    rows, columns = _rows(config)
    wanted = (config.audio_column, config.text_column, config.id_column, config.language_column, config.speaker_column)
    for column in wanted:
        if column is not None and columns is not None and column not in columns:
            raise UserError(f"{config.dataset}: no column {column!r}; it has {', '.join(columns)}")
    if not write_manifest(_utterances(rows, output, config), output / "manifest.jsonl"):
        raise UserError(f"{config.dataset}: the split {config.split} has no rows")


def open_data_set(dataset: str, subset: str | None, split: str, revision: str | None) -> Any:
    """A data set as a stream of rows: of ``save_to_disk``, of a folder of files, or of the hub.

    Raises:
        UserError: there is no such data set, split or network.
    """
    import datasets

    try:
        if (Path(dataset) / "dataset_dict.json").is_file():
            return datasets.load_from_disk(dataset)[split].to_iterable_dataset()
        if (Path(dataset) / "state.json").is_file():
            return datasets.load_from_disk(dataset).to_iterable_dataset()
        return datasets.load_dataset(dataset, subset, split=split, revision=revision, streaming=True)
    except (ValueError, KeyError, *hub_faults()) as error:  # type: ignore[misc]
        raise UserError(f"{dataset}, split {split}: cannot be read ({first_line(error)})") from None


def hub_faults() -> tuple[type[Exception], ...]:
    """What is raised where the hub cannot be reached or refuses: in some versions more than OSError."""
    from huggingface_hub import errors

    return (OSError, getattr(errors, "HTTPError", OSError))


def first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _rows(config: HuggingFaceConfig) -> tuple[Iterable[dict[str, Any]], list[str] | None]:
    """The rows, audio not decoded, and the names of their columns."""
    import datasets

    found = open_data_set(config.dataset, config.subset, config.split, config.revision)
    columns = found.column_names
    if columns is None or config.audio_column in columns:
        found = found.cast_column(config.audio_column, datasets.Audio(decode=False))
    return found, columns


def _utterances(rows: Iterable[dict[str, Any]], output: Path, config: HuggingFaceConfig) -> Iterator[Utterance]:
    for index, row in enumerate(progress_bar(rows, config.max_utterances, "writing audio")):
        if index == config.max_utterances:
            break
        name = str(row[config.id_column]) if config.id_column is not None else f"{index:08d}"
        speaker = row[config.speaker_column] if config.speaker_column is not None else None
        language = row[config.language_column] if config.language_column is not None else config.language
        text = row[config.text_column] if config.text_column is not None else ""
        yield Utterance(
            id=name,
            audio=_write_audio(row[config.audio_column], index, output, f"{config.dataset}, row {index}"),
            text=str(text or "").strip(),
            language=str(language),
            speaker=None if speaker is None else str(speaker),
        )


def _write_audio(audio: Any, index: int, output: Path, where: str) -> str:
    """Place of a row's audio, from the manifest's folder on."""
    if not isinstance(audio, dict) or not (audio.get("bytes") or audio.get("path")):
        raise UserError(f"{where}: holds no audio")
    content, path = audio.get("bytes"), str(audio.get("path") or "")
    if not content:
        if not os.path.isfile(path):
            raise UserError(f"{where}: its audio {path} is not there")
        return os.path.abspath(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in SUFFIXES:
        suffix = next((known for magic, known in _MAGIC.items() if content.startswith(magic)), ".audio")
    name = f"audio/{index // _FILES_IN_A_FOLDER:05d}/{index:08d}{suffix}"
    (output / name).parent.mkdir(parents=True, exist_ok=True)
    (output / name).write_bytes(content)
    return name
