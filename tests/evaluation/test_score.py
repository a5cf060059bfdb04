"""The verb ``score`` on an untrained model: every key, every n, and scores that follow from the replies alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from cslm.audio.waveform import save_waveform
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.evaluation import ears
from cslm.evaluation.dialogue_scores import dialogue_scores
from cslm.evaluation.error_rates import text_errors
from cslm.evaluation.score import main
from cslm.evaluation.scored_model import spread
from cslm.files.json_lines import write_json_lines
from cslm.generation.speech_tasks import SpeechTasks
from tests.worlds.tiny_checkpoint import SENTENCES, tone

TEXTS = {"en": SENTENCES[:2], "zh": SENTENCES[2:]}
CONFIG = {
    "asr_test": "asr_test.jsonl",
    "asr_unheard_voice": "asr_test.jsonl",
    "asr_sets": {"tones": "en_only.jsonl"},
    "tts_test": "asr_test.jsonl",
    "dialogue_test": "asr_test.jsonl",
    "test_dialogues": "test_dialogues.jsonl",
    "asr": {"max_new_tokens": 6},
    "tts": {"max_new_tokens": 10},
    "dialogue": {"max_new_tokens": 30},
    "other_ear": {"recognizer": "fake", "sentences": ["asr_test.jsonl"], "max_items": 1},
    "stages": "stages",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(ears.EARS, "fake", "tests.evaluation.fake_ear:FakeEar")
    utterances, dialogues = [], []
    for language, texts in TEXTS.items():
        for number, text in enumerate(texts):
            name = f"{language}-{number}"
            save_waveform(tmp_path / f"{name}.wav", tone(0.5, 22050, 200.0 + 90 * number), 22050)
            utterances.append(Utterance(name, f"{name}.wav", text, language))
            for answer in TEXTS:
                dialogues.append(
                    {
                        "id": f"{name}-{answer}", "direction": f"{language}-{answer}", "question": name,
                        "question_language": language, "answer_language": answer, "question_reference": text,
                        "fact": ["Anna"], "wrong_facts": ["Peter"],
                    }
                )  # fmt: skip
    write_manifest(utterances, tmp_path / "asr_test.jsonl")
    write_manifest([one for one in utterances if one.language == "en"], tmp_path / "en_only.jsonl")
    write_json_lines(dialogues, tmp_path / "test_dialogues.jsonl")
    (tmp_path / "stages").mkdir()
    for stage, seconds in {"install": 10.5, "pretrain": 60}.items():
        (tmp_path / "stages" / f"{stage}.json").write_text(json.dumps({"seconds": seconds}))
    return tmp_path


@pytest.fixture
def speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model seldom gets to speak by itself: it writes speech wherever it may write anything."""
    of_kind = SpeechTasks._grammar
    swapped = {"anything": "speech"}
    monkeypatch.setattr(SpeechTasks, "_grammar", lambda tasks, writes: of_kind(tasks, swapped.get(writes, writes)))


def score(checkpoint: Path, run: Path, *more: str, **changed: Any) -> dict[str, Any]:
    path = run / "score.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in {**CONFIG, **changed}.items() if value is not None}))
    arguments = [str(checkpoint), "--config", str(path), "--data_root", str(run), "--output", str(run / "results.json")]
    main([*arguments, *more])
    results: dict[str, Any] = json.loads((run / "results.json").read_text())
    return results


def test_every_score_is_there_with_its_number_of_items(checkpoint: Path, run: Path, speaks: None) -> None:
    results = score(checkpoint, run)
    assert set(results) == {"asr", "tts", "dialogue", "cores", "seed", "seconds"}
    assert results["seconds"] == {"install": 10.5, "pretrain": 60.0, "total": 70.5}
    for language, rate in {"en": "wer", "zh": "cer"}.items():
        asr, tts = results["asr"][language], results["tts"][language]
        assert asr["n"] == asr["unheard_voice_n"] == tts["n"] == 2
        assert asr[rate] == asr["unheard_voice"] and asr[rate] >= 0
        assert tts[rate] >= 0 and tts["unit_error_rate"] > 0 and tts["mel_cepstral_distortion_db"] > 0
    assert results["asr"]["tones"]["wer"] == results["asr"]["en"]["wer"]
    ear = results["tts"]["en"]["other_ear"]
    assert ear["wer"] == ear["floor_wer"] > 0 and "other_ear" not in results["tts"]["zh"]
    assert set(results["dialogue"]) == {"en-en", "en-zh", "zh-en", "zh-zh"}
    for direction, found in results["dialogue"].items():
        assert {"text_accuracy", "speech_accuracy", "asr_er", "off_target", "tokens_to_first_speech"} <= set(found)
        assert found["n"] == 2 and ("other_ear_accuracy" in found) == direction.endswith("-en")
        for latency in found["tokens_to_first_speech"].values():
            assert latency["full"] >= latency["interleaved"] > 0


