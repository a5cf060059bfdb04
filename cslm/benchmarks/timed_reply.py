"""One reply, timed: the model and the decoder each by itself, step by step and window by window.

What is asked stands in a file of dialogues, its audio in a manifest. The clock is ``time.perf_counter``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from cslm.codecs.units import Units
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.decoder.speech_stream import SpeechStream
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import AnswerUnits, QuestionHeard
from cslm.generation.processor import Audio
from cslm.generation.replay import MadeWindow, WrittenId
from cslm.generation.reply_scribe import ReplyScribe

_ROUNDING_SEC = 1e-4


class Asked(NamedTuple):
    """One question of the measurement."""

    question: Audio
    question_language: str
    answer_language: str


def read_asked(dialogues: Path, manifest: str, most: int) -> list[Asked]:
    """The first questions of a file of dialogues, with the audio that a manifest knows.

    Raises:
        UserError: the manifest has no utterance that is asked, or nothing is.
    """
    lines = [record for _, record in islice(read_json_lines(dialogues), most)]
    audio = {one.id: str(resolve_audio(manifest, one)) for one in read_manifest(manifest)}
    missing = [line["question"] for line in lines if line["question"] not in audio]
    if missing:
        raise UserError(f"{manifest} has no utterance {missing[0]!r}, which {dialogues} asks")
    if not lines:
        raise UserError(f"{dialogues} asks nothing: give a file with dialogues, and one question or more")
    return [Asked(audio[line["question"]], line["question_language"], line["answer_language"]) for line in lines]


class Timed(NamedTuple):
    """One reply, model and decoder each by itself."""

    ids: list[WrittenId]
    windows: list[MadeWindow]
    units: list[Units]
    """handed to the decoder: one a window, but for the last, which ends the utterance"""
    num_chunks: int
    """of the answer, that have units"""
    num_samples: int

    @property
    def writing_sec(self) -> float:
        """Of all steps."""
        return sum(one.seconds for one in self.ids)

    @property
    def decoding_sec(self) -> float:
        """Of all windows."""
        return sum(window.decoding_sec for window in self.windows)

    @property
    def sound_sec(self) -> float:
        """How long it lasts."""
        return sum(window.sound_sec for window in self.windows)


def timed_apart(model: Any, heard: QuestionHeard, decoding: DecodingConfig) -> Timed:
    """The same reply with nothing beside: each step of the model timed, then each window of the decoder."""
    processor = model.processor
    scribe, ids = ReplyScribe(processor.form, processor.chain), list[WrittenId]()
    spoken: list[tuple[int, Units]] = []
    num_chunks = 0
    before = time.perf_counter()
    for token_id in model.tasks().write_answer(
        heard.units, heard.question_language, heard.answer_language, decoding, torch.Generator().manual_seed(0)
    ):
        seconds = time.perf_counter() - before
        events = scribe.push([token_id], 0.0)
        ids.append(WrittenId(seconds, not scribe.answer_begun, processor.vocabulary.is_unit(token_id)))
        for event in events:
            if isinstance(event, AnswerUnits):
                spoken.append((len(ids), event.units))
                num_chunks = event.chunk + 1
        before = time.perf_counter()
    windows, num_samples = list[MadeWindow](), 0
    if processor.speaks and spoken:
        stream = SpeechStream(processor.decoder, processor.voice(heard.answer_language))
        windows, num_samples = _timed_windows(stream, spoken, len(ids), processor.decoder.sample_rate_hz)
    return Timed(ids, windows, [units for _, units in spoken], num_chunks, num_samples)


def _timed_windows(
    stream: SpeechStream, spoken: Sequence[tuple[int, Units]], num_ids: int, rate_hz: int
) -> tuple[list[MadeWindow], int]:
    """The windows of an utterance, and its samples; ``spoken`` are units and how many ids were written by then."""
    windows: list[MadeWindow] = []
    num_samples = num_units = 0
    for count, units in [*spoken, (num_ids, None)]:
        start = time.perf_counter()
        samples, ends = stream.finish() if units is None else stream.push(units)
        seconds = time.perf_counter() - start
        num_samples, num_units = num_samples + len(samples), num_units + len(ends)
        windows.append(MadeWindow(count, seconds, len(samples) / rate_hz, num_units))
    return windows, num_samples


def floor_sec(ids: Sequence[WrittenId], windows: Sequence[MadeWindow], sound_sec: float) -> float:
    """Seconds to so much sound if nothing were in the way, from when the units of the question are known.

    The first step, which reads the prompt, the further ids that this sound needs, and the decoding of its last window.
    """
    sound = 0.0
    for window in windows:
        sound += window.sound_sec
        if sound > 0 and sound >= sound_sec - _ROUNDING_SEC:
            break
    return sum(one.seconds for one in ids[: window.num_ids]) + window.decoding_sec


def spread(found: Sequence[float | None]) -> dict[str, float] | None:
    """How many there are, their percentiles and the largest; None where there is none."""
    there = [one for one in found if one is not None]
    if not there:
        return None
    shares = {f"p{share}": float(np.percentile(there, share)) for share in (50, 95, 99)}
    return {"n": len(there), **shares, "max": float(max(there))}
