"""Streamed replies measured: what needs no server. Greedy.

- ``ids_equal``, ``samples_equal``: shares of the questions whose stream has the ids and the number of samples of the
  whole reply, generated offline and decoded at once.
- ``log_mel_difference``, ``joints``: of the decoder, see ``cslm/benchmarks/joined_speech.py``.
- ``first_sound``: computing time to the first sound (``first_sec``), to the end of the reply (``whole_sec``), the one
  by the other (``share``), and how long the answer plays (``playing_sec``). ``cold`` is the first reply of the process;
  ``warm`` are the others, by the number of chunks of the answer.
- ``first_sound_by_floor``: ``first_sec`` by its floor: the first step (the prompt) + the further steps that the sound
  given out needed + the decoding of its last window, each by itself. ``first_sound_by_first_window``: by the floor of
  the first sound that there is at all, so with what was held back lest the player starve.
- ``overlap``: of the time that two independent loops (the ids alone, the sound alone) save side by side, the part that
  replies save; null where the loops save less than a twentieth of the shorter, with a ``note``.
- ``starved_ms``: the longest wait of a player, by measured step times on a simulated clock, stretched so that a
  replayed reply takes as long as it took streamed; ``starved_ms_at_09`` stretched until a second of speech takes 0.9 s.
  ``real_time_factor``: seconds for a second of speech, of ids or sound, whichever takes longer.
- ``many_at_once``: see ``cslm/benchmarks/simulated_server.py``.
- ``against_full``: see ``cslm/benchmarks/chain_speed.py``.
- ``decoder_real_time_factor``, ``vocoder_reach_sec``: of the decoder part by part.
- ``cancel_ms``: from the call to its return.

Computing time is of ``time.perf_counter``, from the event ``QuestionHeard`` to the event that is named.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch

from cslm.benchmarks.chain_speed import against_full
from cslm.benchmarks.joined_speech import joined_speech
from cslm.benchmarks.simulated_server import many_at_once
from cslm.benchmarks.timed_reply import Asked, Timed, floor_sec, spread, timed_apart
from cslm.decoder.speech_stream import SpeechStream
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import AnswerSamples, QuestionHeard, ReplyEnd
from cslm.generation.replay import replay

LEAST_SAVED = 0.05
"""of the shorter of two loops: what is less cannot be told from noise"""


class FirstSound(NamedTuple):
    """When one reply was heard and done, in computing time."""

    num_chunks: int
    first_sec: float
    whole_sec: float
    playing_sec: float

    def figures(self) -> dict[str, float]:
        """What is told of it."""
        return {
            "first_sec": self.first_sec,
            "whole_sec": self.whole_sec,
            "share": self.first_sec / self.whole_sec,
            "playing_sec": self.playing_sec,
        }


class SideBySide(NamedTuple):
    """Seconds of one reply's two kinds of work."""

    writing_sec: float
    """of the ids alone"""
    speaking_sec: float
    """of the sound alone"""
    beside_sec: float
    """of two independent loops, one of each, side by side"""
    reply_sec: float
    """of the streamed reply"""


class _Run(NamedTuple):
    """One question."""

    ids_equal: bool
    samples_equal: bool
    heard: QuestionHeard
    timed: Timed
    first: FirstSound | None = None
    by_floor: float = 0.0
    by_first_window: float = 0.0
    beside: SideBySide | None = None


def streamed_replies(
    model: Any,
    asked: Sequence[Asked],
    decoding: DecodingConfig,
    num_cancels: int = 100,
    full: Any = None,
) -> dict[str, Any]:
    """The figures of this module, for a model and some questions; the first is asked cold.

    Args:
        full: a model that answers by the full chain, to be measured against.
    """
    runs = [_one(model, one, decoding) for one in asked]
    warm = runs[1:] or runs
    spoken = [run for run in warm if run.first is not None]
    found: dict[str, Any] = {
        "clock": "time.perf_counter, from the event QuestionHeard",
        "num_replies": len(warm),
        "num_spoken": len(spoken),
        "ids_equal": float(np.mean([run.ids_equal for run in warm])),
        "samples_equal": float(np.mean([run.samples_equal for run in warm])),
        "first_sound": {
            "cold": None if runs[0].first is None else runs[0].first.figures(),
            "warm": by_chunks([run.first for run in spoken if run.first is not None]),
        },
        "first_sound_by_floor": spread([run.by_floor for run in spoken]),
        "first_sound_by_first_window": spread([run.by_first_window for run in spoken]),
        "overlap": overlap([run.beside for run in spoken if run.beside is not None]),
        **_starving(spoken, model.processor.chain.chunked),
        "cancel_ms": _cancels(model, asked, decoding, num_cancels),
    }
    if spoken:
        timed = [run.timed for run in spoken]
        found["decoder_real_time_factor"] = spread([one.decoding_sec / one.sound_sec for one in timed])
        found["many_at_once"] = many_at_once(model, [run.heard for run in spoken], timed)
        answers = [(run.heard.answer_language, run.timed.units) for run in spoken]
        found |= joined_speech(model.processor, answers)
    decoder = model.processor.decoder
    if decoder is not None:
        found["vocoder_reach_sec"] = decoder.vocoder.reach * decoder.grid.hop_length / decoder.sample_rate_hz
    if full is not None:
        found["against_full"] = against_full(model, full, asked, decoding)
    return found


