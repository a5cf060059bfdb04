"""When each part of a streamed reply was known: plain values, for a file and for the report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cslm.generation.events import AnswerSamples, AnswerText, AnswerUnits, QuestionHeard, QuestionText, ReplyEvent


def time_line(events: Iterable[ReplyEvent]) -> dict[str, Any]:
    """The times of a whole reply, in seconds after it was asked for.

    ``heard_sec``; ``before_answer_sec``, of each piece of text before the answer; ``chunks``, each with
    ``text_sec`` and ``units_sec`` of its pieces; ``sounds``, pairs of when one was given out and how long it lasts;
    ``end_sec``; ``num_ids``.
    """
    told: dict[str, Any] = {"heard_sec": 0.0, "before_answer_sec": [], "chunks": [], "sounds": []}
    for event in events:
        time_sec = round(event.time_sec, 4)
        if isinstance(event, QuestionHeard):
            told["heard_sec"] = time_sec
        elif isinstance(event, QuestionText):
            told["before_answer_sec"].append(time_sec)
        elif isinstance(event, AnswerText):
            _chunk(told, event.chunk)["text_sec"].append(time_sec)
        elif isinstance(event, AnswerUnits):
            _chunk(told, event.chunk)["units_sec"].append(time_sec)
        elif isinstance(event, AnswerSamples):
            told["sounds"].append([time_sec, round(len(event.samples) / event.sample_rate_hz, 4)])
        else:
            told["end_sec"], told["num_ids"] = time_sec, event.num_ids
    return told


def _chunk(told: dict[str, Any], number: int) -> dict[str, list[float]]:
    while len(told["chunks"]) <= number:
        told["chunks"].append({"text_sec": [], "units_sec": []})
    chunk: dict[str, list[float]] = told["chunks"][number]
    return chunk


def played(sounds: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """When a player sounds, as stretches ``(from, to)`` in seconds: at once, and again whenever it had run dry.

    Args:
        sounds: pairs of when a sound came and how long it lasts, in their order.
    """
    stretches: list[tuple[float, float]] = []
    for came, lasts in sounds:
        if stretches and came <= stretches[-1][1]:
            stretches[-1] = (stretches[-1][0], stretches[-1][1] + lasts)
        else:
            stretches.append((came, came + lasts))
    return stretches
