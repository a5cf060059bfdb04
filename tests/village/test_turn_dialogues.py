"""Dialogues of several turns in the village: what they are made of, and that a size without them stays as it is."""

from __future__ import annotations

import json
from itertools import groupby
from pathlib import Path

import pytest

from cslm.batches.documents import JsonLines
from cslm.corpora.manifest import read_manifest
from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines
from cslm.synthesis.prepare_corpus import prepare_corpus
from cslm.village import prepare_village
from cslm.village.tables import VILLAGE_DATA, load_size
from tests.worlds.silent_voices import speak_nothing

TURNS = {"num_turn_dialogues": 12, "longest_dialogue": 3, "interrupted_fraction": 0.5}


def _with(changed: dict[str, float], folder: Path) -> Path:
    lines = "".join(f"{name}: {value}\n" for name, value in changed.items())
    (folder / "size.yaml").write_text((VILLAGE_DATA / "tiny.yaml").read_text(encoding="utf-8") + lines)
    return folder / "size.yaml"


@pytest.fixture(scope="module")
def corpora(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny village with such dialogues, and without, both without audio."""
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    folder = tmp_path_factory.mktemp("turns")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prepare_village, "speak_lines", speak_nothing)
        assert prepare_corpus("village", folder / "with", ["--size", str(_with(TURNS, folder))])
        assert prepare_corpus("village", folder / "without", ["--size", "tiny"])
    return folder / "with", folder / "without"


def records(path: Path) -> list[dict]:
    return [record for _, record in read_json_lines(path)]


def test_one_voice_asks_and_answers_may_be_stopped_but_the_last(corpora: tuple[Path, Path]) -> None:
    heard = {row.id: row for row in read_manifest(corpora[0] / "train.jsonl")}
    rows = records(corpora[0] / "turn_dialogues.jsonl")
    assert len(rows) == 2 * TURNS["num_turn_dialogues"]
    assert {len(row["turns"]) for row in rows} == {2, 3}
    stopped = 0
    for row in rows:
        questions = [heard[turn["question"]] for turn in row["turns"]]
        assert len({question.speaker for question in questions}) == 1
        assert {question.language for question in questions} == {row["question_language"]}
        for question, turn in zip(questions, row["turns"], strict=True):
            answer = heard[turn["answer"]]
            assert question.text == turn["question_text"]
            assert (answer.text, answer.language) == (turn["answer_text"], turn["answer_language"])
            stopped += "heard_sec" in turn
            assert 0 < turn.get("heard_sec", 0.5) < answer.duration_sec
        assert "heard_sec" not in row["turns"][-1]
    assert stopped > 5
    fields = ("question", "question_language", "question_text", "answer", "answer_language", "answer_text")
    read = JsonLines(corpora[0] / "turn_dialogues.jsonl", fields, in_turns=True)
    assert [document["id"] for _, _, document in read.scan()] == [row["id"] for row in rows]


def test_tests_ask_the_same_questions_behind_one_another(corpora: tuple[Path, Path]) -> None:
    alone = {row["id"]: row for row in records(corpora[0] / "test_dialogues.jsonl")}
    rows = records(corpora[0] / "turn_test_dialogues.jsonl")
    assert len(rows) == len(alone) > 0
    for _, found in groupby(rows, lambda row: row["direction"].split(",")[0]):
        first, second = found
        assert "follows" not in first and second["follows"] == first["id"]
        for turn, row in enumerate((first, second), start=1):
            before = alone[row["id"].removesuffix(f"-turn-{turn}")]
            changed = {"id": row["id"], "direction": f"{before['direction']}, turn {turn}"}
            assert {name: value for name, value in row.items() if name != "follows"} == before | changed


def test_a_size_without_them_keeps_its_bytes(corpora: tuple[Path, Path]) -> None:
    with_turns, without = corpora
    names = {path.name for path in without.iterdir()}
    more = {path.name for path in with_turns.iterdir()} - names
    assert more == {"turn_dialogues.jsonl", "turn_test_dialogues.jsonl"}
    for name in names - {"config.yaml", "card.json", "audio"}:
        assert (with_turns / name).read_bytes() == (without / name).read_bytes()
    cards = [json.loads((folder / "card.json").read_text(encoding="utf-8")) for folder in corpora]
    assert cards[0] | {"size": "tiny"} == cards[1]


@pytest.mark.parametrize(
    "changed", [{"longest_dialogue": 1}, {"interrupted_fraction": 1.5}, {"num_turn_dialogues": -1}]
)
def test_dialogues_that_cannot_be_are_refused(changed: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=next(iter(changed))):
        load_size(str(_with(changed, tmp_path)))
