"""Texts as audio files, each made once: a file is named by the hash of its text and of all that decides its samples."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from cslm.audio.clip import Clip
from cslm.audio.waveform import resample, save_waveform
from cslm.errors import UserError
from cslm.ranges import Range, check_numbers
from cslm.synthesis.failure import Failure
from cslm.synthesis.made_records import made_key
from cslm.synthesis.synthesizers import SpeechSynthesizer

_TEXTS_AT_ONCE = 64  # that a server is asked for
_SILENT = 1e-3
"""Largest sample of a recording in which nothing is heard."""


@dataclass
class RecordingConfig:
    """What recordings are kept, and at which rate."""

    sample_rate_hz: int | None = None
    """Rate of the files (default: the synthesizer's own)."""
    min_sec: float = 0.1
    """A shorter recording is a failure."""
    max_sec: float = 60.0
    """A longer recording is a failure."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        check_numbers(self, "recordings", sample_rate_hz=Range(least=1000), min_sec=Range(least=0))
        check_numbers(self, "recordings", max_sec=Range(above=self.min_sec))


@dataclass(frozen=True)
class Wanted:
    """One text to be said."""

    text: str
    language: str
    """BCP 47."""
    voice: str
    """Name of one of the synthesizer's voices for the language."""


@dataclass(frozen=True)
class Recording:
    """A file that says a text."""

    path: str
    """Relative to the corpus."""
    duration_sec: float


class Recordings:
    """Audio files below ``audio/`` of a corpus. Several processes may share it."""

    def __init__(self, folder: Path, synthesizer: SpeechSynthesizer, config: RecordingConfig) -> None:
        """Put them together.

        Args:
            folder: of the corpus.
            synthesizer: says what is not there yet.
            config: which recordings are kept.
        """
        self._folder, self._synthesizer, self._config = folder, synthesizer, config

    def record(self, wanted: Sequence[Wanted]) -> list[Recording | Failure]:
        """A file for each text, or why there is none; equal ones share a file.

        Raises:
            UserError: the synthesizer cannot be used at all; what was said before is kept.
        """
        paths = {one: self._path(one) for one in wanted}
        found: dict[Wanted, Recording | Failure] = {}
        for one, path in paths.items():
            duration_sec = _duration_of(self._folder / path)
            if duration_sec is not None:
                found[one] = Recording(path, duration_sec)
        for part in _of_one_voice([one for one in paths if one not in found]):
            clips = self._synthesizer.speak([one.text for one in part], part[0].language, part[0].voice)
            for one, clip in zip(part, clips, strict=True):
                found[one] = clip if isinstance(clip, Failure) else self._keep(clip, paths[one])
        return [found[one] for one in wanted]

    def clips(self, wanted: Sequence[Wanted]) -> list[Clip | Failure]:
        """The samples of each text, from its file; made and kept as by :meth:`record`."""
        return [
            one if isinstance(one, Failure) else soundfile.read(self._folder / one.path, dtype="float32")
            for one in self.record(wanted)
        ]

    def _path(self, one: Wanted) -> str:
        decided_by = {
            "text": one.text,
            "voice": self._synthesizer.facts(one.language, one.voice),
            "sample_rate_hz": self._config.sample_rate_hz,
        }
        key = made_key(decided_by)
        return f"audio/{key[:2]}/{key[2:4]}/{key[4:36]}.wav"

    def _keep(self, clip: Clip, path: str) -> Recording | Failure:
        waveform, rate_hz = clip
        if not np.isfinite(waveform).all():
            return Failure("its recording holds samples that are not numbers")
        duration_sec = len(waveform) / rate_hz
        if duration_sec < self._config.min_sec or np.abs(waveform).max(initial=0) < _SILENT:
            return Failure(f"its recording of {duration_sec:.2f} s is too short, or silent")
        if duration_sec > self._config.max_sec:
            return Failure(f"its recording of {duration_sec:.1f} s is longer than {self._config.max_sec:g} s")
        wanted_hz = self._config.sample_rate_hz or rate_hz
        samples = resample(waveform, rate_hz, wanted_hz)
        save_waveform(self._folder / path, samples, wanted_hz, durable=False)
        return Recording(path, _seconds(len(samples), wanted_hz))


def _of_one_voice(wanted: Sequence[Wanted]) -> Iterator[list[Wanted]]:
    """Parts of one language and voice that are said at once, in the order of their first texts."""
    by_voice: dict[tuple[str, str], list[Wanted]] = {}
    for one in wanted:
        by_voice.setdefault((one.language, one.voice), []).append(one)
    for ones in by_voice.values():
        for start in range(0, len(ones), _TEXTS_AT_ONCE):
            yield ones[start : start + _TEXTS_AT_ONCE]


def _duration_of(file: Path) -> float | None:
    """How long a recording is that is there already; None where it is not, or was lost with the machine's power."""
    try:
        info = soundfile.info(file)
    except soundfile.LibsndfileError:
        return None
    return _seconds(info.frames, info.samplerate) if info.frames else None


def _seconds(num_samples: int, rate_hz: float) -> float:
    return round(num_samples / rate_hz, 6)


def remove_others(folder: Path, kept: Collection[str]) -> None:
    """Remove the recordings of a corpus that are in none of its files: of what was heard only, or left out.

    Args:
        folder: of the corpus.
        kept: paths relative to it.
    """
    for file in (folder / "audio").rglob("*.wav"):
        if file.relative_to(folder).as_posix() not in kept:
            file.unlink()


def check_voice(synthesizer: SpeechSynthesizer, language: str, voice: str) -> None:
    """Make sure that a voice speaks a language, before anything is made.

    Raises:
        UserError: it does not.
    """
    if voice not in synthesizer.voices(language):
        found = ", ".join(synthesizer.voices(language)[:20])
        raise UserError(f"the synthesizer has no voice {voice!r} for {language}; it has {found}")
