"""Dialogues of several turns as documents name them: what is kept of a stopped answer, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cslm.batches.documents import JsonLines
from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.sequences.spoken_turns import first_units, num_units_heard

CHUNKS = [
    ("Anna", Units(np.array([[1], [2], [3]]), np.array([2, 1, 2]))),
    ("sings", Units(np.array([[4], [5]]), np.array([1, 4]))),
]
TURN = {"question": "q", "question_text": "Who?", "answer": "a", "answer_text": "Anna.", "answer_language": "en"}
FIELDS = ("question", "question_text", "question_language", "answer", "answer_text", "answer_language")


@pytest.mark.parametrize(
    ("seconds", "kept"),
    [
        (0.0, []),
        (0.19, []),  # the first unit lasts 0.2 s
        (0.2, [("Anna", [1])]),
        (0.5, [("Anna", [1, 2, 3])]),
        (0.6, [("Anna", [1, 2, 3]), ("sings", [4])]),
        (9.0, [("Anna", [1, 2, 3]), ("sings", [4, 5])]),
    ],
)
def test_an_answer_is_kept_up_to_the_unit_that_was_heard_whole(seconds: float, kept: list[Any]) -> None:
    heard = first_units(CHUNKS, num_units_heard(CHUNKS, seconds, 10.0))
    assert [(text, units.ids[:, 0].tolist()) for text, units in heard] == kept


def documents(row: dict[str, Any], folder: Path, in_turns: bool = True) -> list[dict[str, Any]]:
    (folder / "dialogues.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return [found for _, _, found in JsonLines(folder / "dialogues.jsonl", FIELDS, in_turns).scan()]


def test_what_stands_beside_the_turns_holds_for_all_of_them(tmp_path: Path) -> None:
    turns = [{**TURN, "heard_sec": 0.5}, {**TURN, "question_language": "zh_CN"}]
    (found,) = documents({"id": "d", "question_language": "EN", "turns": turns}, tmp_path)
    assert [turn["question_language"] for turn in found["turns"]] == ["en", "zh"]
    assert found["id"] == "d" and found["turns"][0]["heard_sec"] == 0.5


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([], "the field turns must be a list of objects, one a turn"),
        ("two", "the field turns must be a list of objects"),
        ([TURN, {**TURN, "heard_sec": 1.0}], "turn 2, the last, has heard_sec"),
        ([{**TURN, "heard_sec": -1}, TURN], "turn 1 has heard_sec -1: give the seconds"),
        ([{**TURN, "heard_sec": "1"}, TURN], "turn 1 has heard_sec '1'"),
        ([{**TURN, "heard_sec": True}, TURN], "turn 1 has heard_sec True"),
        ([TURN, {"question": "q"}], "the field question_text is missing"),
    ],
)
def test_turns_that_are_none_are_refused(turns: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        documents({"question_language": "en", "turns": turns}, tmp_path)


def test_another_task_does_not_read_turns(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="turns are read by the task dialogue alone"):
        documents({"question_language": "en", "turns": [TURN]}, tmp_path, in_turns=False)
