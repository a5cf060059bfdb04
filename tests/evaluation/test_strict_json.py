"""A reply is the JSON object that was asked for, or the model is told what is wrong with it."""

from __future__ import annotations

import pytest

from cslm.evaluation.chat import UnwantedReplyError
from cslm.evaluation.strict_json import WantedKey, read_json
from cslm.ranges import Range

WANTED = {"score": WantedKey("whole number", Range(1, 5)), "reason": WantedKey("text")}


@pytest.mark.parametrize(
    "reply",
    [
        '{"score": 4, "reason": "it names the baker"}',
        ' {"reason": "it names the baker",\n "score": 4}\n',
        '```json\n{"score": 4, "reason": "it names the baker"}\n```',
        '<think>\nIs {"score": 1} right? No.\n</think>\n\n{"score": 4, "reason": "it names the baker"}',
        '```\n{"score": 4, "reason": "it names the baker"}\n```',
    ],
)
def test_an_object_with_the_wanted_keys_is_read(reply: str) -> None:
    assert read_json(reply, WANTED) == {"score": 4, "reason": "it names the baker"}


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ("4", "no object with the keys score, reason"),
        ("[4]", "no object with the keys score, reason"),
        ("Score: 4", "not one JSON object alone"),
        ('{"score": 4, "reason": "x"} I hope this helps', "not one JSON object alone"),
        ('{"score": 4, "reason": "x"', "not one JSON object alone"),
        ('{"score": 4, "score": 5, "reason": "x"}', "the key score stands twice"),
        ('{"score": NaN, "reason": "x"}', "NaN is no number of JSON"),
        ('{"score": 4}', "the key reason is missing"),
        ('{"score": 4, "reason": "x", "more": 1}', "the key more was not asked for"),
        ('{"score": 6, "reason": "x"}', "score is 6 and must be a whole number, at least 1 and at most 5"),
        ('{"score": 0, "reason": "x"}', "score is 0 and must be"),
        ('{"score": 4.5, "reason": "x"}', "score is 4.5 and must be a whole number"),
        ('{"score": "4", "reason": "x"}', 'score is "4" and must be a whole number'),
        ('{"score": true, "reason": "x"}', "score is true and must be a whole number"),
        ('{"score": null, "reason": "x"}', "score is null and must be"),
        ('{"score": 4, "reason": 5}', "reason is 5 and must be a text"),
        ('{"score": 4, "reason": "\\ud83d"}', "reason holds half of a Unicode character"),
        ('{"score": 1e999, "reason": "x"}', "score is Infinity and must be a whole number"),
        ("[" * 100_000, "not one JSON object alone"),
    ],
)
def test_anything_else_is_told_to_the_model(reply: str, fault: str) -> None:
    with pytest.raises(UnwantedReplyError, match=fault):
        read_json(reply, WANTED)


def test_right_or_wrong_is_true_or_false_and_no_number() -> None:
    wanted = {"right": WantedKey("true or false")}
    assert read_json('{"right": false}', wanted) == {"right": False}
    for reply in ('{"right": 0}', '{"right": "false"}'):
        with pytest.raises(UnwantedReplyError, match="must be true or false"):
            read_json(reply, wanted)
