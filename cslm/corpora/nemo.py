"""A NeMo manifest (JSON Lines with ``audio_filepath``, ``duration``, ``offset``, ``text``), as a manifest of ours."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.corpora.cells import text_of
from cslm.corpora.intake import MAX_REJECTED_SHARE, Intake
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, audio_from, write_manifest
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines

_LANGUAGE_KEYS = ("lang", "language", "target_lang")
_LONGEST_SEC = 1e9

_Part = tuple[float | None, float | None]
"""Offset and duration of a line."""


@dataclass
class NemoConfig:
    """Where the manifest is."""

    manifest: str
    """NeMo's manifest; paths in it count from its folder."""
    language: str | None = None
    """BCP 47 language of lines that do not say theirs (``lang``)."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share cannot be used, the command ends with status 2; the others are written."""


def prepare_nemo(output: Path, config: NemoConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every line; what cannot be used is in ``rejected.jsonl``.

    Ids are the paths without their suffix, with the offset in milliseconds where a line has one; of other parts that
    begin there, with offset and end.

    Raises:
        UserError: no such file, a line that is not JSON, two lines of one part of a file, or nothing that can be used.
    """
    if config.language is not None:
        language_tag(config.language)
    intake = Intake("lines")
    write_manifest(_utterances(output, config, intake), output / "manifest.jsonl")
    intake.finish(output, config.manifest)


def _utterances(output: Path, config: NemoConfig, intake: Intake) -> Iterator[Utterance]:
    parts: dict[str, _Part] = {}
    for number, line in read_json_lines(config.manifest):
        where = f"{config.manifest}, line {number}"
        make = functools.partial(_utterance, line, where, output, config, parts)
        utterance = intake.take(make, f"line {number}", str(line.get("audio_filepath") or ""), where)
        if utterance is not None:
            yield utterance


def _utterance(
    line: dict[str, Any], where: str, output: Path, config: NemoConfig, parts: dict[str, _Part]
) -> Utterance:
    path = text_of(line.get("audio_filepath"), "audio_filepath", where)
    language = next((line[key] for key in _LANGUAGE_KEYS if line.get(key)), config.language)
    if language is None:
        raise UserError(f"{where}: does not say its language: give --language")
    offset, duration = line.get("offset"), line.get("duration")
    for name, value in (("offset", offset), ("duration", duration)):
        if isinstance(value, bool) or not isinstance(value, int | float | None) or not abs(value or 0) < _LONGEST_SEC:
            raise UserError(f"{where}: {name} is {str(value)[:40]!r}, not a number of seconds")
    speaker = line.get("speaker")
    stem = os.path.splitext(path)[0]
    audio = path if "://" in path or os.path.isabs(path) else os.path.join(os.path.dirname(config.manifest), path)
    return Utterance(
        id=_id(stem, (offset, duration), parts),
        audio=audio if os.path.isabs(path) else audio_from(output, audio),
        text="" if line.get("text") is None else text_of(line["text"], "text", where),
        language=text_of(language, "language", where),
        start_sec=None if offset is None else float(offset),
        duration_sec=None if duration is None else float(duration),
        speaker=None if speaker is None else text_of(speaker, "speaker", where),
    )


def _id(stem: str, part: _Part, parts: dict[str, _Part]) -> str:
    offset, duration = part
    name = stem if not offset else f"{stem}-{round(offset * 1000)}"
    if parts.setdefault(name, part) == part:
        return name
    start_sec = offset or 0.0
    end = "" if duration is None else f"{round((start_sec + duration) * 1000)}"
    return f"{stem}-{round(start_sec * 1000)}-{end}"
