"""Strings of spoken digits put together from single recordings ``{digit}_{speaker}_{index}.wav``.

The layout is that of the Free Spoken Digit Dataset. Speakers named in ``test_speakers`` are never trained on; of the
others, the five lowest indices of each digit are kept for ``known_speakers.jsonl``. Training strings are augmented,
test strings are the recordings as they are.
"""

from __future__ import annotations

import functools
import itertools
import json
import multiprocessing
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cslm.audio.augment import (
    add_noise,
    add_reverberation,
    change_channel,
    change_gain,
    change_voice,
)
from cslm.audio.waveform import load_waveform, resample, save_waveform
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.corpora.word_times import Word
from cslm.errors import UserError
from cslm.files.progress import progress_bar

DIGIT_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
NUM_TEST_INDICES = 5
"""Recordings of each digit and known speaker that are kept for the test: those of the lowest indices."""

_FILE = re.compile(r"([0-9])_([^_]+)_([0-9]+)\.wav")
_STRINGS_PER_CHUNK = 64
_FILES_PER_FOLDER = 1000
_FADE_SEC = 0.004

Recordings = dict[str, dict[int, list[str]]]
"""Speaker to digit to files, by index."""


@dataclass
class Augmentation:
    """How far training strings are moved away from the recordings."""

    clean_share: float = 0.1
    """Share of the training strings that stay as they are."""
    vocal_tract: tuple[float, float] = (0.8, 1.25)
    """Formants of a string are multiplied by this."""
    pitch_semitones: tuple[float, float] = (-7.0, 7.0)
    """Pitch of a string is moved by this."""
    speed: tuple[float, float] = (0.75, 1.3)
    """Pace of a string is multiplied by this."""
    digit_speed: float = 0.07
    """Each digit is played faster or slower by up to this share, which moves its pitch and formants along."""
    digit_gain_db: float = 3.0
    """Each digit is louder or softer by up to this."""
    channel_db: float = 10.0
    """Largest rise or fall of the random frequency response of a string."""
    noise_share: float = 0.6
    """Share of the augmented strings with added noise."""
    noise_ratio_db: tuple[float, float] = (5.0, 40.0)
    """Signal-to-noise ratio of added noise."""
    room_share: float = 0.3
    """Share of the augmented strings with a room's echo."""
    gain_db: tuple[float, float] = (-15.0, 6.0)
    """A string is louder or softer by this."""


@dataclass
class SpokenDigitsConfig:
    """Which strings are made of which recordings."""

    recordings: str
    """Folder of {digit}_{speaker}_{index}.wav."""
    test_speakers: str = ""
    """Speakers that are never trained on, separated by commas."""
    seed: int = 0
    """Decides the strings and their augmentation."""
    num_train_strings: int = 8000
    """Training strings."""
    num_test_strings: int = 300
    """Test strings of the known speakers, and as many of the unseen ones."""
    min_digits: int = 3
    """Digits of the shortest string."""
    max_digits: int = 6
    """Digits of the longest."""
    gap_sec: tuple[float, float] = (0.03, 0.3)
    """Silence between digits, and before and after the string."""
    mixed_share: float = 0.2
    """Share of the training strings whose digits come from any training speakers, not from one."""
    sample_rate_hz: int = 8000
    """Rate of the strings; recordings at another rate are resampled."""
    augmentation: Augmentation = field(default_factory=Augmentation)
    """How training strings are varied."""
    num_workers: int = 0
    """Processes; 0 takes one per core. The corpus does not depend on it."""


@dataclass(frozen=True)
class _String:
    """A string before it is put together."""

    id: str
    files: tuple[str, ...]
    digits: tuple[int, ...]
    speaker: str
    seed: tuple[int, ...]
    augmented: bool

    @property
    def path(self) -> str:
        kind, number = self.id.rsplit("-", 1)
        return f"audio/{kind}/{int(number) // _FILES_PER_FOLDER:03d}/{self.id}.wav"