def test_the_replies_hold_what_the_scores_were_made_of(checkpoint: Path, run: Path, speaks: None) -> None:
    results = score(checkpoint, run)
    replies = [json.loads(text) for text in (run / "replies.jsonl").read_text(encoding="utf-8").splitlines()]
    assert dialogue_scores(replies) == results["dialogue"]
    for reply in replies:
        fields = ("id", "direction", "question_reference", "fact", "wrong_facts", "question", "answer", "heard")
        assert all(field in reply for field in fields)
        waveform, rate = soundfile.read(run / reply["wav"])
        assert rate == 22050 and (len(waveform) > 0) == (reply["num_chunks"] > 0)
    assert sum("other_ear" in reply for reply in replies) == 2
    assert json.dumps(score(checkpoint, run)) == json.dumps(results)


def test_what_was_heard_of_each_item_can_be_read(checkpoint: Path, run: Path) -> None:
    results = score(checkpoint, run)
    rows = [json.loads(text) for text in (run / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()]
    names = {"asr": 4, "unheard_voice": 4, "tones": 2, "tts": 4, "tts, other ear": 2}
    assert {name: sum(row["set"] == name for row in rows) for name in names} == names and len(rows) == 16
    for name, found in (("asr", results["asr"]), ("tts", results["tts"])):
        pairs = [(row["reference"], row["heard"]) for row in rows if row["set"] == name and row["language"] == "zh"]
        references, heard = zip(*pairs, strict=True)
        assert round(text_errors(references, heard, "zh").rate, 5) == found["zh"]["cer"]


def test_parts_may_be_left_out(checkpoint: Path, run: Path) -> None:
    nothing = dict.fromkeys(("asr_unheard_voice", "tts_test", "dialogue_test", "test_dialogues", "other_ear", "stages"))
    results = score(checkpoint, run, "--max_items", "1", "--seed", "7", **nothing, asr_sets={})
    assert set(results) == {"asr", "cores", "seed"} and results["seed"] == 7
    assert {name: found["n"] for name, found in results["asr"].items()} == {"en": 1, "zh": 1}
    assert not (run / "replies.jsonl").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"asr_test": "no.jsonl"}, r"no\.jsonl"),
        ({"asr_sets": {"mixed": "asr_test.jsonl"}}, r"asr_sets\.mixed"),
        ({"decoder": "no_decoder"}, "no_decoder"),
        ({"dialogue_test": None}, "belong together"),
        ({"recognize_by": "word"}, "recognize_by"),
        ({"other_ear": {"recognizer": "whisper", "sentences": ["asr_test.jsonl"]}}, "pocketsphinx"),
        ({"beam": 4}, "beam"),
    ],
)
def test_what_cannot_be_scored_gets_one_line(
    checkpoint: Path, run: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        score(checkpoint, run, **changed)
    assert not (run / "results.json").exists()


def test_a_dialogue_that_names_no_question_is_refused(checkpoint: Path, run: Path) -> None:
    rows = [json.loads(text) for text in (run / "test_dialogues.jsonl").read_text(encoding="utf-8").splitlines()]
    write_json_lines([{**rows[0], "question": "nobody"}], run / "test_dialogues.jsonl")
    only = dict.fromkeys(("asr_test", "asr_unheard_voice", "tts_test", "other_ear"))
    with pytest.raises(UserError, match=r"line 1: .*'nobody'"):
        score(checkpoint, run, **only, asr_sets={})


def test_items_are_spread_over_a_set() -> None:
    assert spread(list(range(10)), 4) == [0, 3, 6, 9] and spread([1, 2], None) == [1, 2]
    assert spread(list(range(5)), 1) == [0] and len(set(spread(list(np.arange(97)), 60))) == 60
