"""Texts of stories: TinyStories' layout, JSON Lines, Parquet, or a data set of the Hub."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cslm.corpora.hugging_face_text import HuggingFaceTextConfig, prepare_hugging_face_text
from cslm.corpora.table_rows import open_text
from cslm.errors import UserError, first_line
from cslm.files.json_lines import read_json_lines

END_OF_TEXT = "<|endoftext|>"
"""What stands between the stories of a file of TinyStories."""
_SUFFIXES = (".txt", ".txt.gz", ".jsonl", ".jsonl.gz", ".parquet")


@dataclass
class StoryTextsConfig:
    """Where texts come from."""

    path: str
    """A file or a folder of files, or a data set of the Hub (roneneldan/TinyStories). Files are .txt, a story each or
    with <|endoftext|> between stories; .jsonl; .parquet; text files gzipped or not."""
    column: str = "text"
    """Column or key of the texts, in JSON Lines, Parquet and data sets."""
    split: str = "train"
    """Split of a data set."""
    subset: str | None = None
    """Configuration of a data set, where it has several."""
    revision: str | None = None
    """Branch, tag or commit of a data set."""
    max_stories: int | None = None
    """Read no more than so many."""
    num_shards: int = 1
    """Machines that share the work; each makes a corpus of its own."""
    shard: int = 0
    """Which of them this is, from 0 on: story i is made where i modulo num_shards is shard."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        if self.max_stories is not None and self.max_stories < 1:
            raise UserError(f"texts.max_stories is {self.max_stories}: it must be at least 1")
        if not 0 <= self.shard < self.num_shards:
            raise UserError(f"texts.shard is {self.shard}: it must be from 0 to num_shards - 1 ({self.num_shards - 1})")


def story_texts(config: StoryTextsConfig, language: str, folder: Path) -> Iterator[tuple[int, str]]:
    """Number and text of each story, in order; a text may be empty.

    Args:
        config: where they come from.
        language: of the texts.
        folder: a data set of the Hub is written there first, with its commit; a run that was killed goes on with it.

    Raises:
        UserError: there is no such file, folder or data set, no such column, or no text in it.
    """
    files = story_files(config, language, folder)
    texts = (
        text for file in files for text in _texts_of(file, config.column if Path(config.path).exists() else "text")
    )
    for number, text in enumerate(texts):
        if number == config.max_stories:
            return
        if number % config.num_shards == config.shard:
            yield number, text


def story_files(config: StoryTextsConfig, language: str, folder: Path) -> list[Path]:
    """The files that hold the texts; those of a data set of the Hub are made now.

    Raises:
        UserError: there is no such file, folder or data set, or no file of texts in the folder.
    """
    path = Path(config.path)
    if path.is_file():
        return [path]
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file() and file.name.endswith(_SUFFIXES))
        if not files:
            raise UserError(f"{path}: no file of texts in it ({', '.join(_SUFFIXES)})")
        return files
    if not (folder / "header.json").is_file():
        wanted = HuggingFaceTextConfig(
            config.path,
            config.split,
            config.subset,
            config.revision,
            columns={"text": config.column},
            values={"language": language},
            max_documents=config.max_stories,
        )
        prepare_hugging_face_text(folder, wanted)
    return sorted(folder.glob("documents-*.jsonl"))


def texts_origin(config: StoryTextsConfig, folder: Path) -> dict[str, Any]:
    """What a card says of the texts: of a data set its name and commit, of files their name and no path."""
    if (folder / "header.json").is_file():
        ((_, header),) = read_json_lines(folder / "header.json")
        return {name: header[name] for name in ("dataset", "subset", "split", "revision")}
    return {"name": Path(config.path).resolve().name}


def _texts_of(file: Path, column: str) -> Iterator[str]:
    if file.name.endswith((".txt", ".txt.gz")):
        yield from _of_text_file(file)
    elif file.suffix == ".parquet":
        yield from _of_parquet(file, column)
    else:
        for number, record in read_json_lines(file):
            if column not in record:
                raise UserError(
                    f"{file}, line {number}: has no key {column!r}: name that of the texts in --texts.column"
                )
            yield _text(record[column])


def _of_text_file(file: Path) -> Iterator[str]:
    """The stories of a file; one read at a time, for files are of gigabytes."""
    lines: list[str] = []
    try:
        with open_text(file) as opened:
            for line in opened:
                *ended, rest = line.split(END_OF_TEXT)
                for part in ended:
                    yield "".join([*lines, part]).strip()
                    lines = []
                lines.append(rest)
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from None
    last = "".join(lines).strip()
    if last:
        yield last


def _of_parquet(file: Path, column: str) -> Iterator[str]:
    try:
        with pq.ParquetFile(file) as table:
            if column not in table.schema_arrow.names:
                found = ", ".join(table.schema_arrow.names)
                raise UserError(f"{file}: no column {column!r}; it has {found}: name it in --texts.column")
            for batch in table.iter_batches(columns=[column]):
                yield from map(_text, batch.column(0).to_pylist())
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"{file}: cannot be read as Parquet ({first_line(error)})") from None


def _text(value: Any) -> str:
    """A text; what is none is an empty one, which becomes no story and is listed."""
    return value if isinstance(value, str) else ""
