"""The verb ``score`` on an untrained model: every key, every n, and scores that follow from the replies alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from cslm import CSLMForCausalLM
from cslm.audio.waveform import save_waveform
from cslm.codecs.units import Units
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.decoder.speech_stream import SpeechStream
from cslm.errors import UserError
from cslm.evaluation import ears, scores
from cslm.evaluation.dialogue_score import dialogue_scores
from cslm.evaluation.error_rates import text_errors
from cslm.evaluation.score import main
from cslm.evaluation.score_config import ScoreConfig
from cslm.evaluation.scored_model import ScoredModel, spread
from cslm.files.json_lines import write_json_lines
from cslm.generation.decoding import DecodingConfig
from cslm.generation.processor import CSLMProcessor
from cslm.generation.speech_tasks import Grammars
from cslm.publishing.model_card import model_card
from cslm.publishing.report import main as report
from cslm.sequences.chunking import join_chunks
from tests.worlds.tiny_checkpoint import SENTENCES, tone

TEXTS = {"en": SENTENCES[:2], "zh": SENTENCES[2:]}
CONFIG = {
    "ears": {
        "own": {"max_new_tokens": 6},
        "other": {"recognizer": "fake", "sentences": ["asr_test.jsonl"], "max_items": 1},
    },
    "scores": {
        "asr": {"sets": {"test": "asr_test.jsonl", "tones": "en_only.jsonl"}},
        "tts": {"manifest": "asr_test.jsonl", "decoding": {"max_new_tokens": 10}},
        "dialogue": {
            "questions": "asr_test.jsonl",
            "dialogues": "test_dialogues.jsonl",
            "decoding": {"max_new_tokens": 30},
        },
    },
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
    return tmp_path


@pytest.fixture
def speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained model seldom gets to speak by itself: it writes speech wherever it may write anything."""
    of_kind = Grammars.grammar
    swapped = {"anything": "speech"}
    monkeypatch.setattr(Grammars, "grammar", lambda grammars, writes: of_kind(grammars, swapped.get(writes, writes)))


def score(checkpoint: Path, run: Path, *more: str, **changed: Any) -> dict[str, Any]:
    path = run / "score.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changed))
    arguments = [str(checkpoint), "--config", str(path), "--data_root", str(run), "--output", str(run / "results.json")]
    main([*arguments, *more])
    results: dict[str, Any] = json.loads((run / "results.json").read_text())
    return results


def with_score(name: str, **changed: Any) -> dict[str, Any]:
    """What is scored, with other settings of one score."""
    return CONFIG["scores"] | {name: CONFIG["scores"][name] | changed}


def test_every_score_is_there_with_its_number_of_items(checkpoint: Path, run: Path, speaks: None) -> None:
    results = score(checkpoint, run)
    assert set(results) == {"scores", "cores", "seed"} and list(results["scores"]) == ["asr", "tts", "dialogue"]
    asr, tts, dialogue = results["scores"].values()
    assert (
        set(asr) == {"test", "tones"} and set(asr["test"]) == set(tts) == {"en", "zh"} and set(asr["tones"]) == {"en"}
    )
    for language, rate in {"en": "wer", "zh": "cer"}.items():
        heard, spoken = asr["test"][language], tts[language]
        assert heard["n"] == spoken["n"] == 2 and heard[rate] >= 0
        assert spoken[rate] >= 0 and spoken["unit_error_rate"] > 0 and spoken["mel_cepstral_distortion_db"] > 0
    assert asr["tones"]["en"] == asr["test"]["en"]
    ear = tts["en"]["other_ear"]
    assert ear["wer"] == ear["floor_wer"] > 0 and "other_ear" not in tts["zh"]
    assert set(dialogue) == {"en-en", "en-zh", "zh-en", "zh-zh"}
    for direction, found in dialogue.items():
        assert {"text_accuracy", "speech_accuracy", "asr_er", "off_target", "tokens_to_first_speech"} <= set(found)
        assert found["n"] == 2 and ("other_ear_accuracy" in found) == direction.endswith("-en")
        for latency in found["tokens_to_first_speech"].values():
            assert latency["full"] >= latency["interleaved"] > 0


def test_the_replies_hold_what_the_scores_were_made_of(checkpoint: Path, run: Path, speaks: None) -> None:
    results = score(checkpoint, run)
    replies = [json.loads(text) for text in (run / "replies.jsonl").read_text(encoding="utf-8").splitlines()]
    assert dialogue_scores(replies) == results["scores"]["dialogue"]
    for reply in replies:
        fields = ("id", "direction", "question_reference", "fact", "wrong_facts", "question", "answer", "heard")
        assert all(field in reply for field in fields)
        waveform, rate = soundfile.read(run / reply["wav"])
        assert rate == 22050 and (len(waveform) > 0) == (reply["num_chunks"] > 0)
    assert sum("other_ear" in reply for reply in replies) == 2
    assert json.dumps(score(checkpoint, run)) == json.dumps(results)


