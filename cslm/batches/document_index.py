"""Where documents begin and what their short fields say: found by reading all of them once per machine, then kept.

The process with local rank 0 of a machine reads and writes, the others wait for its files, not in a collective
operation: reading a large corpus may take longer than those wait. Arrays are mapped, so processes share their memory.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cslm.batches.documents import JsonLines
from cslm.batches.parts import name_hash
from cslm.errors import UserError
from cslm.files.atomic_file import folder_aside

_FORMAT = 2
_ARRAYS = ("offsets", "hashes", "codes")
_NAMES = "names.json"
_SPELT = "spelt.json"
_TOKEN = re.compile(r"<[^<>\s]{1,60}>|\[[^\[\]\s]{1,60}\]")  # what may be a token of some base
_MOST_SPELT = 10_000
_POLL_SEC = 0.2


@dataclass(frozen=True)
class IndexFolder:
    """Where the indexes of a run are kept."""

    path: Path
    """folder on a disk that all processes of this machine see; machines may share it"""
    local_rank: int
    """of this process on its machine: 0 writes"""
    working: Path | None = None
    """a file that is there as long as process 0 of the run works; None: those who wait, wait for ever"""
    digests: dict[Path, str] = field(default_factory=dict)
    """of the documents whose index was asked for here, by their path: says which documents, in which order"""


@dataclass(frozen=True)
class DocumentIndex:
    """The documents of a :class:`JsonLines`, in their order."""

    offsets: npt.NDArray[np.int64]
    """place of each, ``(documents,)``; of one in turns each of these has a row, with the place of the document"""
    hashes: npt.NDArray[np.uint64]
    """of what each is called, ``(documents,)``: which are held out hangs on it"""
    codes: npt.NDArray[np.int32]
    """place in ``names`` of what its fields say, ``(documents, fields)``"""
    names: list[list[str]]
    """for each field its different values, in the order in which they first come; of messages the roles, spaced"""
    spelt: dict[str, int]
    """in how many documents a word in brackets, such as ``<think>``, is spelt"""


def index_documents(documents: JsonLines, fields: tuple[str, ...], kept_in: IndexFolder | None = None) -> DocumentIndex:
    """The index of ``documents`` by ``fields``; with ``kept_in`` one that was kept before, or that is kept now.

    It holds for the same files (path, size, time of change), the same checked fields and the same ``fields``.

    Raises:
        UserError: as :meth:`JsonLines.scan`.
    """
    if kept_in is None:
        return _read_all(documents, fields)
    folder = kept_in.path / documents_key(documents, fields)
    if kept_in.local_rank == 0:
        if not folder.is_dir():
            _write(_read_all(documents, fields), folder)
    else:
        while not folder.is_dir():
            if kept_in.working is not None and not kept_in.working.exists():
                raise UserError(f"process 0 stopped before there was an index of {documents.path}: it says why")
            time.sleep(_POLL_SEC)
    names, spelt = (json.loads((folder / name).read_text(encoding="utf-8")) for name in (_NAMES, _SPELT))
    offsets, hashes, codes = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
    kept_in.digests[documents.path] = _digest(documents, offsets, hashes)
    return DocumentIndex(offsets, hashes, codes, names, spelt)


def _digest(documents: JsonLines, offsets: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64]) -> str:
    """Says which documents these are, by what they are called and where they begin, wherever their files lie."""
    names = [file.name for file in documents.files] if documents.path.is_dir() else []
    sizes = [file.stat().st_size for file in documents.files]
    found = hashlib.sha256(json.dumps([names, sizes]).encode("utf-8"))
    found.update(np.ascontiguousarray(offsets).data)
    found.update(np.ascontiguousarray(hashes).data)
    return found.hexdigest()


def _read_all(documents: JsonLines, fields: tuple[str, ...]) -> DocumentIndex:
    offsets, hashes, codes = array("q"), array("Q"), array("i")
    seen: list[dict[str, int]] = [{} for _ in fields]
    columns = list(zip(fields, seen, strict=True))
    spelt: Counter[str] = Counter()
    for offset, name, document in documents.scan():
        for turn in documents.turns(document):
            offsets.append(offset)
            hashes.append(name_hash(name))
            for column, numbers in columns:
                codes.append(numbers.setdefault(_said(turn, column), len(numbers)))
        found = {token for text in documents.texts(document) for token in _TOKEN.findall(text)}
        spelt.update(found if len(spelt) < _MOST_SPELT else found & spelt.keys())
    places = np.array(offsets, dtype=np.int64)
    by_field = np.array(codes, dtype=np.int32).reshape(len(places), len(fields))
    return DocumentIndex(places, np.array(hashes, dtype=np.uint64), by_field, [list(it) for it in seen], dict(spelt))


def _said(document: Mapping[str, Any], field: str) -> str:
    value: Any = document[field]
    return " ".join(message["role"] for message in value) if field == "messages" else value


def documents_key(documents: JsonLines, fields: tuple[str, ...]) -> str:
    """Says which files these are, as they are now, and what is asked of them."""
    files = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in documents.files]
    what = json.dumps([_FORMAT, files, documents.fields, fields, *(["turns"] if documents.in_turns else [])])
    return hashlib.sha256(what.encode("utf-8")).hexdigest()[:32]


def _write(index: DocumentIndex, folder: Path) -> None:
    """Write the index, whole or not at all; another machine may have been first with the same."""
    try:
        with folder_aside(folder) as aside:
            for name in _ARRAYS:
                np.save(aside / f"{name}.npy", getattr(index, name))
            (aside / _NAMES).write_text(json.dumps(index.names), encoding="utf-8")
            (aside / _SPELT).write_text(json.dumps(index.spelt), encoding="utf-8")
    except OSError:
        if not folder.is_dir():
            raise
