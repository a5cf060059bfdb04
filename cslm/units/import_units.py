"""``import-units``: units that other tools wrote as JSON Lines, as a unit store.

Understood: unit strings (``<12><7>...``, further codebooks ``<1:5>``), lists of numbers, lists of rows of numbers; in
the field that ``units_key`` names, or in ``code``, where S3Tokenizer puts them (with ``key`` as the id).
"""

from __future__ import annotations

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
from cslm.corpora.manifest import Utterance, read_manifest
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines
from cslm.units.store import StoreRow, UnitStore, write_store

_UNIT = re.compile(r"<(?:(\d+):)?(\d+)>")


@dataclass
class ImportUnitsConfig:
    """Units of other tools as a store: ``import-units FILE [FILE ...] --output STORE --tokenizer CARD``."""

    files: list[str]
    """JSON Lines files, in this order."""
    output: str
    """Folder of the store."""
    tokenizer: str | None = None
    """Card that made the units (default: unknown, and then codebook_sizes and frame_rate_hz say the rest)."""
    codebook_sizes: list[int] | None = None
    """Units of each codebook, where no card is named."""
    frame_rate_hz: float | None = None
    """Frames a second before repeats were merged, where no card is named."""
    manifest: str | None = None
    """Manifest with texts, languages and speakers by id, where the files do not hold them."""
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
    known = {} if config.manifest is None else {u.id: u for u in read_manifest(config.manifest)}
    store = write_store(
        config.output,
        _rows(config, known, sizes, frame_rate_hz),
        fingerprint=fingerprint,
        card=name,
        codebook_sizes=sizes,
        frame_rate_hz=frame_rate_hz,
    )
    print(f"{config.output}: {len(store)} utterances, {store.header.audio_sec / 3600:.2f} hours", file=sys.stderr)
    return store


def _rows(
    config: ImportUnitsConfig, known: dict[str, Utterance], sizes: tuple[int, ...], frame_rate_hz: float
) -> Iterator[StoreRow]:
    seen: dict[str, str] = {}
    for file in config.files:
        for number, record in read_json_lines(file):
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
    facts = known.get(str(name))
    language = record.get("language") or (facts.language if facts is not None else config.language)
    if not language:
        raise UserError(f"{where}: does not say its language: give --language, or a --manifest that holds {name!r}")
    ids = _ids(given, where, sizes)
    units = _units(ids, record.get("durations"), where)
    return StoreRow(
        id=str(name),
        language=str(language),
        text=str(record.get(config.text_key) or (facts.text if facts is not None else "")),
        duration_sec=float(record.get("duration_sec") or units.num_frames_total / frame_rate_hz),
        units=units,
        speaker=record.get("speaker") or (facts.speaker if facts is not None else None),
        group=record.get("group") or (facts.group if facts is not None else None),
        words=facts.words if facts is not None else None,
    )


def _ids(given: Any, where: str, sizes: tuple[int, ...]) -> NDArray[np.int64]:
    """Units (num_frames, num_codebooks) of whatever form they have."""
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
    if (found < 0).any() or (found >= np.asarray(sizes)).any():
        raise UserError(f"{where}: a unit outside its codebook of {', '.join(map(str, sizes))}: {found.max()}")
    return found.astype(np.int64)


def _units(ids: NDArray[np.int64], durations: Any, where: str) -> Units:
    """Merged where there is one codebook."""
    if ids.shape[1] != 1:
        return Units(ids)
    if durations is None:
        return merge_repeats(Units(ids))
    frames = np.array(durations)
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