def test_the_answer_that_is_judged_is_the_one_that_a_listener_hears(checkpoint: Path, run: Path, speaks: None) -> None:
    """Chunks were once spoken one by one, and so judged in another sound than that of a stream."""
    score(checkpoint, run)
    model = CSLMForCausalLM.from_pretrained(checkpoint)
    decoding = DecodingConfig(max_new_tokens=30)
    replies = [json.loads(text) for text in (run / "replies.jsonl").read_text(encoding="utf-8").splitlines()]
    for line in replies:
        reply = model.respond(
            run / f"{line['id'][:-3]}.wav", line["answer_language"], line["question_language"], decoding
        )
        waveform, _ = soundfile.read(run / line["wav"], dtype="float32")
        assert len(waveform) == len(reply.waveform) > 0
        assert np.abs(waveform - reply.waveform).max() < 2e-4  # 16 bits, and rounding
    assert max(line["num_chunks"] for line in replies) >= 1


def test_chunks_are_cut_out_of_the_whole_answer(checkpoint: Path) -> None:
    model = CSLMForCausalLM.from_pretrained(checkpoint)
    scored = ScoredModel(ScoreConfig(str(checkpoint), "results.json"), model.tasks(), None, None)  # type: ignore[arg-type]
    ids = np.random.default_rng(0).integers(0, 16, (30, 1))
    parts = [Units(ids[:12]), Units(ids[12:20]), Units(ids[20:])]
    (pieces, nothing) = scored.speak_in_chunks([parts, []], ["zh", "en"])
    stream = SpeechStream(model.processor.speech_decoder(), "zh")
    sounds = [*(stream.push(part) for part in parts), stream.finish()]
    whole, ends = np.concatenate([sound.samples for sound in sounds]), [end for s in sounds for end in s.unit_ends]
    assert nothing == [] and np.cumsum([len(piece) for piece, _ in pieces]).tolist() == [ends[11], ends[19], ends[29]]
    assert np.abs(np.concatenate([piece for piece, _ in pieces]) - whole).max() < 1e-4


