"""What a chat may go on from: answers of this server, to the questions that stand before them, while they are known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cslm.codecs.units import Units
from cslm.sequences.prompts import PastTurn
from cslm.serving.chat_messages import GivenAnswers
from cslm.serving.limits import LimitsConfig
from cslm.serving.refusals import Refusal
from tests.worlds.served import asked, wav
from tests.worlds.tiny_checkpoint import tone

FIRST, SECOND = (asked(wav_file=wav(tone(seconds, 16000)))["messages"][0] for seconds in (0.1, 0.2))
NAMED = {"role": "assistant", "audio": {"id": "audio_1"}}
TURN = PastTurn(Units(np.zeros((3, 1), np.int32)), "en", "en", (("Yes.", Units(np.ones((2, 1), np.int32))),), {})


def given(clock: Any = lambda: 0.0, **limits: int) -> GivenAnswers:
    """A server that has answered FIRST, in sound and in text."""
    answers = GivenAnswers(LimitsConfig(**limits), clock)
    asked_first = answers.read({"messages": [FIRST]})
    assert asked_first.past == ()
    answers.keep(asked_first, (TURN,), "Yes.", "audio_1")
    answers.keep(asked_first, (TURN,), "Yes.", None)
    return answers


@pytest.mark.parametrize("named", [NAMED, {"role": "assistant", "content": "Yes."}])
def test_an_answer_is_known_by_the_name_of_its_sound_or_by_its_text(named: dict[str, Any]) -> None:
    read = given().read({"messages": [FIRST, named, SECOND]})
    assert read.past == (TURN,)
    assert read.wav == wav(tone(0.2, 16000))


@pytest.mark.parametrize(
    ("messages", "code", "told"),
    [
        ([SECOND, NAMED, FIRST], "unknown_answer", r"messages\[1\] is no answer that is known here"),
        ([FIRST, {"role": "assistant", "audio": {"id": "audio_2"}}, SECOND], "unknown_answer", "is no answer that is"),
        ([FIRST, {"role": "assistant", "content": "No."}, SECOND], "unknown_answer", "is no answer that is"),
        ([SECOND, {"role": "assistant", "content": "Yes."}, FIRST], "unknown_answer", "is no answer that is"),
        ([FIRST, NAMED], "unsupported_messages", "there are 2 messages"),
        ([FIRST, SECOND, FIRST], "unsupported_messages", r"messages\[1\] must be the assistant's"),
        ([NAMED, FIRST, NAMED], "unsupported_messages", r"messages\[0\] must be the user's"),
        ([FIRST, NAMED | {"content": "Yes."}, SECOND], "unsupported_messages", r"messages\[1\] must have audio"),
        ([FIRST, {"role": "assistant"}, SECOND], "unsupported_messages", r"messages\[1\] must have audio"),
        ([FIRST, NAMED | {"name": "Anna"}, SECOND], "unknown_parameter", "'name'"),
        ([FIRST, NAMED | {"tool_calls": [1]}, SECOND], "unsupported_parameter", "tool_calls"),
        (
            [FIRST, {"role": "assistant", "audio": {"id": "audio_1", "data": "x"}}, SECOND],
            "unknown_parameter",
            "id alone",
        ),
        ([FIRST, {"role": "assistant", "audio": {"id": 1}}, SECOND], "invalid_type", "id is 1"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused(messages: list[Any], code: str, told: str) -> None:
    with pytest.raises(Refusal, match=told) as refused:
        given().read({"messages": messages})
    assert refused.value.code == code


def test_answers_are_forgotten_when_they_are_old_or_many() -> None:
    now = [0.0]
    answers = given(lambda: now[0], session_timeout_sec=60)
    now[0] = 59.0
    assert answers.read({"messages": [FIRST, NAMED, SECOND]}).past == (TURN,)
    now[0] = 61.0
    with pytest.raises(Refusal, match="too old"):
        answers.read({"messages": [FIRST, NAMED, SECOND]})
    with pytest.raises(Refusal, match="is no answer"):
        given(num_kept_answers=1).read({"messages": [FIRST, NAMED, SECOND]})  # the one in text came later
    with pytest.raises(Refusal, match="is no answer"):
        given(num_kept_answers=0).read({"messages": [FIRST, NAMED, SECOND]})


def test_an_answer_was_gone_on_from_behind_others_than_it_was_given_after() -> None:
    """Two conversations with the same questions and last text had one place; the first answer was passed over."""
    answers, turns = GivenAnswers(LimitsConfig()), {}
    for said in ("Yes.", "No."):
        first = answers.read({"messages": [FIRST]})
        answers.keep(first, (replace(TURN, texts={"said": said}),), said, None)
        messages = [FIRST, {"role": "assistant", "content": said}, SECOND]
        second = answers.read({"messages": messages})
        turns[said] = (*second.past, TURN)
        answers.keep(second, turns[said], "Ok.", None)
    for said in ("Yes.", "No."):
        messages = [
            FIRST,
            {"role": "assistant", "content": said},
            SECOND,
            {"role": "assistant", "content": "Ok."},
            FIRST,
        ]
        assert answers.read({"messages": messages}).past == turns[said]
    messages[1] = {"role": "assistant", "content": "Perhaps."}
    with pytest.raises(Refusal, match=r"messages\[3\] is no answer that is known here"):
        answers.read({"messages": messages})


def test_of_a_long_chat_the_last_answer_alone_must_still_be_known() -> None:
    answers = GivenAnswers(LimitsConfig(num_kept_answers=1))
    answers.keep(answers.read({"messages": [FIRST]}), (TURN,), "", "audio_1")
    messages = [FIRST, NAMED, SECOND]
    answers.keep(answers.read({"messages": messages}), (TURN, TURN), "", "audio_2")
    messages += [{"role": "assistant", "audio": {"id": "audio_2"}}, FIRST]
    assert answers.read({"messages": messages}).past == (TURN, TURN)
