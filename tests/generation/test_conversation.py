"""Several turns: the next prompt holds what was said, and of an answer that was cut off what was heard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cslm import CSLMForCausalLM
from cslm.batches.sources import SourceConfig, open_sources
from cslm.codecs.units import Units
from cslm.generation.conversation import Conversation
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import AnswerSamples, AnswerText, ReplyEnd
from cslm.generation.speech_tasks import SpeechTasks
from cslm.sequences.chain_of_modality import dialogue
from cslm.sequences.chunking import chunk_text, speak_chunks
from cslm.sequences.sequence_view import sequence_lines
from cslm.units.store import StoreRow, UnitStore, write_store
from tests.worlds.small_village import word_times
from tests.worlds.tiny_checkpoint import tone

QUESTION = (tone(0.6, 16000), 16000)
SHORT = DecodingConfig(max_new_tokens=12)
TEXTS = ["Anna works", " in this village,", " as a baker."]


def chunks() -> list[tuple[str, Units]]:
    steps = np.random.default_rng(0).integers(1, 16, (3, 30, 1))
    return [(text, Units(np.cumsum(step, axis=0) % 16)) for text, step in zip(TEXTS, steps, strict=True)]


@pytest.fixture
def scripted(model: CSLMForCausalLM, monkeypatch: pytest.MonkeyPatch) -> CSLMForCausalLM:
    """The model, which always gives the same answer."""
    form = model.processor.form
    sequence = dialogue(form, chunks()[0][1], "Who is Anna?", "en", chunks(), "en")
    ids = sequence.ids[sequence.trained].tolist()

    def write(self: SpeechTasks, *given: object) -> Iterator[int]:
        prompts.append(self.processor.question_prompt(*given[:3], given[5]).tolist())
        yield from ids

    prompts: list[list[int]] = []
    monkeypatch.setattr(SpeechTasks, "write_answer", write)
    model.prompts = prompts
    return model


def asked(conversation: Conversation) -> list:
    return list(conversation.stream(QUESTION, answer_language="en", question_language="en"))


def test_the_second_prompt_is_the_first_document_and_the_next_question(scripted: CSLMForCausalLM) -> None:
    conversation, form = Conversation(scripted), scripted.processor.form
    units = scripted.processor.units(QUESTION)
    events = asked(conversation)
    asked(conversation)
    first, second = scripted.prompts
    assert first == scripted.processor.prompt("dialogue", "en", units=units).tolist()
    assert isinstance(events[-1], ReplyEnd)
    said = [*first, *events[-1].ids]
    assert second[: len(said)] == said and len(second) > len(said)
    assert len(conversation.past) == 2
    texts = form.surface(second[len(said) :])
    assert "<sosp>" in texts and not texts.count("[answer]")


def closed_after(conversation: Conversation, num_samples: int) -> int:
    """Read until so many samples were given out, then stop; how many there were."""
    heard = 0
    events = conversation.stream(QUESTION, answer_language="en", question_language="en")
    for event in events:
        if isinstance(event, AnswerSamples):
            heard += len(event.samples)
            if heard >= num_samples:
                break
    events.close()
    return heard


def kept(conversation: Conversation) -> list[tuple[str, list[int]]]:
    return [(text, units.ids[:, 0].tolist()) for text, units in conversation.past[-1].chunks]


def test_an_answer_is_kept_up_to_the_chunk_and_the_unit_that_was_heard(scripted: CSLMForCausalLM) -> None:
    decoder, conversation = scripted.processor.speech_decoder(), Conversation(scripted)
    asked(conversation)
    rows = Units(np.concatenate([units.ids for _, units in chunks()]))
    ends = np.cumsum(decoder.predict_durations(rows, "en").durations) * decoder.sample_rate_hz // 25
    for num_units in (1, 29, 30, 31, 75, 90):
        conversation.heard(int(ends[num_units - 1]))
        expected, left = [], num_units
        for text, units in chunks():
            if left > 0:
                expected.append((text.strip(), units.ids[:left, 0].tolist()))
            left -= len(units)
        assert kept(conversation) == expected
        conversation.heard(int(ends[num_units - 1]) - 1)
        assert (
            sum(len(ids) for _, ids in kept(conversation)) == num_units - 1 if num_units > 1 else not conversation.past
        )
    conversation.heard(0)
    assert conversation.past == ()


def test_a_word_on_an_answer_that_had_not_begun_cut_the_one_before(scripted: CSLMForCausalLM) -> None:
    conversation = Conversation(scripted)
    given = {"answer_language": "en", "question_language": "en"}
    list(conversation.stream(QUESTION, name="first", **given))
    whole = kept(conversation)
    conversation.heard(0, "second")
    assert kept(conversation) == whole
    list(conversation.stream(QUESTION, name="second", **given))
    assert len(conversation.past) == 1 and kept(conversation) == whole  # nothing of the second was heard
    conversation.heard(10**9, "second")
    assert len(conversation.past) == 2


def test_an_answer_that_is_read_was_forgotten_when_it_was_stopped(scripted: CSLMForCausalLM) -> None:
    """Nobody hears it, so nothing of it seemed to have been taken in."""
    conversation = Conversation(scripted)
    events = conversation.stream(QUESTION, is_heard=False, answer_language="en", question_language="en")
    said = ""
    for event in events:
        if isinstance(event, AnswerText):
            said += event.text
            if "village" in said:
                break
    events.close()
    assert "".join(text for text, _ in conversation.past[-1].chunks).replace(" ", "") == said.replace(" ", "")
    assert len(scripted.processor.question_prompt(conversation.past[-1].question, "en", "en", conversation.past)) > 0


def test_a_stream_that_was_closed_is_kept_as_far_as_it_was_given_out(scripted: CSLMForCausalLM) -> None:
    conversation = Conversation(scripted)
    heard = closed_after(conversation, 1)
    ends = conversation._last._unit_ends
    assert ends and max(ends) <= heard
    assert sum(len(ids) for _, ids in kept(conversation)) == len(ends)
    asked(conversation)
    assert (
        scripted.processor.question_prompt(conversation.past[0].question, "en", "en", conversation.past[:1]).tolist()
        == (scripted.prompts[-1])
    )


def test_nothing_heard_is_no_turn(model: CSLMForCausalLM) -> None:
    conversation = Conversation(model)
    events = conversation.stream(QUESTION, answer_language="en", question_language="en", decoding=SHORT)
    next(events)
    events.close()
    assert conversation.past == ()


def test_a_real_model_answers_turn_after_turn(model: CSLMForCausalLM) -> None:
    conversation = Conversation(model)
    for _ in range(3):
        *_, end = conversation.stream(QUESTION, answer_language="zh", question_language="en", decoding=SHORT)
        assert isinstance(end, ReplyEnd) and end.ids


QUESTIONS = [(tone(0.5, 16000, hz), 16000) for hz in (200.0, 330.0, 450.0)]
ANSWERS = [
    "Anna works in this village as a baker, and everybody in the whole village knows it.",
    "彼得最喜欢的颜色是蓝色的，这里的人都知道这件事。他每天都说。",
    "The colour that Peter likes best is blue.",
]
NUM_HEARD = 30
"""units of the second answer, of 80"""


@pytest.fixture
def three_turns(model: CSLMForCausalLM, tmp_path: Path) -> SourceConfig:
    """A dialogue of three turns, the second answer stopped in the middle, as a source of training."""
    rows, turns = [], []
    for number, (question, answer) in enumerate(zip(QUESTIONS, ANSWERS, strict=True)):
        language = "zh" if number == 1 else "en"
        generator = np.random.default_rng(number)
        ids = np.cumsum(generator.integers(1, 16, (80, 1)), axis=0) % 16
        units = Units(ids, generator.integers(1, 4, 80))
        length_sec = units.num_frames_total / 25
        spoken = model.processor.units(question)
        rows += [
            StoreRow(f"question-{number}", "en", "What?", spoken.num_frames_total / 25, spoken),
            StoreRow(
                f"answer-{number}", language, answer, length_sec, units, words=word_times(answer, language, length_sec)
            ),
        ]
        turns.append(
            {"question": f"question-{number}", "question_text": "What?", "answer": f"answer-{number}",
             "answer_language": language, "answer_text": answer}
        )  # fmt: skip
    # the middle of a unit is not heard whole
    turns[1]["heard_sec"] = (rows[3].units.durations[:NUM_HEARD].sum() + 0.5) / 25
    facts = {"fingerprint": "f", "card": "c", "codebook_sizes": (16,), "frame_rate_hz": 25.0}
    write_store(tmp_path / "units", iter(rows), **facts)
    dialogue = {"id": "d", "question_language": "en", "turns": turns}
    (tmp_path / "dialogues.jsonl").write_text(json.dumps(dialogue) + "\n", encoding="utf-8")
    return SourceConfig("dialogue", 1, str(tmp_path / "units"), str(tmp_path / "dialogues.jsonl"))


def test_training_reads_the_ids_that_a_conversation_builds(
    model: CSLMForCausalLM, three_turns: SourceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    form = model.processor.form
    learnt = open_sources({"dialogue": three_turns}, form)["dialogue"].clean_sequence(0, 0)
    store = UnitStore.open(three_turns.store)
    replies, prompts = [], []
    for number, answer in enumerate(ANSWERS):
        row = store.row(store.index_of(f"answer-{number}"))
        pieces = speak_chunks(chunk_text(answer, row.language), row.units, row.words, 25.0)
        whole = dialogue(form, row.units, "What?", "en", pieces, row.language)
        replies.append(whole.ids[whole.trained].tolist())

    def write(self: SpeechTasks, *given: object) -> Iterator[int]:
        prompts.append(self.processor.question_prompt(*given[:3], given[5]).tolist())
        yield from replies[len(prompts) - 1]

    monkeypatch.setattr(SpeechTasks, "write_answer", write)
    conversation = Conversation(model)
    for number, question in enumerate(QUESTIONS):
        language = "zh" if number == 1 else "en"
        list(conversation.stream(question, answer_language=language, question_language="en"))
        if number == 1:
            conversation.heard(conversation._last._unit_ends[NUM_HEARD - 1])
    assert len(conversation.past) == 3
    assert learnt.ids.tolist() == prompts[2] + replies[2]
    assert learnt.ids.tolist()[: len(prompts[0] + replies[0])] == prompts[0] + replies[0]
    shown = "\n".join(sequence_lines(form, learnt, False, True))  # as inspect prints it
    assert [shown.count(text) for text in ("as a baker", "彼得", "likes best is blue")] == [1, 1, 1]
    # what is learnt: the first answer, the third, and nothing of the one that was stopped
    assert learnt.ids[learnt.trained].tolist() == replies[0] + replies[2]
    assert learnt.trained[len(prompts[0]) : len(prompts[0] + replies[0])].all()
