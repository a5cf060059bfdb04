"""Scores from lines of replies.jsonl, counted by hand."""

from __future__ import annotations

from typing import Any

from cslm.evaluation.dialogue_score import dialogue_scores


def line(answer: str, heard: str, **changed: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "direction": "zh-en",
        "question_language": "zh",
        "answer_language": "en",
        "question_reference": "安娜做什么工作？",
        "question": "安娜做什么工作？",
        "fact": ["Anna", "baker"],
        "wrong_facts": ["doctor", "Peter"],
        "answer": answer,
        "heard": heard,
        "num_chunks": 2,
        "tokens_to_first_speech": {"interleaved": 50, "full": 90},
        **changed,
    }


RIGHT = "Anna works as a baker, and everybody knows it."
REPLIES = [
    line(RIGHT, "anna works as a baker and everybody knows it", other_ear="anna works as a baker"),
    line(RIGHT, "anna works as a doctor and everybody knows it", other_ear="anna works"),
    line("安娜是面包师。", "", question=None, num_chunks=0, tokens_to_first_speech=None),
    line(RIGHT, RIGHT, num_chunks=4, tokens_to_first_speech={"interleaved": 40, "full": 120}),
    line(RIGHT, RIGHT, direction="en-en", question_language="en", question_reference="What?", question="What"),
]


def test_shares_rates_and_latencies_of_a_direction() -> None:
    scores = dialogue_scores(REPLIES)
    assert list(scores) == ["zh-en", "en-en"]
    found = scores["zh-en"]
    assert (found["n"], found["text_accuracy"], found["speech_accuracy"], found["off_target"]) == (4, 0.75, 0.5, 0.25)
    assert found["asr_er"] == round((0 + 1 + 1 + 0) / (9 + 9 + 1 + 9), 5)
    assert found["question_er"] == round(7 / 28, 5)
    assert (found["other_ear_accuracy"], found["other_ear_n"]) == (0.5, 2)
    assert found["tokens_to_first_speech"] == {
        "2": {"interleaved": 50.0, "full": 90.0, "ratio": 1.8, "n": 2},
        "4": {"interleaved": 40.0, "full": 120.0, "ratio": 3.0, "n": 1},
    }
    assert "other_ear_accuracy" not in scores["en-en"] and scores["en-en"]["question_er"] == 0.0


def test_the_same_lines_give_the_same_scores() -> None:
    assert dialogue_scores(REPLIES, 3) == dialogue_scores([dict(reply) for reply in REPLIES], 3)
