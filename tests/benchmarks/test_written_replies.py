"""Figures of replies that are not streamed to a player: offline, in real time, drawn from an untrained model."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cslm.benchmarks import spoken_questions as questions
from cslm.benchmarks.drawn_replies import drawn_replies, what_breaks
from cslm.benchmarks.offline_replies import offline_replies
from cslm.benchmarks.timed_reply import Asked
from cslm.generation.decoding import DecodingConfig
from tests.worlds.served import speaking_model
from tests.worlds.tiny_checkpoint import tone

ROOT = Path(__file__).resolve().parents[2]
ASKED = [Asked((tone(0.6, 16000, 200.0 + 90 * n, n), 16000), "en", "zh") for n in range(2)]


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return speaking_model(tmp_path_factory.mktemp("speaking"))


def test_offline_replies_are_those_of_one_by_one(speaking: Any) -> None:
    found = offline_replies(speaking, ASKED, DecodingConfig(max_new_tokens=30), 5)
    assert found["ids_equal"] == 1.0 and (found["num_replies"], found["num_questions"]) == (5, 2)
    rates = found["ids_a_second"]
    assert found["together_by_single"] == pytest.approx(rates["together"] / rates["single"])
    assert rates["together"] == pytest.approx(found["num_ids"] / found["together_sec"])
    assert found["single_sec"]["n"] == 5


def test_another_reply_of_the_batch_is_found(speaking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = type(speaking.tasks())
    answer = tasks.answer

    def forgetful(self: Any, units: Any, *given: Any, **more: Any) -> Any:
        written = answer(self, units, *given, **more)
        if len(units) == 4:
            written[0].ids.pop()
        return written

    monkeypatch.setattr(tasks, "answer", forgetful)
    assert offline_replies(speaking, ASKED, DecodingConfig(max_new_tokens=30), 4)["ids_equal"] == 0.75


def test_a_question_of_so_many_seconds() -> None:
    made = questions.question_of(ASKED, 1.5)
    assert len(made) == 24000
    np.testing.assert_array_equal(made[:9600], ASKED[0].question[0])
    np.testing.assert_array_equal(made[9600:19200], ASKED[1].question[0])
    np.testing.assert_array_equal(made[19200:], ASKED[0].question[0][:4800])


def test_questions_are_spoken_by_the_clock(speaking: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(questions.time, "sleep", slept.append)
    found = questions.spoken_questions(speaking, ASKED, DecodingConfig(max_new_tokens=80), 0.5, 1.0)
    assert len(slept) == 2 * (5 + 10)  # pieces of a tenth of a second
    assert found["hears_ahead"] is False and found["short"]["num_read_ahead"]["max"] == 0
    for name in ("short", "long"):
        told = found[name]
        assert told["n_silent"] == 0 and told["first_audio_ms"]["p50"] >= told["first_id_ms"]["p50"] > 0
    for name in ("first_id_ms", "first_audio_ms"):
        ratio = found["long"][name]["p50"] / found["short"][name]["p50"]
        assert found["long_by_short"][name] == pytest.approx(ratio)


def test_what_breaks_a_reply(speaking: Any) -> None:
    vocabulary = speaking.processor.vocabulary
    opened, closed = vocabulary.around_speech
    one, other = vocabulary.first_unit_id, vocabulary.first_unit_id + 1
    text, end, nameless = 5, speaking.processor.end_ids[0], 7
    said = {
        (text, opened, one, other, one, closed, text, opened, one, closed, end): None,
        (text, opened, one): None,  # cut off
        (text, opened): None,
        (text, nameless): "an id that names nothing",
        (end, text): "an id after the end",
        (text, one): "a unit outside of speech",
        (text, closed): "an end of speech without its beginning",
        (opened, closed): "speech without a unit",
        (opened, text): "something else than units in speech",
        (opened, one, end): "something else than units in speech",
        (opened, one, opened): "something else than units in speech",
        (opened, one, one): "a unit that follows itself",
        (opened, one, closed, opened, one, closed): None,  # another stretch may begin with the same
    }
    found = {ids: what_breaks(ids, vocabulary, [end], [nameless]) for ids in said}
    assert found == said


def test_frames_of_several_codebooks_are_whole_and_in_their_order() -> None:
    class Two:
        around_speech, codebook_sizes, codebook_offsets, merges_repeats = (1, 2), (4, 4), np.array([10, 14]), False

        @staticmethod
        def is_unit(token_id: int) -> bool:
            return 10 <= token_id < 18

    two: Any = Two()
    assert what_breaks([1, 10, 14, 10, 14, 2], two, [0]) is None
    assert what_breaks([1, 10, 14, 10, 2], two, [0]) == "an end of speech inside a frame"
    assert what_breaks([1, 14], two, [0]) == "a unit of another codebook"


def test_an_untrained_model_keeps_the_grammar_and_a_grammar_that_allows_all_is_found(
    speaking: Any, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = speaking_model(tmp_path_factory.mktemp("untrained"))
    found = drawn_replies(model, 20, 40, 2.0, seed=1)
    assert found["breaks"] == {} and found["num_replies"] == 20 and found["num_units"] > 0
    assert found["num_that_spoke"] > 0 and found["num_ids"] > 20
    grammar = model.tasks().rules("anything").grammar
    monkeypatch.setattr(grammar, "forbidden", grammar.forbidden & False)
    assert drawn_replies(model, 20, 40, 2.0, seed=1)["breaks"]


@pytest.mark.parametrize(("tool", "name"), [("bench_offline", "offline"), ("bench_question", "spoken")])
def test_the_tools_hand_over_what_they_were_given(
    tool: str, name: str, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cslm.audio.waveform import save_waveform
    from cslm.benchmarks import offline_replies as offline
    from cslm.corpora.manifest import Utterance, write_manifest

    save_waveform(tmp_path / "q.wav", tone(0.5, 16000), 16000)
    write_manifest([Utterance("q", "q.wav", "who", "en")], tmp_path / "manifest.jsonl")
    line = {"id": "d", "question": "q", "question_language": "en", "answer_language": "zh"}
    (tmp_path / "dialogues.jsonl").write_text(json.dumps(line) + "\n")
    given: list[Any] = []
    for module, function in ((offline, "offline_replies"), (questions, "spoken_questions")):
        monkeypatch.setattr(module, function, lambda *now: given.append(now) or {"figure": 1})
    script = str(ROOT / "tools" / f"{tool}.py")
    files = [str(checkpoint), str(tmp_path / "dialogues.jsonl"), str(tmp_path / "manifest.jsonl")]
    monkeypatch.setattr(sys, "argv", [script, *files, "--max_new_tokens", "9", "--json", str(tmp_path / "found.json")])
    runpy.run_path(script, run_name="__main__")
    assert json.loads((tmp_path / "found.json").read_text()) == {"figure": 1}
    ((_, asked, decoding, *more),) = given
    assert len(asked) == 1 and decoding.max_new_tokens == 9 and more == {"offline": [200], "spoken": [2.0, 10.0]}[name]
