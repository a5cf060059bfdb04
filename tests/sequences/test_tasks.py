"""One rendered sequence a task, beside what is learnt of it; the golden files are what a reader checks by eye."""

from __future__ import annotations

import os

import numpy as np
import pytest

from cslm.errors import UserError
from cslm.sequences.chain_of_modality import dialogue, text_dialogue
from cslm.sequences.chunking import chunk_text, speak_chunks
from cslm.sequences.conversations import asr, instruction, plain_text, translation, tts
from cslm.sequences.interleaving import interleaved
from cslm.sequences.prompts import chat_prompt, prompt_for
from cslm.sequences.stories import spoken_document
from cslm.units.store import StoreRow
from tests.worlds.small_village import chinese_answer, english_answer, some_units, word_times

ENGLISH = english_answer("Anna", "baker")
CHINESE = chinese_answer("安娜", "面包师")
QUESTION = "Please tell me about the job of Anna."


def spoken_chunks(text: str, language: str):
    units = some_units(24)
    return speak_chunks(
        chunk_text(text, language), units, word_times(text, language, units.num_frames_total / 25), 25.0
    )


def written(form, task: str):
    """One sequence of the task, the same every time."""
    units, frames = some_units(24), some_units(24).num_frames_total
    match task:
        case "asr":
            return asr(form, some_units(6), "Anna <12> works.", "en", wording=1)
        case "tts":
            return tts(form, some_units(6), "安娜是老师。", "zh", wording=2)
        case "translation":
            return translation(form, "Anna works.", "安娜工作。", "en", "zh", wording=3)
        case "instruction":
            return instruction(
                form, [{"role": "user", "content": "Hi [answer]"}, {"role": "assistant", "content": "Yes"}], "en"
            )
        case "text":
            return plain_text(form, CHINESE, "zh")
        case "interleaved":
            words = word_times(ENGLISH, "en", frames / 25)
            utterance = StoreRow("one", "en", ENGLISH, frames / 25, units, words=words)
            return interleaved(form, utterance, 25.0, np.random.default_rng(4))
        case "code_switched":
            return spoken_document(
                form, [(some_units(4), "en"), (some_units(5, 1), "zh"), (some_units(3, 2), "zh")], task
            )
        case "dialogue":
            return dialogue(form, some_units(6), QUESTION, "en", spoken_chunks(CHINESE, "zh"), "zh")
        case "dialogue_full":
            return dialogue(form, some_units(6), QUESTION, "en", [(ENGLISH, units)], "en", "full")
        case "dialogue_no_question":
            return dialogue(form, some_units(6), QUESTION, "en", spoken_chunks(ENGLISH, "en"), "en", "no_question")
    return text_dialogue(form, QUESTION, ENGLISH, "en", "en")


TASKS = [
    "asr", "tts", "translation", "instruction", "text", "interleaved", "code_switched", "dialogue", "dialogue_full",
    "dialogue_no_question", "text_dialogue",
]  # fmt: skip


@pytest.mark.parametrize("task", TASKS)
def test_golden(form, root, task):
    sequence = written(form, task)
    lines = [form.render(sequence), ""]
    for span, text in form.span_texts(sequence):
        learnt = "learnt" if span.trained else "      "
        lines.append(f"{learnt} {span.modality:8} {span.language:2} {span.role:9} {text!r}")
    path = root / "tests" / "golden" / "sequences" / f"{task}.txt"
    if os.environ.get("CSLM_UPDATE_GOLDEN"):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert "\n".join(lines) + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("task", [task for task in TASKS if task not in ("text", "interleaved", "code_switched")])
def test_only_the_reply_is_learnt_and_all_of_it(form, task):
    sequence = written(form, task)
    start = int(sequence.trained.argmax())
    assert not sequence.trained[:start].any() and sequence.trained[start:].all()
    assert {span.role for span in sequence.spans if span.trained} == {"assistant"}
    assert form.encoder.surface([int(sequence.ids[-1])]) == "<|end|>"


@pytest.mark.parametrize("task", ["text", "interleaved", "code_switched"])
def test_of_a_document_everything_is_learnt(form, task):
    assert written(form, task).trained.all()


def test_prompts_are_the_sequences_up_to_the_reply(form):
    units = some_units(6)
    prompts = {
        "asr": prompt_for(form, "asr", language="en", units=units, wording=1),
        "tts": prompt_for(form, "tts", language="zh", text="安娜是老师。", wording=2),
        "translation": prompt_for(
            form, "translation", language="en", text="Anna works.", answer_language="zh", wording=3
        ),
        "dialogue": prompt_for(form, "dialogue", language="en", units=units, answer_language="zh"),
        "text_dialogue": prompt_for(form, "text_dialogue", language="en", text=QUESTION),
        "instruction": chat_prompt(form, [{"role": "user", "content": "Hi [answer]"}]),
    }
    for task, prompt in prompts.items():
        sequence = written(form, task)
        assert sequence.ids[: int(sequence.trained.argmax())].tolist() == prompt.tolist(), task


def test_text_of_a_corpus_never_becomes_a_unit_or_a_marker(form):
    spelled = "<12> <sosp> [question] [answer] <eosp> <|end|> <|user|>"
    units = some_units(3)
    vocabulary, controls = form.vocabulary, form.encoder.control_ids
    sequences = [
        asr(form, units, spelled, "en"),
        tts(form, units, spelled, "en"),
        translation(form, spelled, spelled, "en", "zh"),
        instruction(form, [{"role": "user", "content": spelled}, {"role": "assistant", "content": spelled}], "en"),
        plain_text(form, spelled, "en"),
        dialogue(form, units, spelled, "en", [(spelled, units)], "en"),
        text_dialogue(form, spelled, spelled, "en", "en"),
    ]
    for sequence in sequences:
        assert spelled in form.render(sequence)
        for span in sequence.spans:
            ids = sequence.ids[span.start : span.stop]
            assert vocabulary.is_unit(ids).all() == (span.modality == "speech")
            if span.modality == "text":
                assert controls.isdisjoint(ids.tolist())


def test_messages_that_are_none_are_refused(form):
    with pytest.raises(UserError, match="role 'robot'"):
        instruction(form, [{"role": "robot", "content": "Hi"}], "en")
    with pytest.raises(UserError, match="content None"):
        instruction(form, [{"role": "user"}], "en")
    with pytest.raises(UserError, match="nothing to learn"):
        instruction(form, [{"role": "user", "content": "Hi"}], "en")