def prepare_spoken_digits(output: Path, config: SpokenDigitsConfig) -> None:
    """Write ``train.jsonl``, ``known_speakers.jsonl``, ``unseen_speakers.jsonl`` (with test speakers) and the audio.

    Raises:
        UserError: no such recordings or speakers, a speaker with too few of them, or a file that cannot be read.
    """
    recordings = find_recordings(config.recordings)
    test_speakers = _test_speakers(config, recordings)
    known = {speaker: digits for speaker, digits in recordings.items() if speaker not in test_speakers}
    train, kept = _split(known, config.recordings)
    unseen = {speaker: recordings[speaker] for speaker in test_speakers}
    plans = {"train": _training_strings(train, config), "known_speakers": _test_strings("known", kept, config, 1)}
    if unseen:
        plans["unseen_speakers"] = _test_strings("unseen", unseen, config, 2)
    card: dict[str, Any] = {"corpus": "spoken_digits", "seed": config.seed, "train_speakers": sorted(train)}
    card |= {"test_speakers": sorted(unseen), "manifests": {}}
    for name, strings in plans.items():
        utterances = list(_put_together(strings, output, config))
        write_manifest(utterances, output / f"{name}.jsonl")
        seconds = round(sum(utterance.duration_sec or 0.0 for utterance in utterances), 1)
        card["manifests"][name] = {"num_utterances": len(utterances), "audio_sec": seconds}
    (output / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def find_recordings(folder: str) -> Recordings:
    """The recordings of a folder, sorted by speaker, digit and index; other files are ignored.

    Raises:
        UserError: no such folder, or no recording in it.
    """
    if not os.path.isdir(folder):
        raise UserError(f"{folder}: no such folder; give the one that holds {{digit}}_{{speaker}}_{{index}}.wav")
    found = [match for match in map(_FILE.fullmatch, os.listdir(folder)) if match]
    if not found:
        raise UserError(f"{folder}: holds no file named {{digit}}_{{speaker}}_{{index}}.wav, such as 7_anna_0.wav")
    recordings: Recordings = {}
    for match in sorted(found, key=lambda match: (match[2], int(match[1]), int(match[3]))):
        digits = recordings.setdefault(match[2], {})
        digits.setdefault(int(match[1]), []).append(os.path.join(folder, match[0]))
    return recordings


def _test_speakers(config: SpokenDigitsConfig, recordings: Recordings) -> list[str]:
    speakers = [name.strip() for name in config.test_speakers.split(",") if name.strip()]
    for speaker in speakers:
        if speaker not in recordings:
            raise UserError(f"{config.recordings}: no speaker {speaker!r}; there are {', '.join(recordings)}")
    if set(speakers) == set(recordings):
        raise UserError(f"--test_speakers {config.test_speakers}: leaves no speaker to train on; name fewer")
    return sorted(set(speakers))


def _split(known: Recordings, folder: str) -> tuple[Recordings, Recordings]:
    """Training recordings, and those of the lowest indices, which are kept for the test."""
    for speaker, digits in known.items():
        for digit in range(len(DIGIT_WORDS)):
            if len(digits.get(digit, [])) <= NUM_TEST_INDICES:
                raise UserError(
                    f"{folder}: {len(digits.get(digit, []))} recordings of {digit} by {speaker}, but more than "
                    f"{NUM_TEST_INDICES} are needed; record more, or name the speaker in --test_speakers"
                )
    train = {
        name: {digit: files[NUM_TEST_INDICES:] for digit, files in digits.items()} for name, digits in known.items()
    }
    kept = {
        name: {digit: files[:NUM_TEST_INDICES] for digit, files in digits.items()} for name, digits in known.items()
    }
    return train, kept


def _training_strings(train: Recordings, config: SpokenDigitsConfig) -> list[_String]:
    generator = np.random.default_rng([config.seed, 0])
    speakers = sorted(train)
    strings = []
    for number in range(config.num_train_strings):
        count = int(generator.integers(config.min_digits, config.max_digits + 1))
        one, mixed = speakers[int(generator.integers(len(speakers)))], generator.random() < config.mixed_share
        chosen = [speakers[int(generator.integers(len(speakers)))] if mixed else one for _ in range(count)]
        digits = generator.integers(0, len(DIGIT_WORDS), count).tolist()
        files = [_any(train[name][digit], generator) for name, digit in zip(chosen, digits, strict=True)]
        speaker = "+".join(sorted(set(chosen)))
        augmented = generator.random() >= config.augmentation.clean_share
        seed = (config.seed, 10, number)
        strings.append(_String(f"train-{number:06d}", tuple(files), tuple(digits), speaker, seed, augmented))
    return strings


def _test_strings(kind: str, recordings: Recordings, config: SpokenDigitsConfig, stage: int) -> list[_String]:
    """Strings of one speaker each, speakers in turn; every recording is used before one is used again."""
    generator = np.random.default_rng([config.seed, stage])
    decks = {name: _endless(digits, generator) for name, digits in sorted(recordings.items())}
    strings = []
    for number, speaker in zip(range(config.num_test_strings), itertools.cycle(decks), strict=False):
        count = int(generator.integers(config.min_digits, config.max_digits + 1))
        drawn = [next(decks[speaker]) for _ in range(count)]
        digits, files = zip(*drawn, strict=True)
        seed = (config.seed, 10 + stage, number)
        strings.append(_String(f"{kind}-{number:06d}", files, digits, speaker, seed, False))
    return strings


def _endless(digits: dict[int, list[str]], generator: np.random.Generator) -> Iterator[tuple[int, str]]:
    deck = [(digit, file) for digit, files in digits.items() for file in files]
    while True:
        yield from (deck[index] for index in generator.permutation(len(deck)))


def _any(files: list[str], generator: np.random.Generator) -> str:
    return files[int(generator.integers(len(files)))]


def _put_together(strings: list[_String], output: Path, config: SpokenDigitsConfig) -> Iterator[Utterance]:
    chunks = [strings[start : start + _STRINGS_PER_CHUNK] for start in range(0, len(strings), _STRINGS_PER_CHUNK)]
    work = functools.partial(_make_chunk, output=output, config=config)
    for place in sorted({(output / string.path).parent for string in strings}):
        place.mkdir(parents=True, exist_ok=True)
    num_workers = config.num_workers or len(os.sched_getaffinity(0))
    if num_workers == 1 or len(chunks) < 2 * num_workers:
        yield from _flat(progress_bar(map(work, chunks), len(chunks), "digit strings"))
        return
    with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
        yield from _flat(progress_bar(pool.map(work, chunks), len(chunks), "digit strings"))


def _flat(chunks: Iterator[list[Utterance]]) -> Iterator[Utterance]:
    return itertools.chain.from_iterable(chunks)


def _make_chunk(strings: list[_String], output: Path, config: SpokenDigitsConfig) -> list[Utterance]:
    return [_make(string, output, config) for string in strings]


def _make(string: _String, output: Path, config: SpokenDigitsConfig) -> Utterance:
    generator = np.random.default_rng(string.seed)
    rate_hz = config.sample_rate_hz
    parts = [_recording(file, rate_hz) for file in string.files]
    if string.augmented:
        parts = [_vary_digit(part, config.augmentation, generator) for part in parts]
    waveform, spans = _join(parts, rate_hz, config.gap_sec, generator)
    if string.augmented:
        before = len(waveform)
        waveform = _vary_string(waveform, rate_hz, config.augmentation, generator)
        spans = [(start * len(waveform) // before, stop * len(waveform) // before) for start, stop in spans]
    save_waveform(output / string.path, waveform, rate_hz, durable=False)
    words = [DIGIT_WORDS[digit] for digit in string.digits]
    times: list[Word] = [
        (word, round(start / rate_hz, 4), round(stop / rate_hz, 4))
        for word, (start, stop) in zip(words, spans, strict=True)
    ]
    return Utterance(
        id=string.id,
        audio=string.path,
        text=" ".join(words),
        language="en",
        duration_sec=round(len(waveform) / rate_hz, 6),
        speaker=string.speaker,
        words=times,
    )


@functools.lru_cache(maxsize=4096)
def _recording(file: str, rate_hz: int) -> np.ndarray:
    """A recording without its mean, its ends faded so that joints do not click."""
    waveform, _ = load_waveform(file, sample_rate_hz=rate_hz)
    waveform = waveform - waveform.mean()
    fade = min(int(_FADE_SEC * rate_hz), len(waveform) // 2)
    ramp = np.linspace(0.0, 1.0, fade, dtype=np.float32)
    waveform[:fade] *= ramp
    waveform[len(waveform) - fade :] *= ramp[::-1]
    waveform.setflags(write=False)
    return waveform


def _vary_digit(waveform: np.ndarray, ways: Augmentation, generator: np.random.Generator) -> np.ndarray:
    factor = 1.0 + ways.digit_speed * float(generator.uniform(-1.0, 1.0))
    faster = resample(waveform, 1000.0 * factor, 1000.0)
    return faster * np.float32(10.0 ** (ways.digit_gain_db * float(generator.uniform(-1.0, 1.0)) / 20.0))


def _vary_string(waveform: np.ndarray, rate_hz: int, ways: Augmentation, generator: np.random.Generator) -> np.ndarray:
    varied = change_voice(
        waveform,
        rate_hz,
        pitch=2.0 ** (float(generator.uniform(*ways.pitch_semitones)) / 12.0),
        vocal_tract=_between(ways.vocal_tract, generator),
        speed=_between(ways.speed, generator),
    )
    varied = change_channel(varied, rate_hz, generator, ways.channel_db)
    if generator.random() < ways.room_share:
        varied = add_reverberation(varied, rate_hz, generator)
    if generator.random() < ways.noise_share:
        varied = add_noise(varied, rate_hz, generator, ways.noise_ratio_db)
    return change_gain(varied, rate_hz, generator, ways.gain_db)


def _between(factors: tuple[float, float], generator: np.random.Generator) -> float:
    return float(np.exp(generator.uniform(np.log(factors[0]), np.log(factors[1]))))


def _join(
    parts: list[np.ndarray], rate_hz: int, gap_sec: tuple[float, float], generator: np.random.Generator
) -> tuple[np.ndarray, list[tuple[int, int]]]:
    """The parts with random silence around each, and the samples where each begins and stops."""
    pieces, spans, position = [], [], 0
    for part in parts:
        gap = round(float(generator.uniform(*gap_sec)) * rate_hz)
        pieces += [np.zeros(gap, dtype=np.float32), part]
        spans.append((position + gap, position + gap + len(part)))
        position += gap + len(part)
    pieces.append(np.zeros(round(float(generator.uniform(*gap_sec)) * rate_hz), dtype=np.float32))
    return np.concatenate(pieces), spans