def test_a_dialogue_that_follows_another_is_asked_behind_it(
    checkpoint: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [json.loads(text) for text in (run / "test_dialogues.jsonl").read_text(encoding="utf-8").splitlines()]
    first, second = {**rows[0], "id": "turn-0"}, {**rows[1], "id": "turn-1", "direction": "second turn"}
    write_json_lines([*rows, first, {**second, "follows": "turn-0"}], run / "test_dialogues.jsonl")
    asked: dict[str, Any] = {}
    prompt = CSLMProcessor.question_prompt

    def question_prompt(self: CSLMProcessor, *given: Any) -> Any:
        if len(given[3]):
            asked["past"] = given[3]
        return prompt(self, *given)

    monkeypatch.setattr(CSLMProcessor, "question_prompt", question_prompt)
    score(checkpoint, run, scores={"dialogue": CONFIG["scores"]["dialogue"]})
    lines = [json.loads(text) for text in (run / "replies.jsonl").read_text(encoding="utf-8").splitlines()]
    answers = {line["id"]: line for line in lines}
    (turn,) = asked["past"]
    assert join_chunks([text for text, _ in turn.chunks]) == answers["turn-0"]["answer"]
    assert turn.answer_language == first["answer_language"] and answers["turn-1"]["follows"] == "turn-0"
    assert answers["turn-0"]["answer"] == answers[rows[0]["id"]]["answer"]
    found = score(checkpoint, run, "--max_items", "1", scores={"dialogue": CONFIG["scores"]["dialogue"]})
    numbers = {direction: one["n"] for direction, one in found["scores"]["dialogue"].items()}
    assert numbers["second turn"] == 1 and numbers[first["direction"]] == 2  # with the turn before it
    write_json_lines([{**second, "follows": "turn-0"}, first], run / "test_dialogues.jsonl")
    with pytest.raises(UserError, match="line 1: follows 'turn-0'"):
        score(checkpoint, run, scores={"dialogue": CONFIG["scores"]["dialogue"]})


def test_what_was_heard_of_each_item_can_be_read(checkpoint: Path, run: Path) -> None:
    found = score(checkpoint, run)["scores"]
    rows = [json.loads(text) for text in (run / "transcripts.jsonl").read_text(encoding="utf-8").splitlines()]
    names = {"test": 4, "tones": 2, "tts": 4, "tts, other ear": 2}
    assert {name: sum(row["set"] == name for row in rows) for name in names} == names and len(rows) == 12
    for name, by_language in (("test", found["asr"]["test"]), ("tts", found["tts"])):
        pairs = [(row["reference"], row["heard"]) for row in rows if row["set"] == name and row["language"] == "zh"]
        references, heard = zip(*pairs, strict=True)
        assert round(text_errors(references, heard, "zh").rate, 5) == by_language["zh"]["cer"]


def test_only_what_is_named_is_scored(checkpoint: Path, run: Path) -> None:
    asr = {"asr": {"sets": {"test": "asr_test.jsonl"}}}
    results = score(checkpoint, run, "--max_items", "1", "--seed", "7", ears={}, scores=asr)
    assert set(results) == {"scores", "cores", "seed"} and results["seed"] == 7 and set(results["scores"]) == {"asr"}
    assert {name: found["n"] for name, found in results["scores"]["asr"]["test"].items()} == {"en": 1, "zh": 1}
    assert not (run / "replies.jsonl").exists()
    resolved = yaml.safe_load((run / "results_config.yaml").read_text())
    assert resolved["scores"] == asr and resolved["ears"]["own"]["max_new_tokens"] == 256


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"scores": {}}, r"no score is named: give scores\.NAME, of asr, tts, dialogue"),
        ({"scores": {"asr": {}}}, r"scores\.asr\.sets names no manifest"),
        ({"scores": {"bleu": {}}}, r"scores\.bleu: there is no such score: choose of asr"),
        ({"scores": with_score("asr", sets={"test": "no.jsonl"})}, r"no\.jsonl"),
        ({"scores": with_score("asr", beam=4)}, r"asr\.beam"),
        ({"scores": with_score("tts", decoding={"max_new_tokens": "many"})}, r"tts\.decoding\.max_new_tokens"),
        ({"scores": with_score("dialogue", recognize_by="word")}, "recognize_by"),
        ({"scores": {"dialogue": {"questions": "asr_test.jsonl"}}}, r"scores\.dialogue\.dialogues"),
        ({"decoder": "no_decoder"}, "no_decoder"),
        ({"ears": {"other": {"recognizer": "whisper", "sentences": ["asr_test.jsonl"]}}}, "pocketsphinx"),
        ({"beam": 4}, "beam"),
        ({"asr_test": "asr_test.jsonl"}, r"asr_test is now scores\.asr\.sets\.test"),
        ({"other_ear": {"recognizer": "fake"}}, r"other_ear is now ears\.other"),
    ],
)
def test_what_cannot_be_scored_gets_one_line(
    checkpoint: Path, run: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        score(checkpoint, run, **changed)
    assert not (run / "results.json").exists()


def test_a_flag_of_before_names_the_new_one(checkpoint: Path, run: Path) -> None:
    with pytest.raises(UserError, match=r"--tts\.max_new_tokens is now --scores\.tts\.decoding\.max_new_tokens"):
        score(checkpoint, run, "--tts.max_new_tokens", "5")


def test_settings_of_a_score_are_given_on_the_command_line_and_explained(
    checkpoint: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError, match=r"no_dialogues\.jsonl"):
        score(checkpoint, run, "--scores.dialogue.dialogues", "no_dialogues.jsonl")
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    assert "--scores.tts.manifest" in shown and "texts to speak, with the synthesizer's own audio of them" in shown


def test_a_model_without_a_decoder_is_refused_before_any_score_is_computed(
    checkpoint: Path, run: Path, tmp_path: Path
) -> None:
    silent = tmp_path / "silent"
    shutil.copytree(checkpoint, silent)
    shutil.rmtree(silent / "speech" / "decoder")
    with pytest.raises(UserError, match="no speech decoder"):
        score(silent, run)
    assert not (run / "transcripts.jsonl").exists()


def test_a_dialogue_that_names_no_question_is_refused(checkpoint: Path, run: Path) -> None:
    rows = [json.loads(text) for text in (run / "test_dialogues.jsonl").read_text(encoding="utf-8").splitlines()]
    write_json_lines([{**rows[0], "question": "nobody"}], run / "test_dialogues.jsonl")
    with pytest.raises(UserError, match=r"line 1: .*'nobody'"):
        score(checkpoint, run, scores={"dialogue": CONFIG["scores"]["dialogue"]})


def test_a_score_from_outside_is_one_class_and_one_line(
    checkpoint: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(scores.SCORES, "length", "tests.evaluation.fake_score:LengthScore")
    found = score(checkpoint, run, scores={"length": {"manifest": "asr_test.jsonl", "longest": 40}})
    assert found["scores"] == {"length": {"en": {"mean": 39.0, "n": 2}, "zh": {"mean": 15.5, "n": 2}}}
    lines = [json.loads(text) for text in (run / "lengths.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[0] == {"id": "en-0", "length": 40}
    with pytest.raises(UserError, match=r"length\.beam"):
        score(checkpoint, run, scores={"length": {"manifest": "asr_test.jsonl", "beam": 4}})
    report([str(run)])
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Length of the texts" in page and "39 letters" in page
    assert "39 letters" in model_card(checkpoint, "people/Voice", found)
    monkeypatch.delitem(scores.SCORES, "length")
    report([str(run)])
    assert "39 letters" not in (run / "report.html").read_text(encoding="utf-8")


def test_items_are_spread_over_a_set() -> None:
    assert spread(list(range(10)), 4) == [0, 3, 6, 9] and spread([1, 2], None) == [1, 2]
    assert spread(list(range(5)), 1) == [0] and len(set(spread(list(np.arange(97)), 60))) == 60
