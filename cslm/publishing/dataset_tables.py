"""Utterances with their audio, and documents, as Parquet that ``datasets.load_dataset`` opens with its features."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from cslm.audio.audio_source import file_beneath, open_source
from cslm.audio.waveform import load_waveform, to_int16
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio
from cslm.errors import UserError, first_line
from cslm.files.json_lines import read_json_lines

Row = dict[str, Any]
_TEXT = datasets.Value("string")
_SECONDS = datasets.Value("float64")
_ALWAYS = {"id": _TEXT, "audio": datasets.Audio(), "text": _TEXT, "language": _TEXT}
_OPTIONAL = {
    "duration_sec": _SECONDS,
    "speaker": _TEXT,
    "group": _TEXT,
    "document": _TEXT,
    "place": datasets.Value("int64"),
    "words": datasets.List({"word": _TEXT, "start_sec": _SECONDS, "end_sec": _SECONDS}),
}
_MB = 1_000_000
_GROUP_BYTES, _GROUP_ROWS = 16 * _MB, 1000
"""Rows are written together until they hold so much audio, or are so many: what a reader takes into memory at once."""
_SLACK_SEC = 0.1
"""By so much may a file be longer than its utterance and still be the whole of it: padding, a rounded duration."""


def utterance_features(manifests: Iterable[Path]) -> datasets.Features:
    """The columns of all utterances: those that a manifest always has, and the others that any line of these has."""
    found: set[str] = set()
    for manifest in manifests:
        for utterance in read_manifest(manifest):
            found |= {name for name in _OPTIONAL if getattr(utterance, name) is not None}
    return datasets.Features({**_ALWAYS, **{name: kind for name, kind in _OPTIONAL.items() if name in found}})


def utterance_rows(manifest: Path, features: Mapping[str, Any]) -> Iterator[Row]:
    """The utterances with their audio: a whole file byte for byte; a part or a channel of one as a 16-bit WAV file.

    Raises:
        UserError: a bad line, or audio that is not there or cannot be read.
    """
    for utterance in read_manifest(manifest):
        values = {name: getattr(utterance, name) for name in features}
        if utterance.words is not None:
            values["words"] = [
                dict(zip(("word", "start_sec", "end_sec"), word, strict=True)) for word in utterance.words
            ]
        yield {**values, "audio": _audio(utterance, resolve_audio(manifest, utterance))}


def _audio(utterance: Utterance, place: str) -> dict[str, Any]:
    """``bytes`` and ``path``: a name that says the format, and nothing of this machine."""
    name = utterance.id.replace("/", "_")
    content = b"" if _is_inside(utterance) else _content(place, utterance.id)
    if not content or _is_longer(content, utterance.duration_sec):
        return {"bytes": _cut(place, utterance), "path": f"{name}.wav"}
    inside = place.partition("::")[0] if place.startswith("tar://") else file_beneath(place)
    return {"bytes": content, "path": f"{name}{Path(inside).suffix.lower()}"}


def _is_inside(utterance: Utterance) -> bool:
    """Whether an utterance begins later than its file, or is one channel of it."""
    return bool(utterance.start_sec) or utterance.channel is not None


def _is_longer(content: bytes, duration_sec: float | None) -> bool:
    """Whether a file holds more than the utterance at its beginning."""
    if duration_sec is None:
        return False
    try:
        return float(soundfile.info(io.BytesIO(content)).duration) > duration_sec + _SLACK_SEC
    except soundfile.LibsndfileError:
        return True  # read in another way, then


def _content(place: str, name: str) -> bytes:
    try:
        with open_source(place) as (file, _):
            file.seek(0)
            return file.read()
    except (OSError, ValueError, ImportError) as error:
        raise UserError(f"the audio of {name} cannot be read: {first_line(error)}; check the manifest") from None


def _cut(place: str, utterance: Utterance) -> bytes:
    waveform, rate_hz = load_waveform(place, utterance.start_sec, utterance.duration_sec, channel=utterance.channel)
    content = io.BytesIO()
    soundfile.write(content, to_int16(waveform), rate_hz, format="WAV", subtype="PCM_16")
    return content.getvalue()


def document_rows(path: Path) -> tuple[datasets.Features, list[Row]]:
    """The documents of a JSON Lines file, and the features that hold them all.

    Raises:
        UserError: a line that is no object, or a field that is of one type here and of another there, or holds an
            object without keys.
    """
    rows = [row for _, row in read_json_lines(path)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = {}
    for name in names:
        try:
            columns[name] = pa.array([row.get(name) for row in rows])
        except pa.ArrowException as error:
            raise UserError(f"{path}: {name} is not of one type in all lines ({first_line(error)}): mend it") from None
    schema = pa.table(columns).schema
    try:
        pq.write_table(schema.empty_table(), pa.BufferOutputStream())
    except pa.ArrowNotImplementedError as error:
        raise UserError(f"{path}: a field holds an object without keys ({first_line(error)}): mend it") from None
    return datasets.Features.from_arrow_schema(schema), rows


def write_shards(rows: Iterable[Row], features: datasets.Features, folder: Path, split: str, shard_mb: int) -> int:
    """Write ``SPLIT-00000.parquet``, ... of about ``shard_mb`` megabytes each, and return the number of rows.

    The same rows give the same bytes. Without a row there is one shard that holds none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    groups, schema = _groups(rows), features.arrow_schema
    count = number = 0
    group: list[Row] | None = next(groups, [])
    while group is not None:
        num_bytes = 0
        with pq.ParquetWriter(folder / f"{split}-{number:05d}.parquet", schema) as writer:
            while group is not None and num_bytes < shard_mb * _MB:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                count, num_bytes = count + len(group), num_bytes + sum(map(_num_bytes, group)) + 1
                group = next(groups, None)
        number += 1
    return count


def _groups(rows: Iterable[Row]) -> Iterator[list[Row]]:
    group: list[Row] = []
    num_bytes = 0
    for row in rows:
        group.append(row)
        num_bytes += _num_bytes(row)
        if num_bytes >= _GROUP_BYTES or len(group) == _GROUP_ROWS:
            yield group
            group, num_bytes = [], 0
    if group:
        yield group


def _num_bytes(row: Row) -> int:
    """Bytes of its audio; the rest is little beside it."""
    audio = row.get("audio")
    return len(audio["bytes"]) if isinstance(audio, dict) and isinstance(audio.get("bytes"), bytes) else 0
