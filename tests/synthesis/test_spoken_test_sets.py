"""Test sets of spoken questions: Audio-MLQA from MLQA's texts, lines of AudioBench's kind, corpora that were heard."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cslm.corpora.manifest import read_manifest
from cslm.errors import UserError
from cslm.evaluation.error_rates import text_errors
from cslm.files.json_lines import read_json_lines
from cslm.synthesis import audio_mlqa, heard_corpus
from cslm.synthesis.prepare_corpus import prepare_corpus
from tests.worlds.heard_world import write_heard_world

LANGUAGES = ("en", "de")


class Beeps:
    """Says each text as a tone of its own length."""

    names_are_speakers = True

    def voices(self, language: str) -> list[str]:
        return ["beep"]

    def facts(self, language: str, voice: str) -> dict:
        return {"voice": voice}

    def speak(self, texts, language: str, voice: str) -> list:
        return [(0.1 * np.sin(np.arange(3200 + 40 * len(text)) / 5).astype(np.float32), 16000) for text in texts]


def write_mlqa(folder: Path, count: int = 6) -> Path:
    """MLQA's own layout: articles of paragraphs of questions."""
    for language in LANGUAGES:
        qas = [
            {"id": f"q{index}", "question": f"{language} question {index}?",
             "answers": [{"text": f"answer {index}", "answer_start": 0}, {"text": "another", "answer_start": 3}]}
            for index in range(count)
        ]  # fmt: skip
        paragraphs = [{"context": f"{language} passage.", "qas": qas}]
        path = folder / "test" / f"test-context-{language}-question-{language}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"data": [{"title": "t", "paragraphs": paragraphs}]}), encoding="utf-8")
    return folder


@pytest.fixture
def voices(monkeypatch):
    monkeypatch.setattr(audio_mlqa, "open_synthesizer", lambda config: Beeps())


def rows(path: Path) -> list[dict]:
    return [row for _, row in read_json_lines(path)]


def test_audio_mlqa_has_passages_as_text_and_questions_spoken(tmp_path, voices):
    source = write_mlqa(tmp_path / "mlqa")
    options = ["--source", str(source), "--languages", "[en, de]", "--questions", "4"]
    prepare_corpus("audio_mlqa", tmp_path / "one", options)
    dialogues, spoken = rows(tmp_path / "one/dialogues.jsonl"), list(read_manifest(tmp_path / "one/manifest.jsonl"))
    assert [row["question"] for row in dialogues] == [utterance.id for utterance in spoken]
    assert [sum(row["question_language"] == language for row in dialogues) for language in LANGUAGES] == [4, 4]
    for row, utterance in zip(dialogues, spoken, strict=True):
        assert row["instruction"] == f"{row['question_language']} passage." and row["question_text"] == utterance.text
        assert row["answers"] == [row["answer_text"], "another"] and (tmp_path / "one" / utterance.audio).is_file()
    prepare_corpus("audio_mlqa", tmp_path / "two", options)
    for name in ("dialogues.jsonl", "manifest.jsonl"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    prepare_corpus("audio_mlqa", tmp_path / "other", [*options, "--seed", "1"])
    assert rows(tmp_path / "other/dialogues.jsonl") != dialogues


def test_too_few_questions_and_other_layouts_are_refused(tmp_path, voices):
    source = write_mlqa(tmp_path / "mlqa")
    options = ["--source", str(source), "--languages"]
    with pytest.raises(UserError, match="en has 6 questions that can be said, and 7 are"):
        prepare_corpus("audio_mlqa", tmp_path / "a", [*options, "[en]", "--questions", "7"])
    with pytest.raises(UserError, match=r"there is no test-context-zh-question-zh\.json"):
        prepare_corpus("audio_mlqa", tmp_path / "b", [*options, "[zh]"])
    (source / "test/test-context-en-question-en.json").write_text('{"version": 1}')
    with pytest.raises(UserError, match="is not laid out as MLQA is"):
        prepare_corpus("audio_mlqa", tmp_path / "c", [*options, "[en]"])


def test_lines_of_audio_bench_become_questions_of_a_manifest(tmp_path):
    world = write_heard_world(tmp_path / "world")
    lines = [{"context": {"path": "audio/00.wav"}, "instruction": "Listen.", "reference": "bread", "lang": "en"},
             {"context": {"path": "audio/01.wav"}, "reference": "music", "lang": "en"},
             {"reference": "lost"}]  # fmt: skip
    (world / "bench.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    fields = "{audio: context.path, answer_text: reference, language: lang}"
    prepare_corpus("spoken_questions", tmp_path / "out", ["--file", str(world / "bench.jsonl"), "--fields", fields])
    found = [(row["answer_text"], row.get("instruction")) for row in rows(tmp_path / "out/dialogues.jsonl")]
    assert found == [("bread", "Listen."), ("music", None)]
    assert rows(tmp_path / "out/rejected.jsonl") == [{"id": "line 3", "reason": "it has no audio"}]
    for utterance in read_manifest(tmp_path / "out/manifest.jsonl"):
        assert (tmp_path / "out" / utterance.audio).resolve().is_file()
    with pytest.raises(UserError, match="there is no field 'sound'"):
        prepare_corpus("spoken_questions", tmp_path / "x", ["--file", "f.jsonl", "--fields", "{sound: a}"])


class HearsSome:
    """Hears what is said, but for every third recording of a language."""

    def __init__(self, said: list[tuple[str, str]]) -> None:
        self.said = said

    def facts(self, language: str) -> dict:
        return {"ear": "half"}

    def hear(self, clips, language: str) -> list[str]:
        texts = [text for text, spoken in self.said if spoken == language][: len(clips)]
        return [text if index % 3 else "something else altogether" for index, text in enumerate(texts)]


def test_what_is_heard_as_something_else_is_left_out_and_listed(tmp_path, monkeypatch):
    world = write_heard_world(tmp_path / "world", broken=True)
    utterances = list(read_manifest(world / "manifest.jsonl"))
    ear = HearsSome([(utterance.text, utterance.language) for utterance in utterances])
    monkeypatch.setattr(heard_corpus, "open_listener", lambda config: ear)
    options = ["--manifests", json.dumps([str(world / "manifest.jsonl")])]
    prepare_corpus("heard", tmp_path / "kept", options)
    kept = list(read_manifest(tmp_path / "kept/manifest.jsonl"))
    rejected = {row["id"]: row["reason"] for row in rows(tmp_path / "kept/rejected.jsonl")}
    assert len(kept) + len(rejected) == len(utterances) and kept
    assert "is heard as something else" in rejected["u0"] and "heard as" not in rejected["u13"]
    for row in rows(tmp_path / "kept/heard.jsonl"):
        said = next(utterance.text for utterance in utterances if utterance.id == row["id"])
        assert row["error_rate"] == round(text_errors([said], [row["heard"]], row["language"]).rate, 4)
    for utterance in kept:
        assert (tmp_path / "kept" / utterance.audio).resolve().is_file()
    ear.said = [("nothing", "en"), ("nothing", "de")] * 14
    with pytest.raises(UserError, match="nothing of 14 utterances is kept"):
        prepare_corpus("heard", tmp_path / "none", options)
