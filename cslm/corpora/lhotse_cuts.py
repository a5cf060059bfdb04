"""Lhotse cuts (``cuts.jsonl`` or ``.jsonl.gz``, one file a recording), as a manifest; lhotse itself is not needed."""

from __future__ import annotations

import functools
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cslm.corpora.intake import MAX_REJECTED_SHARE, Intake
from cslm.corpora.manifest import Utterance, audio_from, write_manifest
from cslm.corpora.word_times import Word
from cslm.errors import UserError

_HARMLESS = ("Resample",)
"""Transforms that change nothing here: every tokenizer resamples to its own rate."""


@dataclass
class LhotseCutsConfig:
    """Where the cuts are."""

    cuts: str
    """File of cuts: JSON Lines, gzipped or not."""
    language: str | None = None
    """BCP 47 language of cuts that do not say theirs."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share cannot be used, the command ends with status 2; the others are written."""


def prepare_lhotse_cuts(output: Path, config: LhotseCutsConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every cut of one supervision at most.

    Raises:
        UserError: no such file, or a line that is not a cut of one channel of one recording in one file, with nothing
            done to it.
    """
    intake = Intake("cuts")
    write_manifest(_utterances(output, config, intake), output / "manifest.jsonl")
    intake.finish(output, config.cuts)


def _utterances(output: Path, config: LhotseCutsConfig, intake: Intake) -> Iterator[Utterance]:
    for number, cut in _cuts(config.cuts):
        where = f"{config.cuts}, line {number}"
        try:
            made = _utterance(cut, where, output, config)
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"{where}: not a cut of one recording (MonoCut): {error!r}") from None
        utterance = intake.take(functools.partial(_as_it_is, made), str(cut["id"]), made.audio, where)
        if utterance is not None:
            yield utterance


def _as_it_is(utterance: Utterance) -> Utterance:
    return utterance


def _utterance(cut: dict[str, Any], where: str, output: Path, config: LhotseCutsConfig) -> Utterance:
    recording = cut["recording"]
    sources, supervisions = recording["sources"], cut.get("supervisions", [])
    if len(sources) != 1 or sources[0]["type"] not in ("file", "url"):
        kinds = ", ".join(str(source["type"]) for source in sources)
        raise UserError(
            f"{where}: the recording of {cut['id']} lies in {kinds or 'nothing'}; one file or url is needed"
        )
    changed = [_name(transform) for transform in recording.get("transforms") or []]
    changed = [name for name in changed if name not in _HARMLESS]
    if changed:
        raise UserError(
            f"{where}: {cut['id']} is to be changed by {', '.join(changed)}, which is not done here: save_audios()"
        )
    if len(supervisions) > 1:
        raise UserError(f"{where}: {cut['id']} has {len(supervisions)} supervisions: trim_to_supervisions() first")
    said = supervisions[0] if supervisions else {}
    language = said.get("language") or config.language
    if not language:
        raise UserError(f"{where}: {cut['id']} does not say its language: give --language")
    audio = sources[0]["source"]
    speaker = said.get("speaker")
    return Utterance(
        id=str(cut["id"]),
        audio=audio if os.path.isabs(audio) else audio_from(output, audio),
        text=said.get("text") or "",
        language=language,
        start_sec=float(cut["start"]),
        duration_sec=float(cut["duration"]),
        speaker=None if speaker is None else str(speaker),
        words=_words(said),
        channel=_channel(cut, sources[0], where),
    )


def _name(transform: Any) -> str:
    """Of lhotse's own, and of those that carry their settings."""
    return str(transform.get("name", transform)) if isinstance(transform, dict) else str(transform)


def _channel(cut: dict[str, Any], source: dict[str, Any], where: str) -> int | None:
    """Which channel of the file the cut is; None where the file has one only.

    Raises:
        UserError: it is several (MultiCut), or none of the file's.
    """
    channel, channels = cut.get("channel"), source.get("channels") or [0]
    if isinstance(channel, list) and len(channel) == 1:
        channel = channel[0]
    if isinstance(channel, list) or cut.get("type") == "MultiCut":
        raise UserError(f"{where}: {cut['id']} is a cut of several channels (MultiCut): to_mono() first")
    if channel is None:
        return None
    if channel not in channels:
        raise UserError(f"{where}: {cut['id']} is a cut of channel {channel}, its recording has {channels}")
    return channels.index(channel) if len(channels) > 1 else None


def _words(said: dict[str, Any]) -> list[Word] | None:
    """Word times; in a cut, lhotse too counts them from the start of the cut."""
    items = (said.get("alignment") or {}).get("word")
    return [(symbol, start, start + duration) for symbol, start, duration, *_ in items] if items else None


def _cuts(file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    try:
        with gzip.open(file, "rb") if file.endswith(".gz") else open(file, "rb") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except FileNotFoundError:
        raise UserError(f"{file}: no such file of cuts") from None
    except (ValueError, OSError, EOFError, zlib.error, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{file}: not JSON Lines ({error}; line {number})") from None
