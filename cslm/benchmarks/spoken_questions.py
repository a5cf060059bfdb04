"""Questions that are spoken in real time, short and long: how much later does a long one's answer begin?

A question is pushed in pieces of 100 ms by the clock (``time.perf_counter``), each when its last sample was spoken.
Times begin when the last piece was pushed. Where the speech tokenizer's reach is bounded, the model reads while the
question goes on (``hears_ahead``); else all of that stands in these times.

- ``first_id_ms``: to the first id of the reply. ``first_audio_ms``: to its first sound.
- ``num_ids``: written by the first sound. A long question has a longer transcript, which most chains write first: that
  is no reading of the question, so ``first_audio_ms_per_id`` is there too.
- ``long_by_short``: medians of the long ones by those of the short.

A question of so many seconds is made of the recordings one after the other, each as it is, cut there.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.audio.waveform import load_waveform, resample
from cslm.benchmarks.timed_reply import Asked, spread
from cslm.codecs.codec import reach_of
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import AnswerSamples, QuestionHeard
from cslm.generation.processor import mono_float

PIECE_SEC = 0.1
_RATE_HZ = 16000


def spoken_questions(
    model: Any, asked: Sequence[Asked], decoding: DecodingConfig, short_sec: float = 2.0, long_sec: float = 10.0
) -> dict[str, Any]:
    """The figures of this module: each question as a short one and as a long one; the first pair warms up."""
    of: dict[str, list[dict[str, float] | None]] = {"short": [], "long": []}
    for place, one in enumerate(asked):
        same = [other for other in [*asked[place:], *asked[:place]] if other.question_language == one.question_language]
        for name, seconds in (("short", short_sec), ("long", long_sec)):
            of[name].append(_ask(model, one, question_of(same, seconds), decoding))
    found: dict[str, Any] = {
        "clock": "time.perf_counter, from the push of the last piece",
        "hears_ahead": reach_of(model.processor.speech_tokenizer()) is not None,
        "short_sec": short_sec,
        "long_sec": long_sec,
    }
    for name, runs in of.items():
        there = [run for run in runs[1:] or runs if run is not None]
        names = there[0] if there else ()
        found[name] = {"n_silent": len(runs[1:] or runs) - len(there),
                       **{figure: spread([run[figure] for run in there]) for figure in names}}  # fmt: skip
    shared = [
        figure for figure in ("first_id_ms", "first_audio_ms", "first_audio_ms_per_id") if figure in found["long"]
    ]
    found["long_by_short"] = {
        figure: found["long"][figure]["p50"] / found["short"][figure]["p50"]
        for figure in shared
        if figure in found["short"]
    }
    return found


def question_of(asked: Sequence[Asked], seconds: float) -> NDArray[np.float32]:
    """The recordings one after the other, from the first on and again, ``seconds`` of them at 16 kHz."""
    wanted, parts = round(seconds * _RATE_HZ), list[NDArray[np.float32]]()
    while sum(map(len, parts)) < wanted:
        given = asked[len(parts) % len(asked)].question
        samples, rate = given if isinstance(given, tuple) else load_waveform(given)
        parts.append(resample(mono_float(samples), rate, _RATE_HZ))
    return np.concatenate(parts)[:wanted]


def _ask(model: Any, asked: Asked, question: NDArray[np.float32], decoding: DecodingConfig) -> dict[str, float] | None:
    """None where nothing was spoken."""
    ended = [0.0]

    def spoken() -> Iterator[tuple[NDArray[np.float32], int]]:
        start, length = time.perf_counter(), round(PIECE_SEC * _RATE_HZ)
        for first in range(0, len(question), length):
            piece = question[first : first + length]
            time.sleep(max(0.0, start + (first + len(piece)) / _RATE_HZ - time.perf_counter()))
            ended[0] = time.perf_counter()
            yield piece, _RATE_HZ

    events = model.stream(spoken(), asked.answer_language, asked.question_language, decoding)
    first_id_ms = None
    for event in events:
        now_ms = 1000 * (time.perf_counter() - ended[0])
        if isinstance(event, QuestionHeard):
            read_ahead = event.num_read_ahead
        elif event.num_ids and first_id_ms is None:
            first_id_ms = now_ms
        if isinstance(event, AnswerSamples) and first_id_ms is not None:
            events.close()
            return {
                "num_read_ahead": read_ahead,
                "first_id_ms": first_id_ms,
                "first_audio_ms": now_ms,
                "num_ids": event.num_ids,
                "first_audio_ms_per_id": now_ms / event.num_ids,
            }
    return None
