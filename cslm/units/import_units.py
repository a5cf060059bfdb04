"""``import-units``: units that other tools wrote, as a unit store.

Files are JSON Lines, lines ``name|71 12 57``, or lines of units alone (``.km``). Units are strings (``<12><7>...``,
further codebooks ``<1:5>``; ``<Un12>``; ``71 12 57``), lists of numbers or of strings, lists of rows of numbers; in the
field that ``units_key`` names, or in ``code``, where S3Tokenizer puts them (with ``key`` as the id).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.codecs.families import load_codec
from cslm.codecs.fingerprint import UNKNOWN
from cslm.codecs.units import Units, merge_repeats
from cslm.configuration import parse_configuration
from cslm.corpora.intake import printable
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, read_manifest
from cslm.errors import UserError
from cslm.files.atomic_file import folder_at, remove_folder
from cslm.units.store import StoreRow, UnitStore, write_store
from cslm.units.unit_lines import read_unit_lines

_UNIT = re.compile(r"<(?:(\d+):|Un)?(\d+)>")
_STRING = re.compile(r"\d+|<[^<>]+>")
_NUMBERS = re.compile(r"\d+(?:\s+\d+)*")
_LONG = re.compile(r"\d{10,}")


@dataclass
class ImportUnitsConfig:
    """Units of other tools as a store: ``import-units FILE [FILE ...] --output STORE --tokenizer CARD``."""

    files: list[str]
    """Files of units, in this order."""
    output: str
    """Folder of the store."""
    tokenizer: str | None = None
    """Card that made the units (default: unknown, and then codebook_sizes and frame_rate_hz say the rest)."""
    codebook_sizes: list[int] | None = None
    """Units of each codebook, where no card is named."""
    frame_rate_hz: float | None = None
    """Frames a second before repeats were merged, where no card is named."""
    manifest: str | None = None
    """Manifest with texts, languages, speakers and documents by id, where the files do not hold them."""
    language: str | None = None
    """BCP 47 language of lines that do not say theirs."""
    id_key: str = "id"
    """Field of the ids (or ``key``)."""
    units_key: str = "units"
    """Field of the units (or ``code``)."""
    text_key: str = "text"
    """Field of the texts."""


def import_units(config: ImportUnitsConfig) -> UnitStore:
    """Write the store; repeats are merged where there is one codebook.

    Units that were merged before, without ``durations``, last one frame each: how long they did is not known any more.

    Raises:
        UserError: a line without id or units, units outside their codebook, an id twice, or a folder that is not empty.
    """
    if config.tokenizer is not None:
        codec = load_codec(config.tokenizer)
        fingerprint, name = codec.fingerprint, codec.name
        sizes, frame_rate_hz = codec.codebook_sizes, codec.frame_rate_hz
    elif config.codebook_sizes is None or config.frame_rate_hz is None:
        raise UserError("name the card that made the units (--tokenizer), or give --codebook_sizes and --frame_rate_hz")
    else:
        fingerprint, name = UNKNOWN, UNKNOWN
        sizes, frame_rate_hz = tuple(config.codebook_sizes), config.frame_rate_hz
    if not frame_rate_hz > 0 or min(sizes, default=0) < 1:
        raise UserError("--frame_rate_hz must be more than 0, and every codebook of --codebook_sizes have a unit")
    if config.language is not None:
        language_tag(config.language)
    known = {} if config.manifest is None else {u.id: u for u in read_manifest(config.manifest)}
    with _nothing_left(config.output):
        store = write_store(
            config.output,
            _rows(config, known, sizes, frame_rate_hz),
            fingerprint=fingerprint,
            card=name,
            codebook_sizes=sizes,
            frame_rate_hz=frame_rate_hz,
            in_documents=_in_documents(config, known),
        )
    print(f"{config.output}: {len(store)} utterances, {store.header.audio_sec / 3600:.2f} hours", file=sys.stderr)
    return store


@contextlib.contextmanager
def _nothing_left(output: str) -> Iterator[None]:
    """Remove the folder again if what is done in it fails, unless it held something before."""
    folder = folder_at(output)
    was_there = folder.exists() and any(folder.iterdir())
    try:
        yield
    except BaseException:
        if not was_there:
            remove_folder(folder)
        raise


def _in_documents(config: ImportUnitsConfig, known: dict[str, Utterance]) -> bool:
    """Whether an utterance of the manifest, or a line of the files, says to which document it belongs."""
    if any(utterance.document is not None or utterance.place is not None for utterance in known.values()):
        return True
    records = (record for file in config.files for _, record in read_unit_lines(file, config.id_key, config.units_key))
    return any(record.get(name) is not None for record in records for name in ("document", "place"))


def _rows(
    config: ImportUnitsConfig, known: dict[str, Utterance], sizes: tuple[int, ...], frame_rate_hz: float
) -> Iterator[StoreRow]:
    seen: dict[str, str] = {}
    for file in config.files:
        for number, record in read_unit_lines(file, config.id_key, config.units_key):
            where = f"{file}, line {number}"
            row = _row(record, where, config, known, sizes, frame_rate_hz)
            if row.id in seen:
                raise UserError(f"{where}: the id {row.id!r} stands in {seen[row.id]} too")
            seen[row.id] = where
            yield row


def _row(
    record: dict[str, Any],
    where: str,
    config: ImportUnitsConfig,
    known: dict[str, Utterance],
    sizes: tuple[int, ...],
    frame_rate_hz: float,
) -> StoreRow:
    name, given = (
        record.get(key, record.get(other)) for key, other in ((config.id_key, "key"), (config.units_key, "code"))
    )
    for value, key in ((name, config.id_key), (given, config.units_key)):
        if value is None:
            raise UserError(f"{where}: no field {key}; it has {', '.join(record)}")
    is_name = isinstance(name, str | int) and not isinstance(name, bool)
    if not is_name or not str(name).strip() or printable(str(name)) != str(name):
        raise UserError(f"{where}: {config.id_key} must be text, not {json.dumps(name)[:60]}")
    facts = known.get(str(name))
    language = _text(record, "language", where) or (facts.language if facts is not None else config.language)
    if not language:
        raise UserError(f"{where}: does not say its language: give --language, or a --manifest that holds {name!r}")
    ids = _ids(given, where, sizes)
    units = _units(ids, record.get("durations"), where)
    duration_sec = record.get("duration_sec")
    if duration_sec is not None and (type(duration_sec) not in (int, float) or not 0 < duration_sec < math.inf):
        raise UserError(f"{where}: duration_sec must be a number of seconds, not {json.dumps(duration_sec)[:60]}")
    try:
        language = language_tag(language)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    return StoreRow(
        id=str(name),
        language=language,
        text=_text(record, config.text_key, where) or (facts.text if facts is not None else ""),
        duration_sec=float(duration_sec or units.num_frames_total / frame_rate_hz),
        units=units,
        speaker=_text(record, "speaker", where) or (facts.speaker if facts is not None else None),
        group=_text(record, "group", where) or (facts.group if facts is not None else None),
        words=facts.words if facts is not None else None,
        document=_text(record, "document", where) or (facts.document if facts is not None else None),
        place=_place(record, where, facts),
    )


def _place(record: dict[str, Any], where: str, facts: Utterance | None) -> int | None:
    """Where in its document an utterance stands."""
    place = record.get("place")
    if place is None:
        return facts.place if facts is not None else None
    if type(place) is not int or place < 0:
        raise UserError(f"{where}: place must be a whole number from 0 on, not {json.dumps(place)[:60]}")
    return place


def _text(record: dict[str, Any], key: str, where: str) -> str | None:
    """A field that is text, or not there, or null."""
    value = record.get(key)
    if value is not None and not isinstance(value, str):
        raise UserError(f"{where}: {key} must be text, not {json.dumps(value)[:60]}")
    if value is not None and printable(value) != value:
        raise UserError(f"{where}: {key} holds half of a Unicode character: {printable(value)[:60]!r}")
    return value


def _ids(given: Any, where: str, sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Units (num_frames, num_codebooks) of whatever form they have."""
    if isinstance(given, list) and given and all(isinstance(e, str) and _STRING.fullmatch(e.strip()) for e in given):
        given = " ".join(given)
    if isinstance(given, str) and (long := _LONG.search(given)):
        raise UserError(f"{where}: a unit outside its codebook of {', '.join(map(str, sizes))}: {long[0][:20]}")
    if isinstance(given, str) and _NUMBERS.fullmatch(given.strip()):
        given = [int(number) for number in given.split()]
    if isinstance(given, str):
        found = _from_string(given, where, len(sizes))
    else:
        try:
            found = np.array(given)
        except ValueError:
            raise UserError(f"{where}: rows of units of different lengths") from None
        found = found[:, None] if found.ndim == 1 else found
    if found.size == 0 or found.ndim != 2 or not np.issubdtype(found.dtype, np.integer):
        raise UserError(f"{where}: no units, or not numbers: {str(given)[:40]!r}")
    if found.shape[1] != len(sizes):
        raise UserError(f"{where}: units of {found.shape[1]} codebooks, {len(sizes)} are expected")
    outside = found[(found < 0) | (found >= np.asarray(sizes))]
    if len(outside):
        raise UserError(f"{where}: a unit outside its codebook of {', '.join(map(str, sizes))}: {outside[0]}")
    return found.astype(np.int64)


