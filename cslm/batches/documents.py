"""JSON Lines read at random: the places of the lines are known, their contents stay on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cslm.batches.parts import document_name
from cslm.corpora.languages import language_tag
from cslm.corpora.messages import plain_messages, said_messages
from cslm.corpora.text_documents import HEADER, half_of_a_character
from cslm.errors import UserError
from cslm.files.gzip_files import unpacked_gzip
from cslm.sequences.spoken_turns import TURNS, check_turns

_IDS = ("question", "answer")  # of a unit store
_MOST_OPEN = 64
_MOST_NAMED = 5
_MOST_BAD = 1000  # then no further line is looked at


class Found(NamedTuple):
    """A document that was read through."""

    offset: int
    """its place"""
    name: str
    """what it is called, which hangs on all that its line says"""
    document: dict[str, Any]
    """what it says"""


class JsonLines:
    """Documents, one JSON object a line, each with the same text fields (``messages`` is a list).

    They are those of one file, or of all ``*.jsonl`` of a folder in the order of their names, as if they were one file;
    ``*.jsonl.gz`` are unpacked first. Languages are read as tags, messages as ``role`` and ``content``, whether the
    file has them in ``messages`` or, as ShareGPT, in ``conversations``. With ``in_turns`` a line may list its
    :data:`~cslm.sequences.spoken_turns.TURNS`, which have the fields; those of the line itself hold for all of them.

    Raises:
        UserError: there is no such file or folder, it holds no JSON Lines, or its header names other files.
    """

    def __init__(self, path: Path, fields: tuple[str, ...], in_turns: bool = False) -> None:
        self.path = path
        self.fields = fields
        self.in_turns = in_turns
        self.files = _files_of(path)
        self._plain = [unpacked_gzip(file) if file.suffix == ".gz" else file for file in self.files]
        sizes = [file.stat().st_size for file in self._plain]
        self._starts = np.cumsum([0, *sizes])
        self._open = lru_cache(maxsize=_MOST_OPEN)(lambda number: FileIO(self._plain[number]))
        self._languages = [name for name in fields if name.endswith("language")]

    def scan(self) -> Iterator[Found]:
        """Every document, checked; empty lines are passed over.

        Raises:
            UserError: at the end, lines that are not JSON objects, lack a field, or hold what no sequence can; the
                first of them are named, and how many there are.
        """
        bad: list[str] = []
        for where, offset, line in self._lines():
            try:
                raw = _object(line)
                found = Found(offset, document_name(raw), self._document(raw))
            except UserError as error:
                bad.append(f"{where}: {error}")
                if len(bad) == _MOST_BAD:
                    break
                continue
            yield found
        if bad:
            more = f"; and {len(bad) - _MOST_NAMED:,} more" if len(bad) > _MOST_NAMED else ""
            raise UserError(f"{'; '.join(bad[:_MOST_NAMED])}{more}: mend or remove {'them' if bad[1:] else 'the line'}")

    def read(self, offset: int) -> dict[str, Any]:
        """The document at a place that :meth:`scan` gave."""
        number = int(np.searchsorted(self._starts, offset, side="right")) - 1
        place = offset - int(self._starts[number])
        file = self._open(number)
        data = os.pread(file.fileno(), 4096, place)
        while b"\n" not in data:
            more = os.pread(file.fileno(), max(4096, len(data)), place + len(data))
            if not more:
                break
            data += more
        return self._document(json.loads(data.partition(b"\n")[0]))

    def where(self, offset: int) -> str:
        """File and line of a place that :meth:`scan` gave."""
        return next(where for where, found, _ in self._lines() if found == offset)

    def texts(self, document: dict[str, Any]) -> Iterator[str]:
        """What a document says in its text fields and messages."""
        for turn in self.turns(document):
            for name in self.fields:
                if name == "messages":
                    yield from (message["content"] for message in turn[name])
                elif name not in (*self._languages, *_IDS):
                    yield turn[name]

    def turns(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """The turns of a document, each with all fields; the document itself where it lists none."""
        found: list[dict[str, Any]] = document.get(TURNS, [document]) if self.in_turns else [document]
        return found

    def _lines(self) -> Iterator[tuple[str, int, bytes]]:
        """File and line, place, and content of the lines that are not empty."""
        for start, path, plain in zip(self._starts.tolist(), self.files, self._plain, strict=False):
            offset = start
            with plain.open("rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.strip():
                        yield f"{path}, line {number}", offset, line
                    offset += len(line)

    def _document(self, raw: dict[str, Any]) -> dict[str, Any]:
        """What a line says in our words.

        Raises:
            UserError: a field that is missing, or that holds no text, no language, no conversation or no turns.
        """
        if self.in_turns and TURNS in raw:
            whole = {name: value for name, value in raw.items() if name != TURNS}
            return {**whole, TURNS: [self._turn({**whole, **turn}) for turn in check_turns(raw[TURNS])]}
        return self._turn(raw)

    def _turn(self, raw: dict[str, Any]) -> dict[str, Any]:
        document = dict(raw)
        for name in self.fields:
            if name == "messages":
                messages = plain_messages(said_messages(raw))
                if isinstance(messages, str):
                    raise UserError(messages)
                if raw.get("tools"):
                    raise UserError("tools are named, which are not written: write them into a message")
                document[name] = messages
            elif not isinstance(raw.get(name), str):
                found = "is missing" if name not in raw else f"is {json.dumps(raw[name], ensure_ascii=False)[:60]}"
                hint = f" ({TURNS} are read by the task dialogue alone)" if TURNS in raw else ""
                raise UserError(f"the field {name} {found}; it must be text{hint}")
        for name in self._languages:
            document[name] = language_tag(raw[name])
        return document


def _object(line: bytes) -> dict[str, Any]:
    """The object of a line.

    Raises:
        UserError: it holds none, or half of a Unicode character, which can be written nowhere.
    """
    try:
        raw = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not JSON ({error})") from None
    if not isinstance(raw, dict):
        raise UserError(f"a {type(raw).__name__} where an object was expected")
    if b"\\ud" in line or b"\\uD" in line or b"\xed" in line:
        half = half_of_a_character(raw)
        if half is not None:
            raise UserError(f"half of a Unicode character ({half})")
    return raw


def _files_of(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"there is no file {path}: give a JSON Lines file of documents, or a folder of such files")
    files = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")])
    if not files:
        raise UserError(f"{path} holds no *.jsonl: give a folder of JSON Lines files of documents")
    twice = sorted({file.name for file in files} & {f"{file.name}.gz" for file in files})
    if twice:
        raise UserError(f"{path} holds {twice[0]} beside the same name without .gz: keep one of the two")
    if (path / HEADER).is_file():
        _check_header(path, files)
    return files


def _check_header(folder: Path, files: list[Path]) -> None:
    """Make sure that the shards are those of the folder's header, by name and size."""
    shards = json.loads((folder / HEADER).read_text(encoding="utf-8")).get("shards", [])
    wanted = {shard["name"]: shard["bytes"] for shard in shards}
    found = {file.name: file.stat().st_size for file in files}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            said, is_there = (f"{sizes[name]:,} bytes" if name in sizes else "no" for sizes in (wanted, found))
            raise UserError(
                f"{folder / name}: {HEADER} says {said}, there are {is_there}: copy or prepare the folder again"
            )
