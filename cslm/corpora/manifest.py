"""The manifest: JSON Lines, one utterance a line; the one way into the project for any corpus."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

from cslm.corpora.languages import ONE_FORM, language_tag
from cslm.corpora.word_times import Word
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines, write_json_lines

_PathLike = str | os.PathLike[str]
_REQUIRED = ("id", "audio", "text", "language")
_STRINGS = (*_REQUIRED, "speaker", "group", "document")
_FOREVER = float("inf")
_LARGEST = sys.float_info.max


@dataclass
class Utterance:
    """One utterance of a manifest."""

    id: str
    """Unique in the manifest."""
    audio: str
    """Path relative to the manifest, absolute path, or fsspec URL (also ``tar://MEMBER::SHARD``)."""
    text: str
    language: str
    """BCP 47: en, zh, fr; read in its one form (zh_CN, cmn and zho are zh)."""
    start_sec: float | None = None
    """Where it begins in the file (default: at the beginning)."""
    duration_sec: float | None = None
    """How long it is (default: to the end of the file)."""
    speaker: str | None = None
    words: list[Word] | None = None
    """Word times, counted from the start of the utterance; Chinese: one entry per character."""
    group: str | None = None
    """Utterances with one group say the same thing in different languages."""
    channel: int | None = None
    """Channel of the file, from 0 on (default: the mean of all)."""
    document: str | None = None
    """The story that it belongs to."""
    place: int | None = None
    """Where in that story it stands, from 0 on."""


def read_manifest(path: _PathLike) -> Iterator[Utterance]:
    """Yield the utterances of a manifest, line by line; keys that the manifest does not define are ignored.

    Raises:
        UserError: no such file, or a line that is not JSON, misses a field, has a value of a wrong type, or repeats
            an id.
    """
    seen: set[str] = set()
    for number, record in read_json_lines(path):
        utterance = utterance_of(record, f"{os.fspath(path)}, line {number}")
        if utterance.id in seen:
            where = f"{os.fspath(path)}, line {number}"
            raise UserError(f"{where}: the id {utterance.id!r} was used before; make every id unique")
        seen.add(utterance.id)
        yield utterance


def utterance_of(record: dict[str, Any], where: str) -> Utterance:
    """The utterance of a line; ``where`` is file and line, for messages.

    Raises:
        UserError: it misses a field, or has a value of a wrong type.
    """
    return _plain_utterance(record) or _utterance(record, where)


def write_manifest(utterances: Iterable[Utterance], path: _PathLike) -> int:
    """Write a manifest atomically and return its number of lines; what is None is left out."""
    return write_json_lines((_record(utterance) for utterance in utterances), path)


def resolve_audio(manifest_path: _PathLike, utterance: Utterance) -> str:
    """Where an utterance's audio lies: URLs and absolute paths as they are, others from the manifest's folder."""
    if "://" in utterance.audio or os.path.isabs(utterance.audio):
        return utterance.audio
    return os.path.join(os.path.dirname(os.fspath(manifest_path)), utterance.audio)


def audio_from(output: _PathLike, audio: str) -> str:
    """How a manifest in the folder ``output`` names audio: URLs as they are, paths from where the folder really is.

    A path that climbs out of a folder below a symbolic link climbs from where the link leads to.
    """
    return audio if "://" in audio else os.path.relpath(os.path.abspath(audio), os.path.realpath(output))


def _record(utterance: Utterance) -> dict[str, Any]:
    values = {field.name: getattr(utterance, field.name) for field in fields(utterance)}
    return {name: value for name, value in values.items() if value is not None}


def _plain_utterance(record: dict[str, Any]) -> Utterance | None:
    """The utterance of a line that is as most are, checked quickly (a manifest has millions); None of any other."""
    get = record.get
    name, audio, text, language = get("id"), get("audio"), get("text"), get("language")
    if not (type(name) is type(audio) is type(text) is type(language) is str):
        return None
    start_sec, duration_sec, speaker, group = get("start_sec"), get("duration_sec"), get("speaker"), get("group")
    document, place = get("document"), get("place")
    plain = (
        ("words" not in record and "channel" not in record)
        and (document is None or type(document) is str)
        and (place is None or (type(place) is int and place >= 0))
        and (start_sec is None or (type(start_sec) is float and 0 <= start_sec < _FOREVER))
        and (duration_sec is None or (type(duration_sec) is float and 0 <= duration_sec < _FOREVER))
        and (speaker is None or type(speaker) is str)
        and (group is None or type(group) is str)
    )
    if not plain or name.isspace() or audio.isspace() or not (name and audio):
        return None
    if language not in ONE_FORM:
        try:
            language = language_tag(language)
        except UserError:
            return None  # said once more, with its line
    facts = (start_sec, duration_sec, speaker, None, group, None, document, place)
    return Utterance(name, audio, text, language, *facts)


def _utterance(record: dict[str, Any], where: str) -> Utterance:
    for name in _REQUIRED:
        if name not in record:
            raise UserError(f"{where}: misses the field {name!r}; every line needs {', '.join(_REQUIRED)}")
    for name in _STRINGS:
        value = record.get(name)
        if (value is not None and not isinstance(value, str)) or (name in _REQUIRED and value is None):
            raise UserError(f"{where}: {name} must be text, not {json.dumps(value, ensure_ascii=False)[:60]}")
    for name in ("id", "audio", "language"):
        if not record[name].strip():
            raise UserError(f"{where}: {name} is empty")
    return Utterance(
        id=record["id"],
        audio=record["audio"],
        text=record["text"],
        language=_language(record["language"], where),
        speaker=record.get("speaker"),
        group=record.get("group"),
        start_sec=_seconds(record.get("start_sec"), "start_sec", where),
        duration_sec=_seconds(record.get("duration_sec"), "duration_sec", where),
        words=_words(record.get("words"), where),
        channel=_count(record.get("channel"), "channel", where),
        document=record.get("document"),
        place=_count(record.get("place"), "place", where),
    )


def _language(said: str, where: str) -> str:
    try:
        return language_tag(said)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _count(value: Any, name: str, where: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{where}: {name} must be a whole number from 0 on, not {json.dumps(value)[:60]}")
    return value


def _seconds(value: Any, name: str, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST:
        raise UserError(f"{where}: {name} must be a number of seconds from 0 on, not {json.dumps(value)[:60]}")
    return float(value)


def _words(value: Any, where: str) -> list[Word] | None:
    if value is None:
        return None
    if not isinstance(value, list):
        raise UserError(f"{where}: words must be a list of [word, start_sec, end_sec], not {json.dumps(value)[:60]}")
    return [_word(entry, where) for entry in value]


def _word(entry: Any, where: str) -> Word:
    if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[0], str):
        found = json.dumps(entry, ensure_ascii=False)[:60]
        raise UserError(f"{where}: words must hold [word, start_sec, end_sec], not {found}")
    start, end = _seconds(entry[1], "start_sec of a word", where), _seconds(entry[2], "end_sec of a word", where)
    assert start is not None and end is not None
    if end < start:
        raise UserError(f"{where}: the word {entry[0]!r} ends at {end} s, before it begins at {start} s")
    return (entry[0], start, end)