def by_chunks(found: Sequence[FirstSound]) -> dict[str, Any]:
    """Percentiles of each figure, of replies with so many chunks."""
    told: dict[str, Any] = {}
    for number in sorted({one.num_chunks for one in found}):
        figures = [one.figures() for one in found if one.num_chunks == number]
        told[str(number)] = {name: spread([one[name] for one in figures]) for name in figures[0]}
    return told


def overlap(found: Sequence[SideBySide]) -> dict[str, Any]:
    """``value`` over all replies, or None and a ``note``; beside it the seconds."""
    totals = SideBySide(*(sum(values) for values in zip(*found, strict=True))) if found else SideBySide(0, 0, 0, 0)
    alone = totals.writing_sec + totals.speaking_sec
    possible, shorter = alone - totals.beside_sec, min(totals.writing_sec, totals.speaking_sec)
    told: dict[str, Any] = {"value": None, "note": None, **totals._asdict()}
    if not shorter or possible < LEAST_SAVED * shorter:
        told["note"] = f"not measurable: two independent loops save {possible:.2f} of {shorter:.2f} s"
    else:
        told["value"] = (alone - totals.reply_sec) / possible
    return told


def _one(model: Any, asked: Asked, decoding: DecodingConfig) -> _Run:
    start = time.perf_counter()
    events = list(model.stream(asked.question, asked.answer_language, asked.question_language, decoding))
    took = time.perf_counter() - start
    heard, end = events[0], events[-1]
    assert isinstance(heard, QuestionHeard) and isinstance(end, ReplyEnd)
    sounds = [event for event in events if isinstance(event, AnswerSamples)]
    languages = ([heard.question_language], [heard.answer_language])
    offline = model.tasks().answer([heard.units], *languages, decoding)[0]
    timed = timed_apart(model, heard, decoding)
    equal = offline.ids == list(end.ids), sum(len(event.samples) for event in sounds) == timed.num_samples
    if not timed.sound_sec:
        return _Run(*equal, heard, timed)
    first_sec = sounds[0].time_sec - heard.time_sec
    first = FirstSound(timed.num_chunks, first_sec, end.time_sec - heard.time_sec, timed.sound_sec)
    given_out = len(sounds[0].samples) / sounds[0].sample_rate_hz
    by_floor, by_first = (first_sec / floor_sec(timed.ids, timed.windows, sound_sec) for sound_sec in (given_out, 0.0))
    beside = _beside(model, heard, decoding, timed, took - heard.time_sec)
    return _Run(*equal, heard, timed, first, by_floor, by_first, beside)


def _beside(model: Any, heard: QuestionHeard, decoding: DecodingConfig, timed: Timed, reply_sec: float) -> SideBySide:
    """The work of a reply as two loops that know nothing of each other: alone, then side by side."""
    voice = model.processor.voice(heard.answer_language)
    asked = (heard.units, heard.question_language, heard.answer_language, decoding)

    def write() -> None:
        for _ in model.tasks().write_answer(*asked, torch.Generator().manual_seed(0)):
            pass

    def speak() -> None:
        stream = SpeechStream(model.processor.decoder, voice)
        for units in timed.units:
            stream.push(units)
        stream.finish()

    with ThreadPoolExecutor(2) as pool:

        def seconds(*loops: Callable[[], None]) -> float:
            start = time.perf_counter()
            for running in [pool.submit(loop) for loop in loops]:
                running.result()
            return time.perf_counter() - start

        return SideBySide(seconds(write), seconds(speak), seconds(write, speak), reply_sec)


def _starving(spoken: Sequence[_Run], chunked: bool) -> dict[str, Any]:
    now: list[float] = []
    at_09: list[float] = []
    factors: list[float] = []
    for run in spoken:
        assert run.first is not None
        timed, longer = run.timed, max(run.timed.writing_sec, run.timed.decoding_sec)
        stretch = max(1.0, run.first.whole_sec / replay(timed.ids, timed.windows, chunked).whole_sec)
        factors.append(stretch * longer / timed.sound_sec)
        for kept, slower in ((now, stretch), (at_09, 0.9 * timed.sound_sec / longer)):
            kept.append(1000 * max(0.0, replay(timed.ids, timed.windows, chunked, slower).starved_sec))
    return {"starved_ms": spread(now), "starved_ms_at_09": spread(at_09), "real_time_factor": spread(factors)}


def _cancels(model: Any, asked: Sequence[Asked], decoding: DecodingConfig, count: int) -> dict[str, float] | None:
    return spread(list(_cancelled_ms(model, asked, decoding, count)))


def _cancelled_ms(model: Any, asked: Sequence[Asked], decoding: DecodingConfig, count: int) -> Iterator[float]:
    numbers = np.random.default_rng(0)
    for place in range(count):
        question, spoken, answered = asked[place % len(asked)]
        events = model.stream(question, answered, spoken, decoding)
        for _ in range(int(numbers.integers(1, 40))):
            next(events, None)
        start = time.perf_counter()
        events.close()
        yield 1000 * (time.perf_counter() - start)
