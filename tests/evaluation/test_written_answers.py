"""Models whose answers are text alone: scored by exact facts, without decoder or ears, with the delay of each part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from cslm.audio.waveform import save_waveform
from cslm.corpora.manifest import Utterance, write_manifest
from cslm.errors import UserError
from cslm.evaluation.dialogue_score import DialogueScore, dialogue_scores
from cslm.evaluation.score import main
from cslm.files.json_lines import write_json_lines
from cslm.generation.decoding import Generated
from cslm.generation.speech_tasks import SpeechTasks
from cslm.sequences.chains import CHAINS, Chain, Segment
from tests.worlds.chat_server import Say, chat_server
from tests.worlds.tiny_checkpoint import tone

QUESTIONS = ["Was macht Anna?", "Was macht Peter?", "Was macht Eva?", "Was macht Paul?"]
REPLIES: list[tuple[str | None, str | None]] = [
    ("Was macht Anna?", "Anna ist Lehrerin in diesem Dorf."),
    ("Was macht Peter?", "Anna works as a baker in this village."),
    (None, "Lehrerin."),
    ("Was macht Paul?", None),
]
"""What the model writes: transcript and answer, either of which may be left out."""


@pytest.fixture
def silent(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint without decoder, whose chain is a transcript and a written answer."""
    heard, said = (
        Segment(side, side, "text", f"[{side}]", ": ", end) for side, end in (("question", "; "), ("answer", ""))
    )
    monkeypatch.setitem(CHAINS, "heard_then_written", Chain((heard, said)))
    folder = tmp_path / "silent"
    shutil.copytree(checkpoint, folder)
    shutil.rmtree(folder / "speech" / "decoder")
    config = json.loads((folder / "config.json").read_text())
    config["speech"]["order"] = "heard_then_written"
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def corpus_of_questions(tmp_path: Path) -> Path:
    utterances, dialogues = [], []
    for number, text in enumerate(QUESTIONS):
        save_waveform(tmp_path / f"{number}.wav", tone(0.5, 22050, 200.0 + 90 * number), 22050)
        utterances.append(Utterance(f"q{number}", f"{number}.wav", text, "de"))
        dialogues.append(
            {
                "id": f"d{number}", "direction": "de-de", "question": f"q{number}", "question_language": "de",
                "answer_language": "de", "question_reference": text, "fact": ["Lehrerin"], "wrong_facts": ["Bäckerin"],
                "core_language": "en", "core_question": "What?", "core_answer": "A teacher.",
                "answer_reference": "Sie ist Lehrerin.",
            }
        )  # fmt: skip
    write_manifest(utterances, tmp_path / "questions.jsonl")
    write_json_lines(dialogues, tmp_path / "core_test_dialogues.jsonl")
    return tmp_path


