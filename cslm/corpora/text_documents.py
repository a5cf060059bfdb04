"""Documents of text as local shards: JSON Lines files of bounded size, with one header, that training reads in order.

A shard is written under another name and renamed, then the progress is; so after a kill the same command goes on behind
the last whole shard, and the shards that come out are byte for byte those of a run that nobody disturbed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cslm.corpora.languages import language_tag
from cslm.corpora.messages import plain_messages
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines

HEADER = "header.json"
PROGRESS = ".progress.json"
_HALF = re.compile("[\ud800-\udfff]")

TEXT_FIELDS: dict[str, tuple[str, ...]] = {
    "text": ("language", "text"),
    "instruction": ("language", "messages"),
    "translation": ("source_language", "target_language", "source", "target"),
    "text_dialogue": ("question_language", "answer_language", "question_text", "answer_text"),
}
"""Kind of documents to their fields: texts, but for ``messages``. The tasks that read them are named alike
(``cslm.sequences.tasks``)."""


def language_fields(fields: tuple[str, ...]) -> tuple[str, ...]:
    """Those fields of documents that hold a language."""
    return tuple(name for name in fields if name.endswith("language"))


def as_document(task: str, values: dict[str, Any]) -> dict[str, Any] | str:
    """The document of a task from values by field; or, where it cannot be one, the reason in a few words.

    ``messages`` may be ``{"role": ..., "content": ...}`` or ``{"from": ..., "value": ...}``.
    """
    document: dict[str, Any] = {}
    for name in TEXT_FIELDS[task]:
        value = values.get(name)
        if name == "messages":
            value = plain_messages(value)
            if isinstance(value, str):
                return value
            if not all(message["content"].strip() for message in value):
                return "an empty message"
        elif not isinstance(value, str):
            return f"{name} is missing" if value is None else f"{name} is no text"
        elif not value.strip():
            return f"{name} is empty"
        elif name.endswith("language"):
            try:
                value = language_tag(value)
            except UserError:
                return f"{name} is no language tag"
        document[name] = value
    return document


def half_of_a_character(value: Any) -> str | None:
    """The first half of a Unicode character in a value (no text can be written with it), as JSON escapes it."""
    if isinstance(value, str):
        found = _HALF.search(value)
        return None if found is None else f"\\u{ord(found[0]):04x}"
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return next((half for half in map(half_of_a_character, parts) if half is not None), None)


@dataclass
class Progress:
    """What is finished: whole shards, and the rows that went into them or were dropped on the way."""

    origin: dict[str, Any]
    """where the rows come from; it does not change while they are read"""
    num_rows: int = 0
    """rows read of the source"""
    dropped: Counter[str] = field(default_factory=Counter)
    """rows that became no document, by reason"""
    shards: list[dict[str, Any]] = field(default_factory=list)
    """name, documents, bytes and sha256 of each"""
    place: dict[str, Any] | None = None
    """state of the reader behind the last of these rows"""

    @property
    def num_documents(self) -> int:
        """Documents in all shards."""
        return sum(int(shard["documents"]) for shard in self.shards)


def write_shards(
    rows: Iterator[dict[str, Any] | str],
    folder: Path,
    progress: Progress,
    shard_bytes: int,
    place: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Write what is left of ``rows`` behind ``progress``, then the header, which is returned.

    Args:
        rows: of each row its document, or the reason why it has none.
        shard_bytes: a shard ends with the document that fills so many.
        place: state of the reader behind the row that it gave last.
    """
    for left_over in folder.glob(".*.tmp"):
        left_over.unlink()
    while not (shard := _Shard(rows, shard_bytes)).is_empty():
        path = folder / f"documents-{len(progress.shards):05d}.jsonl"
        count = write_json_lines(shard.documents(), path)
        _add_rows(progress, shard)
        facts = {"name": path.name, "documents": count, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        progress.shards.append(facts)
        progress.place = place()
        write_json_lines([vars(progress)], folder / PROGRESS)
    _add_rows(progress, shard)
    counts = {"rows": progress.num_rows, "documents": progress.num_documents}
    dropped = dict(sorted(progress.dropped.items()))
    header = {**progress.origin, **counts, "dropped": dropped, "shards": progress.shards}
    write_json_lines([header], folder / HEADER)
    (folder / PROGRESS).unlink(missing_ok=True)
    return header


class _Shard:
    """The next documents of ``rows``, up to the one that fills ``shard_bytes``; counts the rows that they took."""

    def __init__(self, rows: Iterator[dict[str, Any] | str], shard_bytes: int) -> None:
        self.num_rows, self.dropped = 0, Counter[str]()
        self._rows, self._left = rows, shard_bytes
        self._first = self._next()

    def is_empty(self) -> bool:
        """Whether there was no document left."""
        return self._first is None

    def documents(self) -> Iterator[dict[str, Any]]:
        """The documents, once."""
        document = self._first
        while document is not None:
            yield document
            document = self._next() if self._left > 0 else None

    def _next(self) -> dict[str, Any] | None:
        for document in self._rows:
            self.num_rows += 1
            if isinstance(document, str):
                self.dropped[document] += 1
                continue
            if half_of_a_character(document) is not None:
                self.dropped["half of a Unicode character"] += 1
                continue
            self._left -= len(json.dumps(document, ensure_ascii=False).encode("utf-8")) + 1
            return document
        return None


def _add_rows(progress: Progress, shard: _Shard) -> None:
    progress.num_rows += shard.num_rows
    progress.dropped += shard.dropped


def sha256_of(path: Path) -> str:
    """Hash of a file's content, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_progress(folder: Path) -> Progress | None:
    """What an interrupted run in ``folder`` has finished; None where there was none."""
    path = folder / PROGRESS
    if not path.is_file():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    return Progress(**{**values, "dropped": Counter(values["dropped"])})
