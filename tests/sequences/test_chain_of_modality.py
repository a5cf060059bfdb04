from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cslm.codecs.units import Units
from cslm.sequences.chain_of_modality import dialogue, parse_reply, text_dialogue
from cslm.sequences.chunking import chunk_text, join_chunks, speak_chunks
from cslm.sequences.prompts import prompt_for
from cslm.sequences.sequence_format import SequenceFormat
from tests.worlds.small_village import (
    byte_level_tokenizer,
    chinese_answer,
    english_answer,
    small_tokenizer,
    some_units,
    word_times,
)

CHUNKS = [("In this village Anna works as a baker,", some_units(2)), (" and so on.", some_units(3, seed=1))]
A, B = "<28><16>", "<15><1><25>"
EXAMPLES = {
    "en": ("What is the job of Anna?", english_answer("Anna", "baker")),
    "zh": ("安娜的职业是什么？", chinese_answer("安娜", "老师")),
}


def reply_of(form, sequence) -> str:
    start = int(sequence.trained.argmax())
    return form.render(sequence.window(start, len(sequence)))


def surface(units: Units) -> str:
    return "".join(f"<{unit}>" for unit in units.ids[:, 0].tolist())


def test_the_format_is_that_of_the_paper(form):
    first, second = (surface(units) for _, units in CHUNKS)
    sequence = dialogue(form, some_units(2), "Who is Anna?", "en", CHUNKS, "en")
    assert form.render(sequence) == (
        f"<|user|>Please directly answer the questions in the user's speech. This is input: <sosp>{first}<eosp>."
        f"<|assistant|>[question]: Who is Anna?; [answer]: In this village Anna works as a baker,<sosp>{first}<eosp>"
        f" and so on.<sosp>{second}<eosp><|end|>"
    )
    chunks = [("在这个村子里，", CHUNKS[0][1]), ("她是老师。", CHUNKS[1][1])]
    sequence = dialogue(form, some_units(2), "Who is Anna?", "en", chunks, "zh")
    assert form.render(sequence) == (
        f"<|user|>用中文回答用户语音中的问题。 这是输入: <sosp>{first}<eosp>。<|assistant|>"
        f"[question]: Who is Anna?; [answer]: 在这个村子里，<sosp>{first}<eosp>她是老师。<sosp>{second}<eosp><|end|>"
    )


def test_other_orders(form):
    first = surface(CHUNKS[0][1])
    whole = [("She is a baker.", CHUNKS[0][1])]
    full = dialogue(form, some_units(2), "谁？", "zh", whole, "en", "full")
    assert reply_of(form, full) == f"[question]: 谁？; [answer]: She is a baker.<sosp>{first}<eosp><|end|>"
    without = dialogue(form, some_units(2), "谁？", "zh", whole, "en", "no_question")
    assert reply_of(form, without) == f"[answer]: She is a baker.<sosp>{first}<eosp><|end|>"
    text = text_dialogue(form, "谁？", "She is a baker.", "zh", "en")
    assert reply_of(form, text) == "[question]: 谁？; [answer]: She is a baker.<|end|>"


def test_all_of_the_reply_is_learnt_and_knows_its_language(form):
    sequence = dialogue(form, some_units(2), "谁？", "zh", CHUNKS, "en")
    start = int(sequence.trained.argmax())
    assert sequence.trained[start:].all() and not sequence.trained[:start].any()
    learnt = [(span.modality, span.language) for span in sequence.spans if span.trained]
    assert learnt[:4] == [("marker", "zh"), ("text", "zh"), ("marker", "en"), ("text", "en")]
    assert {language for _, language in learnt[2:]} == {"en"}
    assert [span.language for span in sequence.spans if span.modality == "speech"] == ["zh", "en", "en"]


@pytest.fixture(scope="module")
def forms(form):
    tokenizer = byte_level_tokenizer(["<|end|>"], None, "<|end|>", None)
    tokenizer.add_tokens([f"<{unit}>" for unit in range(32)])
    tokenizer.add_tokens(["<sosp>", "<eosp>", "[question]", "[answer]"])
    return {"small": form, "bytes": SequenceFormat(tokenizer)}