def reply_ids(tasks: SpeechTasks, number: int) -> list[int]:
    form = tasks.processor.form
    question, answer = REPLIES[number]
    ids: list[int] = []
    if question is not None:
        ids += [form.vocabulary.question, *form.encoder.encode(f": {question}; ")]
    if answer is not None:
        ids += [form.vocabulary.answer, *form.encoder.encode(f": {answer}")]
    return [*ids, *form.chat.end_of_turn_ids]


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model writes what REPLIES say, in the order in which it is asked."""

    def generated(tasks: SpeechTasks, prompts: Sequence[Any], *given: Any, **more: Any) -> list[Generated]:
        return [Generated(reply_ids(tasks, number), float("nan")) for number, _ in enumerate(prompts)]

    asked: list[int] = []

    def written(tasks: SpeechTasks, *given: Any) -> Iterator[int]:
        asked.append(len(asked))
        yield from reply_ids(tasks, max(0, asked[-1] - 1))  # the first one warms up

    monkeypatch.setattr(SpeechTasks, "_generate", generated)
    monkeypatch.setattr(SpeechTasks, "write_answer", written)


def score(checkpoint: Path, corpus: Path, **settings: Any) -> dict[str, Any]:
    sets = {"questions": "questions.jsonl", "dialogues": "core_test_dialogues.jsonl"}
    (corpus / "score.yaml").write_text(yaml.safe_dump({"scores": {"dialogue": sets | settings}}))
    arguments = [str(checkpoint), "--config", str(corpus / "score.yaml"), "--data_root", str(corpus)]
    main([*arguments, "--output", str(corpus / "results.json")])
    found: dict[str, Any] = json.loads((corpus / "results.json").read_text(encoding="utf-8"))["scores"]["dialogue"]
    return found


def lines(corpus: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in (corpus / "replies.jsonl").read_text(encoding="utf-8").splitlines()]


def test_facts_of_the_last_segment_and_the_parts_before_it(
    silent: Path, corpus_of_questions: Path, taught: None
) -> None:
    found = score(silent, corpus_of_questions)["de-de"]
    assert (found["n"], found["text_accuracy"], found["off_target"]) == (4, 0.5, 0.25)
    assert not {"speech_accuracy", "asr_er", "tokens_to_first_speech", "ms_to_answer", "wrong_language"} & set(found)
    assert found["token_delay"]["n"] == 3 and found["token_delay"]["without_answer"] == 1
    assert found["missing_parts"] == {"question_text": 1, "answer_text": 1} and found["doubled_parts"] == {}
    replies = lines(corpus_of_questions)
    assert [reply["answer"] for reply in replies] == [answer or "" for _, answer in REPLIES]
    assert [reply["texts"]["question_text"] for reply in replies] == [question or "" for question, _ in REPLIES]
    assert [reply["token_delay"] is None for reply in replies] == [False, False, False, True]
    assert replies[2]["parts"] == {"question_text": 0, "markers": replies[2]["token_delay"]}
    assert all({"core_answer", "answer_reference", "fact"} <= set(reply) for reply in replies)
    assert dialogue_scores(replies) == {"de-de": found}


def test_answers_in_another_language_of_the_same_script_are_counted(
    silent: Path, corpus_of_questions: Path, taught: None
) -> None:
    pytest.importorskip("py3langid")
    found = score(silent, corpus_of_questions, identify_by="py3langid")["de-de"]
    assert [reply["language_found"] for reply in lines(corpus_of_questions)][:2] == ["de", "en"]
    assert found["wrong_language"] == round(1 / found["language_told"], 5)
    assert found["language_told"] + found["language_untold"] == 4


def test_some_of_each_direction_are_timed(silent: Path, corpus_of_questions: Path, taught: None) -> None:
    found = score(silent, corpus_of_questions, timed_items=2)["de-de"]
    replies = lines(corpus_of_questions)
    assert [reply["id"] for reply in replies if "ms_to_answer" in reply] == ["d0", "d3"]
    assert found["ms_to_answer"]["n"] == 2 and found["ms_to_answer"]["mean"] >= 0
    for reply in (replies[0], replies[3]):
        assert sum(reply["ms_parts"].values()) == pytest.approx(reply["ms_to_answer"], abs=0.01)
        assert list(reply["ms_parts"]) == ["prompt", "question_text", "markers", "answer"]
    assert score(silent, corpus_of_questions)["de-de"]["token_delay"] == found["token_delay"]


def test_the_clock_runs_on_the_model_itself(silent: Path, corpus_of_questions: Path) -> None:
    """Untrained, it writes noise; what it writes alone is what it writes among others."""
    decoding = {"max_new_tokens": 12}
    found = score(silent, corpus_of_questions, timed_items=1, decoding=decoding)["de-de"]
    replies = lines(corpus_of_questions)
    assert sum("ms_to_answer" in reply for reply in replies) == 1
    assert found["ms_to_answer"]["n"] + found["ms_to_answer"]["without_answer"] == 1
    assert (replies[0]["ms_to_answer"] is None) == (replies[0]["token_delay"] is None)


def test_the_judge_hears_of_replies_that_were_made_once(silent: Path, corpus_of_questions: Path, taught: None) -> None:
    pytest.importorskip("openai")

    def verdict(body: dict[str, Any], _: int) -> Say:
        right = "Lehrerin" in body["messages"][1]["content"].splitlines()[2]
        return Say(json.dumps({"reason": "", "right": right}))

    with chat_server(verdict) as server:
        chat = {"model": "tiny", "endpoint": {"base_url": server.base_url}}
        found = score(silent, corpus_of_questions, judge={"chat": chat, "prompt": "against_reference"})["de-de"]
        assert len(server.bodies) == 3  # the empty answer is wrong without a judge
        assert found["judge_accuracy"] == found["text_accuracy"] == 0.5
        assert found["judge"]["agreement_with_facts"]["same"] == 1.0
        tables = DialogueScore.tables({"de-de": found})
        assert "50.0 %" in tables[0].html and "judge: right" in tables[0].html
        assert tables[1].heading == "Before the first token of the answer" and len(tables) == 2
        again = score(silent, corpus_of_questions, judge={"chat": chat, "prompt": "against_reference"})["de-de"]
        assert again == found and len(server.bodies) == 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recognize_by": "answer"}, "recognize_by is answer, and the chain of the model is heard_then_written"),
        (
            {"judge": {"chat": {"model": "m", "endpoint": {"base_url": "http://x"}}, "text": "heard"}},
            "judge.text is heard",
        ),
        ({"judge": {"chat": {"model": "m"}}}, "the chat model m needs one of the sections `endpoint` and `local`"),
        (
            {"judge": {"chat": {"model": "m", "endpoint": {"base_url": "http://x"}}, "prompt": "mine.yaml"}},
            "no judge prompt",
        ),
        ({"identify_by": "ear"}, "scores.dialogue.identify_by is 'ear'"),
        ({"timed_items": -1}, "timed_items is -1"),
    ],
)
def test_what_is_asked_for_and_cannot_be_done_is_refused_before_the_model_writes(
    silent: Path, corpus_of_questions: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        score(silent, corpus_of_questions, **settings)
    assert not (corpus_of_questions / "replies.jsonl").exists()


def test_what_the_judge_stands_on_is_looked_for_before_the_model_writes(
    silent: Path, corpus_of_questions: Path
) -> None:
    pytest.importorskip("openai")
    dialogues = corpus_of_questions / "core_test_dialogues.jsonl"
    rows = [json.loads(text) for text in dialogues.read_text(encoding="utf-8").splitlines()]
    write_json_lines([rows[0], {**rows[1], "answer_reference": None}], dialogues)
    judge = {"chat": {"model": "m", "endpoint": {"base_url": "http://x"}}, "prompt": "against_reference"}
    with pytest.raises(UserError, match=r"stands on \$reference, and the reply 'd1' has no text answer_reference"):
        score(silent, corpus_of_questions, judge=judge)
    write_json_lines([rows[0], rows[0]], dialogues)
    with pytest.raises(UserError, match="line 2: another dialogue has the id 'd0'"):
        score(silent, corpus_of_questions)
    assert not (corpus_of_questions / "replies.jsonl").exists()
