"""Ids in, events out: the same however the ids come, and the same reply as one that is read whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cslm.codecs.units import Units
from cslm.sequences.chain_of_modality import ParsedReply, parse_reply
from cslm.sequences.chain_reader import (
    ChainReader,
    ReplyEnds,
    SegmentBegins,
    SpeechBegins,
    SpeechEnds,
    TextRead,
    UnitsRead,
)
from cslm.sequences.chains import CHAINS
from cslm.sequences.chunking import join_chunks
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.vocabulary import extend_tokenizer
from tests.worlds.small_village import byte_level_tokenizer, small_tokenizer

TRANSCRIPT, ANSWER = CHAINS["interleaved"].segments


@pytest.fixture(scope="module")
def forms(form):
    tokenizer = byte_level_tokenizer(["<|end|>"], None, "<|end|>", None)
    extend_tokenizer(tokenizer, (16, 8))
    return {"small": form, "two codebooks": SequenceFormat(tokenizer)}


def units_of(events) -> list[list[int]]:
    return [event.units.ids.reshape(-1).tolist() for event in events if isinstance(event, UnitsRead)]


def test_events_come_as_soon_as_they_can_be_said(form):
    v, encode = form.vocabulary, form.encoder.encode
    reader = ChainReader(form)
    assert reader.push([v.question]) == [SegmentBegins(TRANSCRIPT)]
    assert reader.push(encode(": Who is Anna?; ")) == []
    assert reader.pending_text.startswith(": Who is Anna?;")
    (heard, begins) = reader.push([v.answer])
    assert isinstance(heard, TextRead) and heard.said == "Who is Anna?" and begins == SegmentBegins(ANSWER)
    assert reader.push(encode(": She works,")) == []
    (text, speech) = reader.push([v.sosp])
    assert text.said == "She works," and text.first and speech == SpeechBegins(ANSWER)
    assert units_of(reader.push([v.unit_id(3), v.unit_id(4)])) == [[3, 4]]
    assert units_of(reader.push([v.unit_id(5)])) == [[5]]
    assert reader.push([v.eosp]) == [SpeechEnds(ANSWER)]
    assert reader.push(encode(" as a baker.")) == []
    (text,) = reader.push([v.sosp])[:1]
    assert text.said == " as a baker." and not text.first
    assert reader.push([v.unit_id(1), *form.chat.end_of_turn_ids])[-2:] == [SpeechEnds(ANSWER), ReplyEnds(True)]
    assert reader.ended and reader.push(encode("more")) == [] and reader.finish() == []


def test_a_reply_that_was_cut_off_says_what_was_pending(form):
    reader = ChainReader(form)
    reader.push([form.vocabulary.question, *form.encoder.encode(": Who is Anna")])
    text, end = reader.finish()
    assert text.said == "Who is Anna" and end == ReplyEnds(False)


def test_an_unfinished_frame_is_kept_until_it_is_whole(forms):
    form = forms["two codebooks"]
    v, reader = form.vocabulary, ChainReader(form)
    assert reader.push([v.sosp, v.unit_id(3)]) == [SpeechBegins(None)]
    assert units_of(reader.push([v.unit_id(2, 1), v.unit_id(4)])) == [[3, 2]]
    assert units_of(reader.push([v.unit_id(5, 1)])) == [[4, 5]]
    assert units_of(reader.push([v.unit_id(1, 1), v.unit_id(1), v.unit_id(1), v.unit_id(1, 1)])) == []  # out of turn
    assert units_of(reader.push([v.eosp, v.sosp, v.unit_id(0), v.unit_id(0, 1)])) == [[0, 0]]


def test_a_model_of_text_alone_is_read_too(tmp_path):
    form = SequenceFormat(small_tokenizer(tmp_path / "tokenizer"))
    reply = parse_reply(form, [*form.encoder.encode("Anna works."), *form.chat.end_of_turn_ids])
    assert (reply.question, reply.answer) == (None, "Anna works.")


def any_ids(form, draws: list[tuple[int, int]]) -> list[int]:
    """Markers, texts with the layout in them, units and anything else, in any order."""
    v, encode = form.vocabulary, form.encoder.encode
    texts = [encode(text) for text in (": Who is Anna?", "; ", " in this village,", "  ", "。在村子里", ";:;", "a")]
    ids: list[int] = []
    for kind, number in draws:
        if kind <= 1:
            ids.append(v.marker_ids[number % 4])
        elif kind == 2:
            ids += texts[number % len(texts)]
        elif kind == 3:
            ids.append(v.first_unit_id + number % v.num_units)
        else:
            ids.append(number % v.padded_size)
    return ids


DRAWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 10_000)), max_size=30)


@pytest.mark.parametrize("name", ["small", "two codebooks"])
@given(DRAWS, st.lists(st.integers(0, 60), max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_it_does_not_matter_how_the_ids_come(forms, name, draws, cuts):
    form = forms[name]
    ids = any_ids(form, draws)
    whole = ChainReader(form)
    expected = joined([*whole.push(ids), *whole.finish()])
    reader, events = ChainReader(form), []
    places = sorted({0, len(ids), *(cut for cut in cuts if cut < len(ids))})
    for start, stop in zip(places, [*places[1:], len(ids)], strict=True):
        events += reader.push(ids[start:stop])
    assert joined([*events, *reader.finish()]) == expected


def joined(events) -> list:
    """The events with the units of one speech together."""
    found: list = []
    for event in events:
        if not isinstance(event, UnitsRead):
            found.append(event)
        elif found and isinstance(found[-1], list):
            found[-1] += event.units.ids.tolist()
        else:
            found.append(event.units.ids.tolist())
    return found


@pytest.mark.parametrize("name", ["small", "two codebooks"])
@given(DRAWS)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=300)
def test_a_reply_is_what_reading_it_whole_gave(forms, name, draws):
    form = forms[name]
    ids = any_ids(form, draws)
    reply, expected = parse_reply(form, ids), read_whole(form, ids)
    assert (reply.question, reply.answer, reply.order) == (expected.question, expected.answer, expected.order)
    assert [text for text, _ in reply.segments] == [text for text, _ in expected.segments]
    for (_, read), (_, wanted) in zip(reply.segments, expected.segments, strict=True):
        assert np.array_equal(read.ids, wanted.ids) and read.ids.dtype == wanted.ids.dtype


def read_whole(form, ids) -> ParsedReply:
    """How replies of the three orders were read before there was a reader that goes along: all ids at once."""
    question, marked, text = None, False, None
    segments: list[tuple[str, Units]] = []
    for kind, run in runs(form, ids):
        if kind == "text":
            text = form.encoder.decode_continuation(run)
        elif kind == "speech":
            segments.append((text or "", Units(form.vocabulary.units_from_ids(np.array(run, dtype=np.int64)))))
            text = None
        elif kind == "question":
            question, text = "", None
        elif kind == "answer":
            if question is not None:
                question = strip_layout(text or "", end=";")
            marked, text = True, None
    if question is not None and not marked:
        question, text = strip_layout(text or "", end=";"), None
    if text is not None and text.strip():
        segments.append((text, Units(np.zeros((0, len(form.vocabulary.codebook_sizes)), dtype=np.int64))))
    if segments and marked:
        segments[0] = (strip_layout(segments[0][0]), segments[0][1])
    order = "no_question" if question is None else "full" if len(segments) <= 1 else "interleaved"
    answer = join_chunks([text for text, _ in segments])
    return ParsedReply(question, answer, [(text.strip(), units) for text, units in segments], order)


def runs(form, ids) -> list[tuple[str, list[int]]]:
    v = form.vocabulary
    markers = {v.question: "question", v.answer: "answer"}
    found: list[tuple[str, list[int]]] = []
    speaking = False
    for token_id in ids:
        if token_id in form.encoder.control_ids and token_id not in v.marker_ids:
            if not v.is_unit(token_id):
                break
            if speaking:
                found[-1][1].append(token_id)
        elif token_id == v.sosp:
            found.append(("speech", []))
            speaking = True
        elif token_id == v.eosp:
            speaking = False
        elif token_id in markers:
            found.append((markers[token_id], []))
            speaking = False
        elif found and found[-1][0] == "text":
            found[-1][1].append(token_id)
        else:
            found.append(("text", [token_id]))
            speaking = False
    return found


def strip_layout(text: str, end: str = "") -> str:
    stripped = text.strip().removeprefix(":").strip()
    return stripped.removesuffix(end).rstrip() if end else stripped
