"""A folder of audio files without texts, as a manifest; long files are cut where they are quiet."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cslm.audio.waveform import load_waveform
from cslm.corpora.intake import Intake, checked, printable
from cslm.corpora.languages import language_tag
from cslm.corpora.long_utterances import check_lengths, pieces_of
from cslm.corpora.manifest import Utterance, audio_from, write_manifest
from cslm.errors import UserError
from cslm.files.progress import progress_bar

SUFFIXES = (
    *(".wav", ".wave", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".m4a", ".aiff", ".aif", ".aifc"),
    *(".sph", ".au", ".snd", ".w64", ".rf64", ".caf"),
)
"""What is taken for audio. Whether a file can be read is seen from its content."""
MAC_SHADOW = "._"
"""How the name begins of what macOS writes beside a file on foreign disks and into tar files."""


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
    max_rejected_share: float = 1.0
    """Where a larger share of the files cannot be read, the command ends with status 2; the others are written."""


def prepare_audio_folder(output: Path, config: AudioFolderConfig) -> None:
    """Write ``manifest.jsonl`` with an utterance for every file or piece, without text; the audio stays where it is.

    Files that cannot be read are left out and listed, with reasons, in ``rejected.jsonl``; files of other suffixes are
    counted. Linked folders count as any.

    Raises:
        UserError: no such folder, no audio in it, lengths that make no sense, or not one file that can be read.
    """
    if not os.path.isdir(config.audio_dir):
        raise UserError(f"{config.audio_dir}: no such folder; --audio_dir names the one with the audio files")
    check_lengths(config.max_sec, config.min_sec)
    language = language_tag(config.language)
    if config.speaker_from not in ("none", "folder"):
        raise UserError(f"--speaker_from is none or folder, not {config.speaker_from!r}")
    passed_over: Counter[str] = Counter()
    files = sorted(audio_files(Path(config.audio_dir), passed_over))
    told = ", ".join(f"{count} {suffix}" for suffix, count in sorted(passed_over.items()))
    if not files:
        raise UserError(
            f"{config.audio_dir}: no audio in it ({', '.join(SUFFIXES)}){f'; it holds {told}' if told else ''}"
        )
    if told:
        print(f"{config.audio_dir}: passed over {told}")
    intake = Intake("files")
    count = write_manifest(_utterances(files, output, config, language, intake), output / "manifest.jsonl")
    intake.num_taken = len(files) - len(intake.rejected)
    intake.finish(output, config.audio_dir, even_empty=True)
    print(f"{len(files)} files, {count} utterances")


def audio_files(folder: Path, passed_over: Counter[str]) -> Iterator[Path]:
    """The audio files below a folder, through links too; counts the other files by suffix."""
    seen = set()
    for place, folders, names in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            folders.clear()  # a link back into what was walked
            continue
        seen.add(real)
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith(MAC_SHADOW):
                passed_over[f"{MAC_SHADOW}*"] += 1
            elif suffix in SUFFIXES:
                yield Path(place, name)
            else:
                passed_over[printable(suffix) or "without a suffix"] += 1


def _refuse(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror}): make it readable, or move it elsewhere")


def _utterances(
    files: list[Path], output: Path, config: AudioFolderConfig, language: str, intake: Intake
) -> Iterator[Utterance]:
    sharing = Counter(file.with_suffix("") for file in files)
    stems = {file: file if sharing[file.with_suffix("")] > 1 else file.with_suffix("") for file in files}
    names = {file: stem.relative_to(config.audio_dir).as_posix() for file, stem in stems.items()}  # a.wav beside a.flac
    using = Counter(names.values())
    names = {
        file: f"{name}{file.suffix}" if using[name] > 1 and file != stems[file] else name
        for file, name in names.items()
    }  # a.wav beside a.flac and a.wav.flac
    taken = set(names.values())
    for file in progress_bar(files, len(files), "reading audio"):
        name, audio = names[file], audio_from(output, str(file))
        speaker = file.parent.name if config.speaker_from == "folder" else None
        notes: list[str] = []
        try:
            utterance = checked(Utterance(name, audio, "", language, speaker=speaker))
            waveform, rate_hz = load_waveform(file, notes=notes)
        except UserError as error:
            intake.reject(name, audio, str(error))
            continue
        intake.note(name, audio, notes)
        longest_sec = float("inf") if config.max_sec is None else config.max_sec
        yield from pieces_of(utterance, waveform, rate_hz, longest_sec, config.min_sec, taken)
