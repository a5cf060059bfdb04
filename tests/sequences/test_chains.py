"""A chain is a list and a line in one dictionary: the orders of the paper, and one of four parts added from outside."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.errors import UserError
from cslm.sequences.chain_of_modality import dialogue, parse_reply, text_dialogue
from cslm.sequences.chain_reader import ChainReader, SegmentBegins, TextRead
from cslm.sequences.chains import CHAINS, Chain, Segment, markers_of_chains
from cslm.sequences.chunking import chunk_text, speak_chunks
from cslm.sequences.prompts import prompt_for
from tests.worlds.four_part_chain import IN_WORDS, MARKED, four_part_format
from tests.worlds.small_village import chinese_answer, english_answer, some_units, word_times

QUESTION, TRANSLATION = "安娜的职业是什么？", "What is the job of Anna?"
THOUGHT, ANSWER = english_answer("Anna", "teacher"), chinese_answer("安娜", "老师")
TEXTS = {"question_text": QUESTION, "question_text_en": TRANSLATION, "answer_text_en": THOUGHT}
FURTHER = {name: text for name, text in TEXTS.items() if name.endswith("_en")}
UNITS = some_units(30)
CHUNKS = speak_chunks(chunk_text(ANSWER, "zh"), UNITS, word_times(ANSWER, "zh", UNITS.num_frames_total / 25), 25.0)


@pytest.fixture(autouse=True)
def added(monkeypatch):
    """What a user adds: a line of the dictionary each."""
    monkeypatch.setitem(CHAINS, "four_parts", MARKED)
    monkeypatch.setitem(CHAINS, "four_parts_in_words", IN_WORDS)


@pytest.fixture
def four(tmp_path):
    return four_part_format(tmp_path / "tokenizer")


def written(form, order: str):
    return dialogue(form, some_units(5), QUESTION, "zh", CHUNKS, "zh", order, FURTHER)


def reply_ids(form, sequence) -> list[int]:
    prompt = prompt_for(form, "dialogue", language="zh", units=some_units(5), answer_language="zh")
    assert sequence.ids[: len(prompt)].tolist() == prompt.tolist()
    assert not sequence.trained[: len(prompt)].any() and sequence.trained[len(prompt) :].all()
    return sequence.ids[len(prompt) :].tolist()


def spoken(units) -> str:
    return "<sosp>" + "".join(f"<{unit}>" for unit in units.ids[:, 0].tolist()) + "<eosp>"


def test_four_parts_are_written_one_after_another(four):
    ids = reply_ids(four, written(four, "four_parts"))
    assert len(CHUNKS) == 2
    (first, one), (second, other) = CHUNKS
    assert four.encoder.surface(ids) == (
        f"[question]: {QUESTION}; [translation]: {TRANSLATION}; [thought]: {THOUGHT}; "
        f"[answer]: {first}{spoken(one)}{second}{spoken(other)}<|end|>"
    )


def test_every_part_knows_its_language(four):
    spans = [span for span in written(four, "four_parts").spans if span.trained]
    assert [span.language for span in spans[:6]] == ["zh", "zh", "en", "en", "en", "en"]
    assert {span.language for span in spans[6:]} == {"zh"}


@pytest.mark.parametrize("order", ["four_parts", "four_parts_in_words"])
def test_four_parts_are_read_as_they_were_written(four, order):
    reply = parse_reply(four, reply_ids(four, written(four, order)), order)
    assert reply.texts == TEXTS and reply.question == QUESTION and reply.answer == ANSWER
    assert [text for text, _ in reply.segments] == [text.strip() for text, _ in CHUNKS]
    for (_, read), (_, units) in zip(reply.segments, CHUNKS, strict=True):
        assert np.array_equal(read.ids, units.ids)
    assert reply.order == order


@pytest.mark.parametrize("order", ["four_parts", "four_parts_in_words"])
def test_a_reply_that_is_cut_off_in_any_place_keeps_the_parts_before(four, order):
    ids = reply_ids(four, written(four, order))
    names = list(TEXTS)
    last: dict[str, str] = {}
    for stop in range(len(ids) + 1):
        texts = parse_reply(four, ids[:stop], order).texts
        assert list(texts) == names[: len(texts)] and len(texts) >= len(last)
        whole = list(texts.items())[: len(last) - 1] if len(texts) == len(last) else list(texts.items())[:-1]
        assert whole == list(TEXTS.items())[: len(whole)]
        last = texts
    assert last == TEXTS


@pytest.mark.parametrize("order", ["four_parts", "four_parts_in_words"])
def test_the_parts_are_told_one_by_one_as_they_come(four, order):
    reader, told = ChainReader(four, CHAINS[order]), []
    for token_id in reply_ids(four, written(four, order)):
        told += reader.push([token_id])
    begun = [event.segment for event in told if isinstance(event, SegmentBegins)]
    assert begun == list(CHAINS[order].segments)
    said = {event.segment.field: event.said for event in told if isinstance(event, TextRead) and event.first}
    assert said == {**TEXTS, "answer_text": CHUNKS[0][0].strip()}


def test_without_speech_the_parts_are_text(four):
    sequence = text_dialogue(four, QUESTION, ANSWER, "zh", "zh", "four_parts", FURTHER)
    assert not any(span.modality == "speech" for span in sequence.spans)
    reply = parse_reply(four, sequence.ids[int(sequence.trained.argmax()) :], "four_parts")
    assert reply.texts == TEXTS and reply.answer == ANSWER


def test_speech_behind_the_whole_text_needs_no_marker_of_its_own(four, monkeypatch):
    parts = (Segment("answer", "answer", "text", "[answer]", before=": "), Segment("answer", "answer", "speech"))
    monkeypatch.setitem(CHAINS, "apart", Chain(parts))
    sequence = dialogue(four, some_units(5), QUESTION, "zh", [(ANSWER, UNITS)], "zh", "apart")
    ids = reply_ids(four, sequence)
    assert four.encoder.surface(ids) == f"[answer]: {ANSWER}{spoken(UNITS)}<|end|>"
    reply = parse_reply(four, ids, "apart")
    assert reply.answer == ANSWER and np.array_equal(reply.segments[0][1].ids, UNITS.ids)


def test_a_chain_whose_marker_the_tokenizer_lacks_is_refused_by_name(form):
    possible = "choose one of interleaved, full, no_question, .*, four_parts_in_words"
    with pytest.raises(UserError, match=rf"order four_parts writes \[translation\] \[thought\], which .*{possible}"):
        written(form, "four_parts")
    ids = reply_ids(form, written(form, "four_parts_in_words"))
    assert parse_reply(form, ids, "four_parts_in_words").texts == TEXTS


def test_a_chain_that_nobody_knows_is_refused(form):
    with pytest.raises(UserError, match=r"no order 'mixed' .*choose one of interleaved, full, no_question"):
        parse_reply(form, [], "mixed")


def test_a_segment_that_nothing_begins_is_none():
    with pytest.raises(AssertionError, match="nothing tells where"):
        Chain((Segment("question", "question", "text", "[question]"), Segment("answer", "answer", "text")))
    with pytest.raises(AssertionError, match="texts that spell it would become it"):
        Segment("answer", "answer", "text", "answer:")


def test_the_orders_of_the_paper_name_no_field_or_language_of_their_own():
    for order in ("interleaved", "full", "no_question"):
        chain = CHAINS[order]
        assert set(chain.fields) <= {"question_text", "answer_text"} and not chain.core_languages
    assert MARKED.fields == (*TEXTS, "answer_text") and MARKED.core_languages == ("en",)


def test_a_core_language_is_the_documents():
    """A chain for every core language would be a line for each; the fields are those of the village's chains."""
    for order in ("xs_cot", "xs_cot_spoken", "xs_cot_labels", "xs_cot_spoken_labels"):
        chain = CHAINS[order]
        assert chain.fields == ("question_text", "core_question", "core_answer", "answer_text")
        assert chain.has_core and not chain.core_languages
        languages = {"question_language": "ja", "core_language": "en", "answer_language": "fr"}
        assert [segment.language_in(languages) for segment in chain.segments] == ["ja", "en", "en", "fr"]
    with pytest.raises(AssertionError, match="the document names none"):
        CHAINS["xs_cot"].segments[1].language_in({"question_language": "ja", "answer_language": "fr"})
    assert not any(CHAINS[order].has_core for order in ("direct", "transcript_then_answer", "interleaved"))


