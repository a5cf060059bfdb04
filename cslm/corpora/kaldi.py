"""A Kaldi data directory (``wav.scp``; ``text``, ``segments``, ``utt2spk`` where they are), as a manifest."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cslm.corpora.intake import MAX_REJECTED_SHARE, Intake
from cslm.corpora.kaldi_audio import recordings_of
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, audio_from, write_manifest
from cslm.errors import UserError

_TO_THE_END = -1.0
_CHANNELS = {"A": 0, "B": 1}


@dataclass
class KaldiConfig:
    """Where the directory is."""

    data_dir: str
    """Folder with wav.scp, and text where there are texts."""
    language: str
    """BCP 47 language of the texts: en, zh."""
    plain_pipes: bool = False
    """Read the file of a command in wav.scp that only decodes it (``flac -c -d -s F |``, ``sox F -t wav - |``,
    ``cat F |``); nothing is run. Other commands are refused."""
    max_rejected_share: float = MAX_REJECTED_SHARE
    """Where a larger share cannot be used, the command ends with status 2; the others are written."""


@dataclass(frozen=True)
class _Segment:
    """A part of a recording."""

    recording: str
    start_sec: float | None = None
    end_sec: float | None = None
    channel: int | None = None


def prepare_kaldi(output: Path, config: KaldiConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every line of ``segments``, or of ``wav.scp`` where there is none.

    Utterances without a text stay, with an empty one, and are counted. What cannot be used is listed in
    ``rejected.jsonl``.

    Raises:
        UserError: a missing file, a line that does not fit, a pipe in place of a file, features in place of audio, or
            a text of no utterance.
    """
    folder = Path(config.data_dir)
    language_tag(config.language)
    recordings = recordings_of(folder / "wav.scp", dict(_pairs(folder / "wav.scp")), config.plain_pipes)
    texts = dict(_pairs(folder / "text", may_be_empty=True)) if (folder / "text").is_file() else {}
    speakers = dict(_pairs(folder / "utt2spk")) if (folder / "utt2spk").is_file() else {}
    has_segments = (folder / "segments").is_file()
    segments = (
        _segments(folder / "segments", recordings) if has_segments else {name: _Segment(name) for name in recordings}
    )
    intake = Intake()
    utterances = []
    for name, segment in segments.items():
        audio = recordings[segment.recording]
        audio = audio if os.path.isabs(audio) else audio_from(output, audio)
        make = functools.partial(_utterance, name, segment, audio, texts.get(name, ""), speakers.get(name), config)
        utterance = intake.take(make, name, audio, str(folder))
        if utterance is not None:
            utterances.append(utterance)
    intake.finish(output, str(folder))
    unknown = sorted(set(texts) - set(segments))
    if unknown:
        raise UserError(f"{folder / 'text'}: {unknown[0]} and {len(unknown) - 1} more stand in no list of utterances")
    without = sum(not utterance.text for utterance in utterances)
    if without:
        print(f"{folder}: {without} of {len(utterances)} utterances have no text")
    write_manifest(utterances, output / "manifest.jsonl")


def _utterance(
    name: str, segment: _Segment, audio: str, text: str, speaker: str | None, config: KaldiConfig
) -> Utterance:
    start_sec, end_sec = segment.start_sec, segment.end_sec
    if start_sec is not None and (start_sec < 0 or (end_sec is not None and not start_sec < end_sec)):
        raise UserError(f"{name} goes from {start_sec} to {end_sec} s")
    return Utterance(
        id=name,
        audio=audio,
        text=text,
        language=config.language,
        start_sec=start_sec,
        duration_sec=None if end_sec is None or start_sec is None else end_sec - start_sec,
        speaker=speaker,
        channel=segment.channel,
    )


def _pairs(file: Path, may_be_empty: bool = False) -> Iterator[tuple[str, str]]:
    """The first word of each line, and the rest."""
    seen: set[str] = set()
    for number, line in _lines(file):
        name, _, rest = line.partition(" ")
        if not rest.strip() and not may_be_empty:
            raise UserError(f"{file}, line {number}: nothing follows {name}")
        if name in seen:
            raise UserError(f"{file}, line {number}: {name} stands in the file twice")
        seen.add(name)
        yield name, rest.strip()
    if not seen:
        raise UserError(f"{file}: is empty")


def _segments(file: Path, recordings: dict[str, str]) -> dict[str, _Segment]:
    found: dict[str, _Segment] = {}
    for number, line in _lines(file):
        parts = line.split()
        try:
            name, recording, start_sec, end_sec = parts[0], parts[1], float(parts[2]), float(parts[3])
            channel = None if len(parts) == 4 else _CHANNELS[parts[4]] if parts[4] in _CHANNELS else int(parts[4])
        except (IndexError, ValueError):
            raise UserError(
                f"{file}, line {number}: expected UTTERANCE RECORDING START END [CHANNEL], found {line[:60]}"
            ) from None
        if recording not in recordings:
            raise UserError(f"{file}, line {number}: the recording {recording} is not in wav.scp")
        if len(parts) > 5 or (channel is not None and channel < 0):
            raise UserError(
                f"{file}, line {number}: the channel of {name} is {' '.join(parts[4:])}, not a number from 0 on"
            )
        if name in found:
            raise UserError(f"{file}, line {number}: {name} stands in the file twice")
        found[name] = _Segment(recording, start_sec, None if end_sec == _TO_THE_END else end_sec, channel)
    return found


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    if not file.is_file():
        raise UserError(f"{file}: no such file; a Kaldi data directory has wav.scp and text")
    try:
        with file.open(encoding="utf-8-sig", newline="\n") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, " ".join(line.strip().split("\t")).strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from None
