"""What is told of a reply, id by id, joins to what the whole reply says, for every chain."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from cslm.generation.events import AnswerText, AnswerUnits, QuestionText
from cslm.generation.reply_scribe import ReplyScribe
from cslm.sequences.chain_of_modality import dialogue, parse_reply
from cslm.sequences.chains import CHAINS
from cslm.sequences.sequence_format import SequenceFormat
from cslm.sequences.vocabulary import extend_tokenizer
from tests.worlds.four_part_chain import four_part_format
from tests.worlds.small_village import byte_level_tokenizer, some_units

FURTHER = {"core_language": "en", "core_question": "Who; or what: is she?", "core_answer": "A baker; Anna.\nAns"}
ANSWERS = {
    "en": ["Anna; works: in this village,", " as a baker.\n", "An answer; "],
    "zh": ["安娜在这个村子里，", "当面包师。"],
}


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    tokenizer = byte_level_tokenizer(["<|end|>"], None, "<|end|>", None)
    extend_tokenizer(tokenizer, [32], ["[translation]", "[thought]"])
    return {
        "small": four_part_format(tmp_path_factory.mktemp("scribe") / "tokenizer"),
        "bytes": SequenceFormat(tokenizer),
    }


def reply_ids(form, order: str, language: str) -> list[int]:
    chain, texts = CHAINS[order], ANSWERS[language]
    texts = texts if chain.chunked else ["".join(texts)]
    chunks = [(text, some_units(4 + place, place) if chain.speaks else None) for place, text in enumerate(texts)]
    sequence = dialogue(form, some_units(3), "Who is; Anna?", "en", chunks, language, order, FURTHER)
    return sequence.ids[sequence.trained].tolist()


def told(form, order: str, ids: list[int], at_a_time: int = 1):
    scribe, events = ReplyScribe(form, CHAINS[order]), []
    for start in range(0, len(ids), at_a_time):
        events += scribe.push(ids[start : start + at_a_time], float(start))
    return [*events, *scribe.finish(float(len(ids)))]


@pytest.mark.parametrize("language", ANSWERS)
@pytest.mark.parametrize("order", CHAINS)
@pytest.mark.parametrize("name", ["small", "bytes"])
def test_what_is_told_joins_to_the_reply(forms, name, order, language):
    form = forms[name]
    whole = reply_ids(form, order, language)
    for ids in (whole, whole[:-1], whole[: len(whole) // 2], whole[:3]):
        reply = parse_reply(form, ids, order)
        for at_a_time in (1, 3, 1000):
            texts, chunks, units = defaultdict(str), defaultdict(str), defaultdict(list)
            for event in told(form, order, ids, at_a_time):
                if isinstance(event, QuestionText):
                    texts[event.field] += event.text
                elif isinstance(event, AnswerText):
                    chunks[event.chunk] += event.text
                else:
                    units[event.chunk] += event.units.ids[:, 0].tolist()
            assert dict(texts) == {field: text for field, text in reply.texts.items() if text}
            assert "".join(chunks.values()) == reply.answer
            assert [chunks[place].strip() for place in range(len(reply.segments))] == [t for t, _ in reply.segments]
            assert [units[place] for place in range(len(reply.segments))] == [
                spoken.ids[:, 0].tolist() for _, spoken in reply.segments
            ]


@pytest.mark.parametrize("order", CHAINS)
def test_it_is_told_in_the_order_of_the_chain_and_at_once(forms, order):
    form = forms["small"]
    ids = reply_ids(form, order, "en")
    events = told(form, order, ids)
    places = [
        (-1, list(CHAINS[order].fields).index(event.field), 0)
        if isinstance(event, QuestionText)
        else (event.chunk, 0, int(isinstance(event, AnswerUnits)))
        for event in events
    ]
    assert places == sorted(places)
    assert [event.num_ids for event in events] == sorted(event.num_ids for event in events)
    num_units = sum(form.vocabulary.is_unit(token_id) for token_id in ids)
    assert sum(isinstance(event, AnswerUnits) for event in events) == num_units  # one a step
    assert sum(isinstance(event, AnswerText) for event in events) > 8


def test_units_of_several_codebooks_come_by_whole_frames():
    tokenizer = byte_level_tokenizer(["<|end|>"], None, "<|end|>", None)
    extend_tokenizer(tokenizer, (16, 8))
    form = SequenceFormat(tokenizer)
    v = form.vocabulary
    ids = [v.answer, *form.encoder.encode(": hello"), v.sosp, *(v.unit_id(i, i % 2) for i in range(6)), v.eosp]
    spoken = [event.units.ids for event in told(form, "no_question", ids) if isinstance(event, AnswerUnits)]
    assert np.concatenate(spoken).tolist() == [[0, 1], [2, 3], [4, 5]] and len(spoken) == 3