CORE = {"core_language": "en", "core_question": "What is the job of Anna?", "core_answer": THOUGHT}


def test_a_chain_through_the_core_language_is_written_as_tokens_or_as_words(four):
    found = {}
    for order in ("xs_cot", "xs_cot_labels", "transcript_then_answer", "transcript_then_answer_labels", "direct"):
        sequence = dialogue(four, some_units(5), QUESTION, "zh", [(ANSWER, None)], "zh", order, CORE)
        found[order] = four.encoder.surface(reply_ids(four, sequence)).removesuffix("<|end|>")
        reply = parse_reply(four, reply_ids(four, sequence), order)
        texts = {"question_text": QUESTION, **CORE}
        assert reply.texts == {field: texts[field] for field in CHAINS[order].fields[:-1]} and reply.answer == ANSWER
    translation = CORE["core_question"]
    assert found == {
        "xs_cot": f"[question]: {QUESTION}; [translation]: {translation}; [thought]: {THOUGHT}; [answer]: {ANSWER}",
        "xs_cot_labels": f"Question: {QUESTION}\nTranslation: {translation}\nThought: {THOUGHT}\nAnswer: {ANSWER}",
        "transcript_then_answer": f"[question]: {QUESTION}; [answer]: {ANSWER}",
        "transcript_then_answer_labels": f"Question: {QUESTION}\nAnswer: {ANSWER}",
        "direct": ANSWER,
    }


