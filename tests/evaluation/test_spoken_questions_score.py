"""Spoken questions through the verb ``score``: the text before a recording, exact match, a table for each language."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from cslm.encoders.encoder_config import EncoderConfig, WhisperEncoderConfig
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.evaluation.audio_text_model import OwnAudioModel
from cslm.evaluation.score import main
from cslm.evaluation.score_config import ScoreConfig
from cslm.evaluation.scored_model import ScoredModel
from cslm.evaluation.scores import score_tables
from cslm.evaluation.spoken_questions_score import SpokenQuestionsScore, _line
from cslm.generation.prompt_model import SpeechPromptModel
from cslm.model.speech_prompt.connector_config import ConnectorConfig, StackedConfig
from cslm.model.speech_prompt.prompt_checkpoint import save_prompt
from cslm.model.speech_prompt.prompt_parts import open_parts
from cslm.model.speech_prompt.prompt_settings import PromptSettings
from cslm.model.speech_prompt.speech_prompt import trained_names
from cslm.sequences.chains import chain_of
from tests.worlds.asr_models import write_whisper
from tests.worlds.heard_world import write_heard_world
from tests.worlds.tiny_llm import make_llm
from tests.worlds.tiny_prompt import make_prompt


def test_spoken_questions_are_answered_and_counted(tmp_path):
    root = write_heard_world(tmp_path / "world")
    encoder = EncoderConfig(whisper=WhisperEncoderConfig(str(write_whisper(root / "whisper"))))
    settings = PromptSettings(encoder, ConnectorConfig(stacked=StackedConfig()), llm=str(make_llm(root / "llm")))
    parts = open_parts(settings, settings.llm, Runtime())
    state = parts.prompt.state_dict()
    save_prompt(
        settings, parts.tokenizer, parts.hashes, {it: state[it] for it in trained_names(parts.prompt)}, root / "p"
    )
    given = {"questions": "manifest.jsonl", "dialogues": "dialogues.jsonl", "decoding": {"max_new_tokens": 4}}
    path = root / "score.yaml"
    config = {"data_root": str(root), "max_items": 5, "scores": {"spoken_questions": given}}
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    main([str(root / "p"), "--config", str(path), "--output", str(root / "out/results.json")])
    results = json.loads((root / "out/results.json").read_text())
    found = results["scores"]["spoken_questions"]
    assert found["en"]["n"] == found["all"]["n"] == 5 and 0 <= found["all"]["exact_match"] <= 1
    lines = [json.loads(line) for line in (root / "out/spoken_questions.jsonl").read_text().splitlines()]
    assert len(lines) == 5 and all(isinstance(line["answer"], str) for line in lines)
    (table,) = score_tables(results)
    assert "word for word" in table.html


def test_an_answer_is_right_by_its_words():
    row = {"answers": ["the Red house", "red house"], "answer_language": "en"}
    assert _line(row, "The red house.")["exact_match"] and not _line(row, "a red house")["exact_match"]
    assert _line(row, "It is a red house!")["contains"] and not _line(row, "a redder house")["contains"]
    chinese = {"answers": ["红 房子"], "answer_language": "zh"}
    assert _line(chinese, "红房子。")["exact_match"]


def test_an_instruction_with_a_place_for_the_recording_was_read_out_with_it(tmp_path):
    """``{audio}`` stood in the prompt, and the recording behind everything."""
    root = write_heard_world(tmp_path / "world")
    rows = [json.loads(line) for line in (root / "dialogues.jsonl").read_text().splitlines()]
    told = ("Before {audio} behind.", "Only before.", None)
    rows = [{**row, "instruction": text} for row, text in zip(rows, told, strict=False)]
    (root / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = []

    class Repeats:
        def answer(self, questions, decoding, description):
            asked.extend((it.before, it.after) for it in questions)
            return ["yes"] * len(questions)

    config = ScoreConfig("model", str(root / "results.json"), str(root))
    scored = ScoredModel(config, None, None, None, Repeats())
    score = SpokenQuestionsScore(questions="manifest.jsonl", dialogues="asked.jsonl")
    score.check(scored)
    score.compute(scored)
    assert sorted(asked) == [("", ""), ("Before ", " behind."), ("Only before.\n", "")]


def test_the_answer_of_a_chain_was_compared_with_all_of_it(tmp_path):
    """No reply of XS-CoT on a speech prompt was right: the question stands before its answer."""
    root = write_heard_world(tmp_path / "world")
    make_prompt(root)
    model = OwnAudioModel(SpeechPromptModel.from_pretrained(root / "prompt"))
    chain = "".join(
        segment.before + f"said {segment.field}" + segment.after for segment in chain_of("xs_cot_labels").segments
    )
    model.answer = lambda questions, *_: [chain] * len(questions)
    scored = ScoredModel(ScoreConfig("model", str(root / "results.json"), str(root)), None, None, None, model)
    rows = [json.loads(line) for line in (root / "dialogues.jsonl").read_text().splitlines()]
    rows = [{**row, "answer_text": "said answer_text"} for row in rows]
    (root / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for order, right in (("xs_cot_labels", 1), (None, 0)):
        score = SpokenQuestionsScore(questions="manifest.jsonl", dialogues="asked.jsonl", order=order)
        score.check(scored)
        found = score.compute(scored)
        assert found.results["all"]["exact_match"] == right
    (line, *_) = found.files["spoken_questions.jsonl"]
    assert line["answer"] == chain and "reply" not in line
    with pytest.raises(UserError, match="there is no order 'xs_cat'"):
        SpokenQuestionsScore(questions="q", dialogues="d", order="xs_cat")
    score = SpokenQuestionsScore(questions="manifest.jsonl", dialogues="asked.jsonl", order="xs_cot_labels")
    with pytest.raises(UserError, match="order is of our own models"):
        score.check(dataclasses.replace(scored, audio_model=object()))


def test_files_are_needed():
    with pytest.raises(UserError, match="scores.spoken_questions.questions is not given"):
        SpokenQuestionsScore(dialogues="d.jsonl")
