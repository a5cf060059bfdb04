"""A Kaldi data directory (``wav.scp``, ``text``; ``segments``, ``utt2spk`` where they are), as a manifest."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError


@dataclass
class KaldiConfig:
    """Where the directory is."""

    data_dir: str
    """Folder with wav.scp and text."""
    language: str
    """BCP 47 language of the texts: en, zh."""


def prepare_kaldi(output: Path, config: KaldiConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every line of ``segments``, or of ``wav.scp`` where there is none.

    Utterances without a text stay, with an empty one, and are counted.

    Raises:
        UserError: a missing file, a line that does not fit, a pipe in place of a file, or a text of no utterance.
    """
    folder = Path(config.data_dir)
    recordings = dict(_pairs(folder / "wav.scp"))
    for name, audio in recordings.items():
        if audio.endswith("|"):
            raise UserError(
                f"{folder / 'wav.scp'}: {name} is a command ({audio[:40]}), which is not run; write its output to files"
            )
    texts = dict(_pairs(folder / "text", may_be_empty=True))
    speakers = dict(_pairs(folder / "utt2spk")) if (folder / "utt2spk").is_file() else {}
    segments = _segments(folder / "segments", recordings) if (folder / "segments").is_file() else None
    names = list(segments) if segments is not None else list(recordings)
    unknown = sorted(set(texts) - set(names))
    if unknown:
        raise UserError(f"{folder / 'text'}: {unknown[0]} and {len(unknown) - 1} more stand in no list of utterances")
    utterances = []
    for name in names:
        recording, start_sec, end_sec = segments[name] if segments is not None else (name, None, None)
        duration_sec = None if end_sec is None or start_sec is None else end_sec - start_sec
        audio = recordings[recording]
        utterances.append(
            Utterance(
                id=name,
                audio=audio if "://" in audio or os.path.isabs(audio) else os.path.relpath(audio, output),
                text=texts.get(name, ""),
                language=config.language,
                start_sec=start_sec,
                duration_sec=duration_sec,
                speaker=speakers.get(name),
            )
        )
    without = sum(not utterance.text for utterance in utterances)
    if without:
        print(f"{folder}: {without} of {len(utterances)} utterances have no text")
    write_manifest(utterances, output / "manifest.jsonl")


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


def _segments(file: Path, recordings: dict[str, str]) -> dict[str, tuple[str, float | None, float | None]]:
    found: dict[str, tuple[str, float | None, float | None]] = {}
    for number, line in _lines(file):
        parts = line.split()
        try:
            name, recording, start_sec, end_sec = parts[0], parts[1], float(parts[2]), float(parts[3])
        except (IndexError, ValueError):
            raise UserError(
                f"{file}, line {number}: expected UTTERANCE RECORDING START END, found {line[:60]}"
            ) from None
        if recording not in recordings:
            raise UserError(f"{file}, line {number}: the recording {recording} is not in wav.scp")
        if not 0 <= start_sec < end_sec:
            raise UserError(f"{file}, line {number}: {name} goes from {start_sec} to {end_sec} s")
        if name in found:
            raise UserError(f"{file}, line {number}: {name} stands in the file twice")
        found[name] = (recording, start_sec, end_sec)
    return found


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    if not file.is_file():
        raise UserError(f"{file}: no such file; a Kaldi data directory has wav.scp and text")
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, " ".join(line.strip().split("\t")).strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not UTF-8 text ({error.reason} at byte {error.start}); convert it") from None
