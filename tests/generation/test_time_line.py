"""When each part of a reply was known, from its events; and when a player sounds."""

from __future__ import annotations

import numpy as np

from cslm.codecs.units import Units
from cslm.generation.events import AnswerSamples, AnswerText, AnswerUnits, QuestionHeard, QuestionText, ReplyEnd
from cslm.generation.time_line import played, time_line
from cslm.sequences.chain_of_modality import ParsedReply

UNITS = Units(np.zeros((2, 1), np.int64))
EVENTS = [
    QuestionHeard(0.1, 0, UNITS, "en", "zh"),
    QuestionText(0.2, 3, "question_text", "who"),
    QuestionText(0.3, 5, "question_text", " is"),
    AnswerText(0.41, 8, 0, "Anna"),
    AnswerUnits(0.5, 12, 0, UNITS),
    AnswerSamples(0.6, 12, np.zeros(800, np.float32), 0, 1000, 2, (400, 800)),
    AnswerText(0.70004, 14, 1, "is"),
    AnswerUnits(0.8, 16, 1, UNITS),
    AnswerUnits(0.9, 18, 1, UNITS),
    AnswerSamples(2.0, 18, np.zeros(500, np.float32), 800, 1000, 4, (900, 1300)),
    ReplyEnd(2.1, 19, True, (1,), ParsedReply("who is", "Anna is", [], "interleaved")),
]


def test_each_part_has_its_times():
    assert time_line(EVENTS) == {
        "heard_sec": 0.1,
        "before_answer_sec": [0.2, 0.3],
        "chunks": [{"text_sec": [0.41], "units_sec": [0.5]}, {"text_sec": [0.7], "units_sec": [0.8, 0.9]}],
        "sounds": [[0.6, 0.8], [2.0, 0.5]],
        "end_sec": 2.1,
        "num_ids": 19,
    }


def test_a_player_goes_on_or_waits():
    assert played([(1.0, 0.5), (1.2, 0.5), (2.5, 1.0)]) == [(1.0, 2.0), (2.5, 3.5)]
    assert played([]) == []
