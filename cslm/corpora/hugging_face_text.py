"""The texts of a Hugging Face data set as local shards of documents, streamed once, with their revision.

Training never reads a stream: its order is a pure function of seed and position, so it needs documents that stay.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cslm.corpora.hugging_face import cell_of, hub_faults, open_data_set
from cslm.corpora.languages import language_tag
from cslm.corpora.text_documents import (
    TEXT_FIELDS,
    Progress,
    as_document,
    language_fields,
    read_progress,
    sha256_of,
    write_shards,
)
from cslm.errors import UserError, first_line
from cslm.files.progress import progress_bar

BYTES_OF_A_MB = 1_000_000


@dataclass
class HuggingFaceTextConfig:
    """Which data set, what its rows become, and which column is which field."""

    dataset: str
    """A hub id, or a folder (of ``save_to_disk``, or of files that ``load_dataset`` reads)."""
    split: str = "train"
    """Split of it."""
    subset: str | None = None
    """Configuration of it, where it has several."""
    revision: str | None = None
    """Branch, tag or commit on the hub; the commit that it stands for is read and noted."""
    task: str = "text"
    """What documents to write: text (language, text), instruction (language, messages), translation (source_language,
    target_language, source, target), text_dialogue (question_language, answer_language, question_text, answer_text)."""
    columns: dict[str, str] = field(default_factory=dict)
    """Field to the column that it comes from; a dot goes into a column (translation.en). Default: of the same name."""
    values: dict[str, str] = field(default_factory=dict)
    """Field to the text that all rows have in it, such as {language: en}."""
    shard_mb: int = 256
    """A shard ends with the document that fills so many megabytes."""
    max_documents: int | None = None
    """Write no more than so many documents."""


def prepare_hugging_face_text(output: Path, config: HuggingFaceTextConfig) -> None:
    """Write ``documents-00000.jsonl``, ... and ``header.json``; an interrupted run in ``output`` goes on.

    The header says data set, subset, split, the commit on the hub (of a folder: a hash of its files), rows, documents,
    what was dropped by reason, and name, size and sha256 of each shard.

    Raises:
        UserError: an unknown task or field, no such data set, split or column, no network, or no document.
    """
    _check(config)
    progress = _start(output, config)
    rows = open_data_set(config.dataset, config.subset, config.split, progress.origin["revision"])
    columns = {name: config.columns.get(name, name) for name in TEXT_FIELDS[config.task] if name not in config.values}
    for name, column in columns.items():
        if rows.column_names is not None and column.split(".")[0] not in rows.column_names:
            raise UserError(
                f"{config.dataset}: no column {column!r} for the field {name} (it has {', '.join(rows.column_names)}): "
                "name it in columns, or give the text in values"
            )
    if progress.place is not None:
        rows.load_state_dict(progress.place)
    documents = _documents(progress_bar(rows, None, "writing documents"), config, columns, progress.num_documents)
    header = write_shards(documents, output, progress, config.shard_mb * BYTES_OF_A_MB, rows.state_dict)
    for reason, count in header["dropped"].items():
        print(f"dropped, {reason}: {count:,} of {header['rows']:,} rows", flush=True)
    if not header["documents"]:
        raise UserError(f"{config.dataset}, split {config.split}: none of {header['rows']:,} rows became a document")


def _documents(
    rows: Iterator[dict[str, Any]], config: HuggingFaceTextConfig, columns: dict[str, str], num_before: int
) -> Iterator[dict[str, Any] | str]:
    """The document of each row, or why it has none, until there are enough."""
    num_documents = num_before
    while num_documents != config.max_documents and (row := next(rows, None)) is not None:
        values = {name: cell_of(row, column) for name, column in columns.items()}
        document = as_document(config.task, {**config.values, **values})
        num_documents += not isinstance(document, str)
        yield document


def _check(config: HuggingFaceTextConfig) -> None:
    if config.task not in TEXT_FIELDS:
        raise UserError(f"task is {config.task!r}: choose one of {', '.join(TEXT_FIELDS)}")
    known = TEXT_FIELDS[config.task]
    for option, given in (("columns", config.columns), ("values", config.values)):
        for name in given:
            if name not in known:
                raise UserError(f"{option}: the task {config.task} has no field {name!r}; it has {', '.join(known)}")
    for name in sorted(config.values):
        if name.endswith("language"):
            language_tag(config.values[name])
    both = sorted(config.columns.keys() & config.values.keys())
    if both:
        raise UserError(f"the field {both[0]} stands in columns and in values: give one of them")
    unsaid = [n for n in language_fields(known) if not config.values.get(n) and n not in config.columns]
    if unsaid:
        raise UserError(f"no language: give --values.{unsaid[0]} en (BCP 47), or its column --columns.{unsaid[0]}")
    for name in language_fields(tuple(config.values)):
        language_tag(config.values[name])
    if config.shard_mb < 1 or (config.max_documents is not None and config.max_documents < 1):
        raise UserError("shard_mb and max_documents must be at least 1")


def _start(output: Path, config: HuggingFaceTextConfig) -> Progress:
    """Where to go on: behind the last whole shard in ``output``, of the same commit; or at the first row."""
    progress = read_progress(output)
    if progress is None:
        return Progress(_origin(config))
    if progress.origin["revision"] is None and progress.origin != _origin(config):
        raise UserError(f"{config.dataset} has changed since the run that {output} goes on from: remove that folder")
    return progress


def _origin(config: HuggingFaceTextConfig) -> dict[str, Any]:
    """What the header says of the data set: on the hub the commit, of a folder a hash of its files and no path."""
    folder = Path(config.dataset)
    name = folder.resolve().name if folder.is_dir() else config.dataset
    origin = {"dataset": name, "subset": config.subset, "split": config.split, "task": config.task}
    if folder.is_dir():
        return {**origin, "revision": None, "content": hash_of_files(folder)}
    return {**origin, "revision": commit_of(config.dataset, config.revision), "content": None}


def commit_of(name: str, revision: str | None) -> str:
    """The commit that a branch or a tag of a data set of the Hub stands for now.

    Raises:
        UserError: there is no such data set or revision, or no network.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    try:
        found = HfApi().dataset_info(name, revision=revision).sha
    except HFValidationError:
        raise UserError(f"{name}: there is no such folder, and it is no name of a data set on the Hub") from None
    except hub_faults() as error:
        raise UserError(f"the data set {name} cannot be read from the Hub: {first_line(error)}") from None
    assert found is not None
    return found


def hash_of_files(folder: Path) -> str:
    """``sha256:`` of names and contents of all files below, but for hidden ones."""
    digest = hashlib.sha256()
    for path in sorted(_visible_files(folder), key=lambda path: path.relative_to(folder).as_posix()):
        digest.update(f"{path.relative_to(folder).as_posix()}\n{sha256_of(path)}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def _visible_files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path
