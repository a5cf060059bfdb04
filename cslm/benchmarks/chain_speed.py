"""How much sooner a chunked answer is heard than one of the full chain (TQ, TA, SA), question by question.

The two are checkpoints of their own: what differs is the chain that they were fine-tuned with. Times begin when the
units of the question are known (``time.perf_counter``); tokens are those that were written.

- ``sooner``: of the full chain, spoken when whole, by the streamed first sound of the other: all ids + the decoding of
  the whole at once, by ``first_sec``.
- ``sooner_in_tokens``: tokens up to the first ``<eosp>`` of the one, inclusive, by those of the other: the first
  stretch of speech is whole then.
- ``sooner_than_streamed``: the first sound of the full chain, streamed too, by that of the other.

All three by the number of chunks of the chunked answer. Answers of the two differ, as the models do: where one of them
does not speak, the question is left out and counted (``num_silent``).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from cslm.benchmarks.timed_reply import Asked, spread
from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import AnswerSamples, AnswerUnits, QuestionHeard, ReplyEnd


class HeardReply(NamedTuple):
    """When one answer was heard."""

    num_chunks: int
    first_sec: float
    """to the first sound, streamed"""
    num_ids: int
    """up to the first ``<eosp>``, inclusive"""
    when_whole_sec: float
    """to all of its sound, where nothing is spoken before all is written"""


def against_full(model: Any, full: Any, asked: Sequence[Asked], decoding: DecodingConfig) -> dict[str, Any]:
    """The figures of this module; the first question warms up.

    Raises:
        UserError: the model's answers are not in chunks, or those of the other are.
    """
    for one, chunked in ((model, True), (full, False)):
        if one.processor.chain.chunked != chunked or not one.processor.speaks:
            raise UserError(
                f"{one.processor.name} answers in the order {one.processor.order!r}: "
                "measure a spoken chunked chain (interleaved) against one that is not (full)"
            )
    pairs = [tuple(_heard(one, question, decoding) for one in (model, full)) for question in asked][1:]
    spoken = [(chunked, whole) for chunked, whole in pairs if chunked is not None and whole is not None]
    return {"num_silent": len(pairs) - len(spoken), **sooner(spoken)}


def sooner(pairs: Sequence[tuple[HeardReply, HeardReply]]) -> dict[str, Any]:
    """The three figures by number of chunks, of pairs of a chunked reply and one of the full chain."""
    told: dict[str, Any] = {}
    for number in sorted({chunked.num_chunks for chunked, _ in pairs}):
        chosen = [(chunked, full) for chunked, full in pairs if chunked.num_chunks == number]
        told[str(number)] = {
            "sooner": spread([full.when_whole_sec / chunked.first_sec for chunked, full in chosen]),
            "sooner_in_tokens": spread([full.num_ids / chunked.num_ids for chunked, full in chosen]),
            "sooner_than_streamed": spread([full.first_sec / chunked.first_sec for chunked, full in chosen]),
        }
    return told


def _heard(model: Any, asked: Asked, decoding: DecodingConfig) -> HeardReply | None:
    """Ask one question, streamed and then spoken when whole; None where nothing was spoken to its end."""
    events = list(model.stream(asked.question, asked.answer_language, asked.question_language, decoding))
    heard, end = events[0], events[-1]
    assert isinstance(heard, QuestionHeard) and isinstance(end, ReplyEnd)
    first = next((event for event in events if isinstance(event, AnswerSamples)), None)
    units = [event for event in events if isinstance(event, AnswerUnits)]
    eosp = model.processor.vocabulary.eosp
    if first is None or eosp not in end.ids:
        return None
    return HeardReply(
        units[-1].chunk + 1,
        first.time_sec - heard.time_sec,
        end.ids.index(eosp) + 1,
        _when_whole_sec(model, heard, decoding, [event.units for event in units]),
    )


def _when_whole_sec(model: Any, heard: QuestionHeard, decoding: DecodingConfig, units: Sequence[Units]) -> float:
    """Write all ids, then decode all of their units at once."""
    start = time.perf_counter()
    asked = (heard.units, heard.question_language, heard.answer_language, decoding)
    for _ in model.tasks().write_answer(*asked, torch.Generator().manual_seed(0)):
        pass
    whole = Units(np.concatenate([part.ids for part in units]))
    model.processor.speak([whole], heard.answer_language)
    return time.perf_counter() - start
