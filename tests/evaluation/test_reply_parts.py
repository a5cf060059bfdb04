"""Replies in a chain of four parts, whole and broken: what is there is read, each token has one owner."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cslm.evaluation.reply_parts import MARKERS, read_parts
from cslm.sequences.chain_of_modality import parse_reply
from cslm.sequences.chains import CHAINS, Chain, Segment
from cslm.sequences.sequence_format import SequenceFormat
from tests.worlds.four_part_chain import IN_WORDS, MARKED, four_part_format

QUESTION, TRANSLATION = "安娜的职业是什么？", "What is the job of Anna?"
THOUGHT, ANSWER = "Anna is a teacher.", "安娜是老师。"
FIELDS = ("question_text", "question_text_en", "answer_text_en", "answer_text")
SAID = dict(zip(FIELDS, (QUESTION, TRANSLATION, THOUGHT, ANSWER), strict=True))
WRITTEN = Chain(tuple(Segment(s.side, s.language, "text", s.marker, s.before, s.after) for s in MARKED.segments))
"""The answer in it is text alone."""


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> SequenceFormat:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(CHAINS, "four_parts", MARKED)
        return four_part_format(tmp_path_factory.mktemp("four") / "tokenizer")


def ids_of(form: SequenceFormat, *parts: str | int) -> list[int]:
    """Markers by their surface, texts as they are written behind one, units by their number."""
    markers = form.vocabulary.markers
    ids: list[int] = []
    for part in parts:
        if isinstance(part, int):
            ids.append(form.vocabulary.unit_id(part))
        elif part in markers:
            ids.append(markers[part])
        elif part == "<|end|>":
            ids += form.chat.end_of_turn_ids
        else:
            ids += form.encoder.encode(part)
    return ids


REPLY = ("[question]", f": {QUESTION}; ", "[translation]", f": {TRANSLATION}; ", "[thought]", f": {THOUGHT}; ",
         "[answer]", f": {ANSWER}", "<|end|>")  # fmt: skip


def spelt(form: SequenceFormat, ids: list[int], owners: tuple[str, ...], owner: str) -> str:
    """What the tokens of one owner spell."""
    return form.encoder.decode_continuation(
        [i for i, whose in zip(ids, owners, strict=False) if whose == owner]
    ).strip()


def test_every_token_before_the_answer_has_its_part(four: SequenceFormat) -> None:
    ids = ids_of(four, *REPLY)
    parts = read_parts(four, WRITTEN, ids)
    assert parts.texts == SAID and parts.answer == ANSWER and not parts.missing and not parts.doubled
    for name, text in SAID.items():
        assert spelt(four, ids, parts.owners, name) == text
    answer = ids.index(four.vocabulary.answer)
    layout = len(four.encoder.encode(":"))
    assert (
        parts.token_delay == answer + 1 + layout
    )  # the marker and its colon come before the first token of the answer
    assert parts.delay_by_part is not None and sum(parts.delay_by_part.values()) == parts.token_delay
    assert list(parts.delay_by_part) == [*FIELDS[:-1], MARKERS]
    assert all(parts.delay_by_part[name] == parts.owners.count(name) for name in FIELDS[:-1])


def test_words_in_the_place_of_markers_are_layout(four: SequenceFormat) -> None:
    text = f"Heard: {QUESTION}\nIn English: {TRANSLATION}\nThought: {THOUGHT}\nAnswer: {ANSWER}"
    ids = ids_of(four, text, "<|end|>")
    parts = read_parts(four, IN_WORDS, ids)
    assert parts.texts == SAID and not parts.missing
    for name, said in SAID.items():
        assert spelt(four, ids, parts.owners, name) == said
    assert spelt(four, ids, parts.owners, MARKERS).split() == [
        "Heard:",
        "In",
        "English:",
        "Thought:",
        "Answer:",
        "<|end|>",
    ]


@pytest.mark.parametrize("left_out", range(4))
def test_a_part_that_is_missing_takes_nothing_from_the_others(four: SequenceFormat, left_out: int) -> None:
    reply = [*REPLY[: 2 * left_out], *REPLY[2 * left_out + 2 :]]
    parts = read_parts(four, WRITTEN, ids_of(four, *reply))
    assert parts.missing == (FIELDS[left_out],)
    assert parts.texts == {**SAID, FIELDS[left_out]: ""}
    assert (parts.token_delay is None) == (left_out == 3)


@pytest.mark.parametrize("empty", range(4))
def test_a_part_that_says_nothing_is_missing(four: SequenceFormat, empty: int) -> None:
    reply = [": ; " if place == 2 * empty + 1 else part for place, part in enumerate(REPLY)]
    parts = read_parts(four, WRITTEN, ids_of(four, *reply))
    if empty == 3:  # of the answer the semicolon is no layout
        assert parts.answer == ";" and not parts.missing
    else:
        assert parts.missing == (FIELDS[empty],) and parts.answer == ANSWER


@pytest.mark.parametrize("twice", range(4))
def test_a_part_that_comes_twice_says_both(four: SequenceFormat, twice: int) -> None:
    again = [REPLY[2 * twice], ": once more" if twice == 3 else ": once more; "]
    reply = [*REPLY[: 2 * twice + 2], *again, *REPLY[2 * twice + 2 :]]
    parts = read_parts(four, WRITTEN, ids_of(four, *reply))
    assert parts.doubled == (FIELDS[twice],) and not parts.missing
    assert {**parts.texts, FIELDS[twice]: ""} == {**SAID, FIELDS[twice]: ""}
    assert SAID[FIELDS[twice]] in parts.texts[FIELDS[twice]] and "once more" in parts.texts[FIELDS[twice]]


def test_parts_out_of_order_are_read_where_they_stand(four: SequenceFormat) -> None:
    pairs = [REPLY[place : place + 2] for place in (6, 4, 0, 2)]
    ids = ids_of(four, *(part for pair in pairs for part in pair), "<|end|>")
    parts = read_parts(four, WRITTEN, ids)
    assert parts.texts == SAID
    assert parts.token_delay == 1 + len(four.encoder.encode(":"))
    assert parts.delay_by_part == {**dict.fromkeys(FIELDS[:-1], 0), MARKERS: parts.token_delay}


def test_a_reply_without_any_marker_is_its_answer_and_has_no_delay(four: SequenceFormat) -> None:
    parts = read_parts(four, WRITTEN, ids_of(four, ANSWER, "<|end|>"))
    assert (parts.answer, parts.token_delay, parts.missing) == (ANSWER, None, FIELDS)
    cut_short = read_parts(four, WRITTEN, ids_of(four, *REPLY[:6]))
    assert (cut_short.answer, cut_short.token_delay) == ("", None)  # a thought is no answer


def test_nothing_is_all_missing(four: SequenceFormat) -> None:
    parts = read_parts(four, WRITTEN, [])
    assert parts.missing == FIELDS and parts.owners == () and parts.delay_by_part is None and parts.answer == ""


def test_an_answer_alone_comes_without_delay(four: SequenceFormat) -> None:
    direct = Chain((Segment("answer", "answer", "text"),))
    parts = read_parts(four, direct, ids_of(four, ANSWER, "<|end|>"))
    assert (parts.answer, parts.token_delay, parts.delay_by_part) == (ANSWER, 0, {MARKERS: 0})


def test_a_spoken_answer_begins_with_its_first_word_or_unit(four: SequenceFormat) -> None:
    begun = ids_of(four, *REPLY[:7])
    words = [*begun, *ids_of(four, f": {ANSWER}", "<sosp>", 3, 4, "<eosp>", "<|end|>")]
    parts = read_parts(four, MARKED, words)
    assert parts.token_delay == len(begun) + len(four.encoder.encode(":")) and not parts.missing
    assert parts.owners[-4:] == ("answer_text", "answer_text", MARKERS, MARKERS)  # two units, <eosp>, the end
    silent = [*begun, *ids_of(four, "<sosp>", 3, 4, "<eosp>", "<|end|>")]
    assert read_parts(four, MARKED, silent).token_delay == len(begun) + 1


def test_whole_replies_say_what_the_reader_of_replies_says(
    four: SequenceFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CHAINS, "written", WRITTEN)
    ids = ids_of(four, *REPLY)
    for stop in range(len(ids) + 1):
        reply, parts = parse_reply(four, ids[:stop], "written"), read_parts(four, WRITTEN, ids[:stop])
        begun = [name for name in FIELDS[:-1] if parts.num_begun[name]]
        assert {name: parts.texts[name] for name in begun} == reply.texts
        assert parts.answer == reply.answer


def pieces(form: SequenceFormat) -> list[list[int]]:
    texts = (": 安娜", "; ", "Answer:", " Thought: no", "In English:", "é。", "  ", "Heard: ", "...")
    specials = ("[question]", "[translation]", "[thought]", "[answer]", "<sosp>", "<eosp>", 3, 5)
    return [ids_of(form, one) for one in (*texts, *specials)]


@pytest.mark.parametrize("chain", [WRITTEN, MARKED, IN_WORDS, CHAINS["interleaved"], CHAINS["no_question"]])
@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, 3)), max_size=25))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
def test_any_ids_can_be_read_and_every_token_has_one_owner(
    four: SequenceFormat, chain: Chain, draws: list[tuple[int, int]]
) -> None:
    known = pieces(four)
    ids = [token_id for number, cut in draws for token_id in known[number][: 4 - cut]]
    parts = read_parts(four, chain, ids)
    assert len(parts.owners) == len(ids) and set(parts.owners) <= {*parts.fields, MARKERS}
    assert all(bool(text) <= (name in parts.owners) for name, text in parts.texts.items())
    delay = parts.token_delay
    if delay is not None:
        assert sum((parts.delay_by_part or {}).values()) == delay
        assert parts.owners[delay] == parts.fields[-1] not in parts.owners[:delay]
    assert read_parts(four, chain, [*ids, *four.chat.end_of_turn_ids]).texts == parts.texts