@pytest.mark.parametrize("name", ["small", "bytes"])
@pytest.mark.parametrize("order", ["interleaved", "no_question", "full"])
@given(st.sampled_from(["en", "zh"]), st.sampled_from(["en", "zh"]), st.integers(20, 90), st.integers(0, 99))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20)
def test_a_reply_is_read_as_it_was_written(forms, name, order, asked, answered, num_units, seed):
    form = forms[name]
    question, answer = EXAMPLES[asked][0], EXAMPLES[answered][1]
    units = some_units(num_units, seed)
    chunks = [answer] if order == "full" else chunk_text(answer, answered)
    spoken = speak_chunks(chunks, units, word_times(answer, answered, units.num_frames_total / 25), 25.0)
    sequence = dialogue(form, some_units(5), question, asked, spoken, answered, order)
    prompt = prompt_for(form, "dialogue", language=asked, units=some_units(5), answer_language=answered)
    assert sequence.ids[: len(prompt)].tolist() == prompt.tolist()
    reply = parse_reply(form, sequence.ids[len(prompt) :])
    assert reply.question == (None if order == "no_question" else question)
    assert reply.answer == answer
    assert [text for text, _ in reply.segments] == [text.strip() for text, _ in spoken]
    for (_, read), (_, written) in zip(reply.segments, spoken, strict=True):
        assert np.array_equal(read.ids, written.ids)
    assert reply.order == order


def test_a_reply_of_one_chunk_counts_as_full(form):
    sequence = dialogue(form, some_units(2), "Who?", "en", [("Anna.", some_units(3))], "en", "interleaved")
    start = int(sequence.trained.argmax())
    assert parse_reply(form, sequence.ids[start:]).order == "full"


@given(st.lists(st.integers(0, 10_000), max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_ids_can_be_read(form, numbers):
    vocabulary = form.vocabulary
    start = vocabulary.num_text_ids - 2
    ids = [start + number % (vocabulary.padded_size - start) if number % 3 else number % start for number in numbers]
    reply = parse_reply(form, ids)
    assert join_chunks([text for text, _ in reply.segments]) is not None
    assert all(units.ids.shape[1] == 1 for _, units in reply.segments)


def test_unfinished_replies_keep_what_is_there(form):
    vocabulary, encode = form.vocabulary, form.encoder.encode
    question = [vocabulary.question, *encode(": Who is Anna")]
    assert parse_reply(form, question).question == "Who is Anna"
    assert parse_reply(form, question).segments == []
    answer = [*question, *encode("?; "), vocabulary.answer, *encode(": She works")]
    reply = parse_reply(form, answer)
    assert (reply.question, reply.answer) == ("Who is Anna?", "She works")
    assert len(reply.segments[0][1]) == 0
    reply = parse_reply(form, [*answer, vocabulary.sosp, vocabulary.unit_id(3), vocabulary.unit_id(4)])
    assert reply.segments[0][1].ids.tolist() == [[3], [4]]
    ended = [*answer, *form.chat.end_of_turn_ids, *encode("more")]
    assert parse_reply(form, ended).answer == "She works"


def test_replies_of_other_tasks_are_read_too(form):
    units = some_units(3)
    speech = [form.vocabulary.sosp, *form.vocabulary.unit_ids(units.ids).tolist(), form.vocabulary.eosp]
    reply = parse_reply(form, speech)
    assert reply.answer == "" and np.array_equal(reply.segments[0][1].ids, units.ids)
    assert parse_reply(form, form.encoder.encode("Anna works.")).answer == "Anna works."


def test_a_model_of_text_only_answers_in_plain_text(tmp_path):
    form = SequenceFormat(small_tokenizer(tmp_path / "tokenizer"))
    sequence = text_dialogue(form, "Who is Anna?", "安娜是老师。", "en", "zh")
    assert (
        form.render(sequence)
        == "<|user|>用中文回答用户语音中的问题。 这是输入: Who is Anna?<|assistant|>安娜是老师。<|end|>"
    )