def _units(ids: NDArray[np.int64], durations: Any, where: str) -> Units:
    """Merged where there is one codebook."""
    if ids.shape[1] != 1:
        return Units(ids)
    if durations is None:
        return merge_repeats(Units(ids))
    try:
        frames = np.array(durations)
    except ValueError:
        frames = np.zeros(0)
    if frames.shape != (len(ids),) or not np.issubdtype(frames.dtype, np.integer) or (frames < 1).any():
        raise UserError(f"{where}: durations must be {len(ids)} numbers from 1 on, one for each unit")
    return merge_repeats(Units(ids, frames.astype(np.int64)))


def _from_string(text: str, where: str, num_codebooks: int) -> NDArray[np.int64]:
    units = [(int(book or 0), int(unit)) for book, unit in _UNIT.findall(text)]
    if _UNIT.sub("", text).strip():
        raise UserError(f"{where}: {_UNIT.sub('', text).strip()[:20]!r} stands among the units")
    books = np.array([book for book, _ in units], np.int64)
    if len(units) % num_codebooks or (books != np.arange(len(units)) % num_codebooks).any():
        raise UserError(f"{where}: units do not go through {num_codebooks} codebooks frame by frame")
    return np.array([unit for _, unit in units], np.int64).reshape(-1, num_codebooks)


def main(arguments: list[str]) -> None:
    """Command line: the files, then options."""
    import_units(parse_configuration(ImportUnitsConfig, arguments, "import-units", positionals=("files",)))