@pytest.mark.parametrize("order", ["xs_cot_spoken", "xs_cot_spoken_labels"])
def test_a_chain_through_the_core_language_speaks_in_chunks(four, order):
    sequence = dialogue(four, some_units(5), QUESTION, "zh", CHUNKS, "zh", order, CORE)
    reply = parse_reply(four, reply_ids(four, sequence), order)
    assert reply.texts == {"question_text": QUESTION, "core_question": CORE["core_question"], "core_answer": THOUGHT}
    assert [text for text, _ in reply.segments] == [text.strip() for text, _ in CHUNKS] and reply.answer == ANSWER
    assert all(np.array_equal(read.ids, it.ids) for (_, read), (_, it) in zip(reply.segments, CHUNKS, strict=True))


def test_a_text_that_spells_a_label_is_learnt_whole_and_ends_where_a_reply_is_read(four):
    """What is written is never read back: its spans are those of the parts, whatever they spell."""
    spelt = {**CORE, "core_answer": "I know. Answer: a teacher."}
    sequence = dialogue(four, some_units(5), QUESTION, "zh", [(ANSWER, None)], "zh", "xs_cot_labels", spelt)
    spans = [(span.language, text.strip()) for span, text in four.span_texts(sequence) if span.trained]
    assert ("en", "Thought: I know. Answer: a teacher.") in spans and ("zh", f"Answer: {ANSWER}") in spans
    reply = parse_reply(four, reply_ids(four, sequence), "xs_cot_labels")
    assert reply.texts["core_answer"] == "I know." and reply.answer.startswith("a teacher.")
    marked = dialogue(four, some_units(5), QUESTION, "zh", [(ANSWER, None)], "zh", "xs_cot", spelt)
    assert parse_reply(four, reply_ids(four, marked), "xs_cot").texts["core_answer"] == spelt["core_answer"]


def test_the_markers_of_chains_each_once():
    assert markers_of_chains(["full", "no_question"]) == ("[question]", "[answer]")
    assert markers_of_chains() == ("[question]", "[answer]", "[translation]", "[thought]")
    with pytest.raises(UserError, match="no order 'mixed'"):
        markers_of_chains(["mixed"])
