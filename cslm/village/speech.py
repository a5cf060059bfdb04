"""The village's voices: which ones a seed draws, and many sentences spoken by several processes."""

from __future__ import annotations

import functools
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from cslm.audio.espeak import Synthesizer
from cslm.audio.waveform import save_waveform
from cslm.corpora.manifest import Utterance
from cslm.corpora.word_times import Word
from cslm.files.progress import progress_bar
from cslm.village.language import Language, Voice

_LINES_PER_CHUNK = 128
"""Spoken in a row by one process. Part of what decides the samples: the synthesizer's noise goes on within a chunk."""
_FILES_PER_FOLDER = 1000


@dataclass(frozen=True)
class Line:
    """One utterance to be spoken."""

    id: str
    text: str
    language: str
    voice: str
    rate_wpm: int
    pitch: int
    group: str | None = None
    said: str | None = None
    """What the synthesizer is given, where that is not the text; as many letters."""
    document: str | None = None
    """The story that it belongs to."""
    place: int | None = None
    """Its place in the story, from 0 on."""

    @property
    def path(self) -> str:
        """Where the audio goes, relative to the corpus."""
        prefix, number = self.id.rsplit("-", 1)
        return f"audio/{prefix}/{int(number) // _FILES_PER_FOLDER:03d}/{self.id}.wav"


@dataclass(frozen=True)
class Cast:
    """The voices of one language."""

    answer: Voice
    heard: list[str]
    """Asking voices of training."""
    unheard: str
    """An asking voice that only a test has; its accent is heard."""


def draw_cast(language: Language, num_heard: int, generator: np.random.Generator) -> Cast:
    """Draw the asking voices, the accents in turn, every voice another variant as long as there are enough."""
    pool = language.question_voices
    accents = generator.permutation(pool.accents).tolist()
    variants = generator.permutation(pool.variants).tolist()
    count = len(variants)
    order = [(variants[i % count], accents[(i % count + i // count) % len(accents)]) for i in range(num_heard)]
    heard_accents = [accent for _, accent in order]
    left = [(variant, accent) for variant in variants for accent in heard_accents if (variant, accent) not in order]
    fresh = [choice for choice in left if choice[0] not in {variant for variant, _ in order}] or left
    variant, accent = fresh[int(generator.integers(len(fresh)))]
    return Cast(language.answer_voice, [f"{accent}+{variant}" for variant, accent in order], f"{accent}+{variant}")


def answer_line(
    number: int, kind: str, text: str, language: Language, group: str | None = None, said: str | None = None
) -> Line:
    """A line in the answer voice, always at the same rate and pitch."""
    voice = language.answer_voice
    name = f"{language.language}-{kind}-{number:06d}"
    return Line(name, text, language.language, voice.voice, voice.rate_wpm, voice.pitch, group, said)


def asking_line(
    number: int,
    kind: str,
    text: str,
    language: Language,
    voice: str,
    jitter: float,
    generator: np.random.Generator,
    group: str | None = None,
    said: str | None = None,
) -> Line:
    """A line in an asking voice, at a random rate and pitch."""
    pool = language.question_voices
    rate_wpm = round(pool.rate_wpm * (1 + jitter * generator.uniform(-1, 1)))
    pitch = round(pool.pitch * (1 + jitter * generator.uniform(-1, 1)))
    name = f"{language.language}-{kind}-{number:06d}"
    return Line(name, text, language.language, voice, rate_wpm, pitch, group, said)


def speak_lines(lines: list[Line], folder: Path, num_workers: int) -> Iterator[Utterance]:
    """Speak every line into ``folder`` and yield its utterance, in order. The samples do not depend on the workers."""
    chunks = [lines[start : start + _LINES_PER_CHUNK] for start in range(0, len(lines), _LINES_PER_CHUNK)]
    speak = functools.partial(_speak_chunk, folder=folder)
    for place in sorted({(folder / line.path).parent for line in lines}):
        place.mkdir(parents=True, exist_ok=True)
    if num_workers == 1 or len(chunks) < 2:
        yield from _utterances(chunks, map(speak, chunks))
        return
    with ProcessPoolExecutor(num_workers, multiprocessing.get_context("spawn")) as pool:
        yield from _utterances(chunks, pool.map(speak, chunks))


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def _utterances(chunks: list[list[Line]], results: Iterator[list[tuple[float, list[Word]]]]) -> Iterator[Utterance]:
    lines = (line for chunk in chunks for line in chunk)
    spoken = (result for chunk in results for result in chunk)
    both = zip(lines, spoken, strict=True)
    for line, (duration_sec, words) in progress_bar(both, sum(map(len, chunks)), "speaking"):
        yield Utterance(
            id=line.id,
            audio=line.path,
            text=line.text,
            language=line.language,
            duration_sec=duration_sec,
            speaker=line.voice,
            words=words,
            group=line.group,
            document=line.document,
            place=line.place,
        )


def _speak_chunk(lines: list[Line], folder: Path) -> list[tuple[float, list[Word]]]:
    synthesizer = Synthesizer()
    synthesizer.reset()
    spoken: dict[str, tuple[float, list[Word]]] = {}
    for line in sorted(lines, key=lambda line: line.voice):  # changing the voice takes time
        speech = synthesizer.speak(line.said or line.text, line.voice, line.rate_wpm, line.pitch)
        save_waveform(folder / line.path, speech.waveform, speech.sample_rate_hz, durable=False)
        words = speech.words if line.said is None else character_times(line.text, speech.words)
        spoken[line.id] = (round(len(speech.waveform) / speech.sample_rate_hz, 6), words)
    return [spoken[line.id] for line in lines]


def character_times(text: str, words: list[Word]) -> list[Word]:
    """The times of a text's characters: they share the time of the word that they stand in, which has as many."""
    letters = iter([letter for letter in text if letter.isalnum()])
    times: list[Word] = []
    for word, start_sec, end_sec in words:
        edges = np.linspace(start_sec, end_sec, len(word) + 1).round(4).tolist()
        times += [(next(letters), start, end) for start, end in pairwise(edges)]
    assert next(letters, None) is None, f"the synthesizer was given other letters than {text!r} has"
    return times
