"""A folder of audio files without texts, as a manifest; long files are cut where they are quiet."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cslm.audio.waveform import load_waveform
from cslm.corpora.long_utterances import check_lengths, pieces_of
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.files.progress import progress_bar

SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aiff", ".aif")


@dataclass
class AudioFolderConfig:
    """Where the audio is, and how long a piece may be."""

    audio_dir: str
    """Folder of the audio files; those of the folders in it count too."""
    language: str
    """BCP 47 language that is spoken: en, zh."""
    max_sec: float | None = 30.0
    """Longer files are cut in their quietest moments into pieces no longer than this (null: not cut)."""
    min_sec: float = 1.0
    """No piece is shorter than this, unless its file is."""
    speaker_from: str = "none"
    """Speaker of a file: none, or folder (the name of the folder that it is in)."""


def prepare_audio_folder(output: Path, config: AudioFolderConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every file or piece, without text; the audio stays where it is.

    Files that cannot be read are left out and listed, with reasons, in ``rejected.jsonl``.

    Raises:
        UserError: no such folder, no audio in it, lengths that make no sense, or not one file that can be read.
    """
    if not os.path.isdir(config.audio_dir):
        raise UserError(f"{config.audio_dir}: no such folder; --audio_dir names the one with the audio files")
    check_lengths(config.max_sec, config.min_sec)
    if config.speaker_from not in ("none", "folder"):
        raise UserError(f"--speaker_from is none or folder, not {config.speaker_from!r}")
    files = sorted(file for file in Path(config.audio_dir).rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"{config.audio_dir}: no audio in it ({', '.join(SUFFIXES)})")
    rejected: list[dict[str, str]] = []
    count = write_manifest(_utterances(files, output, config, rejected), output / "manifest.jsonl")
    if not count:
        raise UserError(f"not one of {len(files)} files can be read; the first: {rejected[0]['reason']}")
    write_json_lines(rejected, output / "rejected.jsonl")
    left_out = f", {len(rejected)} files left out (see rejected.jsonl)" if rejected else ""
    print(f"{len(files)} files, {count} utterances{left_out}")


def _utterances(
    files: list[Path], output: Path, config: AudioFolderConfig, rejected: list[dict[str, str]]
) -> Iterator[Utterance]:
    sharing = Counter(file.with_suffix("") for file in files)
    for file in progress_bar(files, len(files), "reading audio"):
        own = file if sharing[file.with_suffix("")] > 1 else file.with_suffix("")  # a.wav beside a.flac
        name = own.relative_to(config.audio_dir).as_posix()
        audio = os.path.relpath(file, output)
        speaker = file.parent.name if config.speaker_from == "folder" else None
        try:
            waveform, rate_hz = load_waveform(file)
        except UserError as error:
            rejected.append({"id": name, "audio": audio, "reason": str(error)})
            continue
        utterance = Utterance(name, audio, "", config.language, speaker=speaker)
        longest_sec = float("inf") if config.max_sec is None else config.max_sec
        yield from pieces_of(utterance, waveform, rate_hz, longest_sec, config.min_sec)
