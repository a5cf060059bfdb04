"""What a chain says at every n; the golden files are what a reader checks by eye."""

from __future__ import annotations

import dataclasses
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.errors import UserError
from cslm.sequences.chain_of_modality import parse_reply
from cslm.sequences.chains import CHAINS
from cslm.sequences.compression import METHODS, Compression, CompressionConfig, check_compression
from cslm.sequences.tasks import TASKS, Draw, Example, Settings
from cslm.sequences.word_groups import sentences
from cslm.units.store import StoreRow
from tests.worlds.four_part_chain import four_part_format
from tests.worlds.small_village import some_units

DOCUMENT = {
    "question": "q",
    "question_language": "zh",
    "question_text": "你好。请告诉我安娜的职业是什么？",
    "core_language": "en",
    "core_question": "Hello. Please tell me, what is the job of Anna?",
    "core_answer": "Of course. In this village Anna works as a baker! Everybody likes to hear about it.",
    "answer_language": "zh",
    "answer_text": "在这个村子里安娜的职业是面包师。这里的人都喜欢听这件事。",
}
FIELDS = ("question_text", "core_question", "core_answer")
NUM_SENTENCES = 7
CHAIN = CHAINS["xs_cot"]
EVERY = {
    "semi_implicit": CompressionConfig(every=0.1, all_from=6, keep_groups=1),
    "last_first": CompressionConfig(every=0.1, direction="last", keep_groups=1, unspaced_group_size=3),
    "stepwise": CompressionConfig(every=0.1, all_from=9, method="stepwise", removed_groups=2, unspaced_group_size=4),
    "stepwise_last": CompressionConfig(every=0.1, method="stepwise", removed_groups=3, direction="last"),
}


def texts_at(config, n, seed=0, document=DOCUMENT):
    return Compression.of(config).shortened(CHAIN, document, n * config.every, seed)


def sequence_at(form, config, n, order="xs_cot", seed=0):
    example = Example(DOCUMENT, (StoreRow("q", "zh", DOCUMENT["question_text"], 1.0, some_units(6)),), 25.0)
    settings_ = Settings(order, compression=Compression.of(config))
    return TASKS["dialogue"].write(form, example, Draw(seed, n * config.every, settings_))


@pytest.fixture(scope="module")
def four(tmp_path_factory):
    return four_part_format(tmp_path_factory.mktemp("form") / "tokenizer")


@pytest.mark.parametrize("name", EVERY)
def test_golden(four, root, name):
    lines = []
    for n in range(11):
        sequence = sequence_at(four, EVERY[name], n)
        start = int(sequence.trained.argmax())
        lines.append(f"n {n:2}  {four.render(sequence.window(start, len(sequence)))}")
    path = root / "tests" / "golden" / "compression" / f"{name}.txt"
    if os.environ.get("CSLM_UPDATE_GOLDEN"):
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert "\n".join(lines) + "\n" == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("order", ["xs_cot", "xs_cot_labels"])
@pytest.mark.parametrize("name", EVERY)
def test_the_answer_is_never_shortened_and_everything_is_read_back(four, name, order):
    for n in range(11):
        sequence = sequence_at(four, EVERY[name], n, order)
        reply = parse_reply(four, sequence.ids[int(sequence.trained.argmax()) :], order)
        expected = {field: text for field, text in texts_at(EVERY[name], n).items() if text is not None}
        assert reply.answer == DOCUMENT["answer_text"] and reply.texts == expected


def shortened_sentences(texts) -> int:
    return sum(text.count("...") for text in texts.values())


def test_so_many_sentences_are_shortened_as_the_formula_says():
    """The paper's min(x, n) below m, and x from there on; its x counts short sentences too."""
    long = {**DOCUMENT, "question_text": "一二三四五。一二三四五。", "core_question": "One two three four five. " * 2,
            "core_answer": "One two three four five. " * 3}  # fmt: skip
    config = CompressionConfig(every=0.05, all_from=5)
    for n in range(20):
        expected = NUM_SENTENCES if n >= 5 else min(NUM_SENTENCES, n)
        assert shortened_sentences(texts_at(config, n, document=long)) == expected
    without_m = dataclasses.replace(config, all_from=None)
    counts = [shortened_sentences(texts_at(without_m, n, document=long)) for n in range(20)]
    assert counts == [min(NUM_SENTENCES, n) for n in range(20)]


def test_a_sentence_that_is_short_stays_as_it_is():
    config = CompressionConfig(every=0.1, all_from=1, keep_groups=2, group_size=2)
    texts = texts_at(config, 10)
    assert texts["core_question"] == "Hello. Please tell me, what..."
    assert texts["question_text"] == "你好。请告诉我..."
    assert texts_at(dataclasses.replace(config, keep_groups=0), 10)["core_question"] == "... ..."


def test_the_size_of_groups_without_spaces_is_a_key_of_its_own():
    config = CompressionConfig(all_from=1, keep_groups=1, group_size=3, unspaced_group_size=5)
    texts = texts_at(config, 10)
    assert texts["question_text"] == "你好。请告诉我安..." and texts["core_question"] == "Hello. Please tell me..."


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("direction", ["first", "last"])
@given(st.lists(st.text(alphabet="ab .?!,安。", max_size=40), min_size=3, max_size=3), st.integers(0, 12))
@settings(deadline=None, max_examples=60)
def test_a_chain_grows_no_longer_with_n_and_begins_whole(method, direction, texts, n):
    document = {**DOCUMENT, **dict(zip(FIELDS, texts, strict=True))}
    config = CompressionConfig(every=0.05, method=method, direction=direction)
    assert texts_at(config, 0, document=document) == dict(zip(FIELDS, texts, strict=True))

    def letters(n):
        said = texts_at(config, n, document=document)
        return {field: re.sub(r"\W", "", said[field] or "") for field in FIELDS}

    before, after = letters(n), letters(n + 1)
    assert all(len(after[field]) <= len(before[field]) for field in FIELDS)
    if method == "semi_implicit":  # every sentence keeps its head
        for field, text in zip(FIELDS, texts, strict=True):
            heads = [re.sub(r"\W", "", sentence)[:1] for sentence in sentences(text)]
            assert all(head in after[field] for head in heads)


def test_step_wise_nothing_is_left_in_the_end():
    config = CompressionConfig(every=0.01, method="stepwise", removed_groups=1, group_size=1)
    assert texts_at(config, 1)["question_text"] == "好。请告诉我安娜的职业是什么？"
    left = {"question_text": None, "core_question": None, "core_answer": "to hear about it."}
    assert texts_at(config, 14 + 10 + 12) == left
    assert set(texts_at(config, 100).values()) == {None}
    assert set(texts_at(dataclasses.replace(config, all_from=3), 3).values()) == {None}


def test_a_document_hangs_on_n_and_its_seed_alone():
    config = CompressionConfig(every=0.1, smoothing=0.5, full_share=0.3)
    again = [[texts_at(config, 3.0, seed), texts_at(config, 3.9, seed)] for seed in range(40)]
    assert all(one == other for one, other in again)
    assert len({str(one) for one, _ in again}) > 3


def test_smoothing_draws_offsets_whose_chances_fall_exponentially():
    config = CompressionConfig(every=0.01, smoothing=1.0, keep_groups=1)
    document = {**DOCUMENT, "question_text": "", "core_question": "One two three. " * 20, "core_answer": ""}
    offsets = [shortened_sentences(texts_at(config, 2, seed, document)) - 2 for seed in range(4000)]
    assert min(offsets) == 0
    shares = [offsets.count(o) / len(offsets) for o in range(4)]
    expected = [(1 - 0.3679) * 0.3679**o for o in range(4)]
    assert shares == pytest.approx(expected, abs=0.02)


def test_some_documents_keep_the_whole_chain():
    config = CompressionConfig(all_from=1, full_share=0.25)
    whole = [texts_at(config, 10, seed)["core_answer"] == DOCUMENT["core_answer"] for seed in range(2000)]
    assert sum(whole) / len(whole) == pytest.approx(0.25, abs=0.03)


def test_n_counts_units_up_to_those_of_the_training():
    """0.1 added ten times is less than 1, and floor(0.7 * 10) is 6."""
    compression = Compression.of(CompressionConfig(every=0.1, all_from=8))
    assert [compression.count(step * 0.1) for step in range(11)] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 8]
    assert compression.most == 10
    steps = Compression.of(CompressionConfig(unit="steps", every=100))
    assert dataclasses.replace(steps, num_units=2.5).count(0.5) == 1
    assert Compression.of(CompressionConfig(unit="epochs", every=1, all_from=4)).count(0.1) == 4  # not reckoned yet


def test_values_out_of_range_are_refused_by_name():
    for key, value, told in [
        ("unit", "hours", "compression.unit is 'hours': choose one of share, epochs, steps"),
        ("method", "explicit", "compression.method is 'explicit': choose one of semi_implicit, stepwise"),
        ("direction", "left", "compression.direction is 'left': choose one of first, last"),
        ("words", "tokens", "compression.words is 'tokens': choose one of words, characters, phrases"),
        ("every", 0.0, "compression.every is 0.0: it must be above 0"),
        ("all_from", 0, "compression.all_from is 0: it must be at least 1"),
        ("keep_groups", -1, "compression.keep_groups is -1: it must be at least 0"),
        ("smoothing", 0.0, "compression.smoothing is 0.0: it must be above 0"),
        ("full_share", 1.0, "compression.full_share is 1.0: it must be at least 0 and less than 1"),
        ("removed_groups", 3, "compression.removed_groups is given, which the method semi_implicit does not read"),
    ]:
        with pytest.raises(UserError, match=re.escape(told)):
            CompressionConfig(**{key: value})
    with pytest.raises(UserError, match="keep_groups is given, which the method stepwise does not read"):
        CompressionConfig(method="stepwise", keep_groups=3)


def test_a_chain_that_is_an_answer_alone_has_nothing_to_shorten():
    with pytest.raises(UserError, match="the order direct has nothing there"):
        check_compression(CompressionConfig(), CHAINS["direct"], "direct", ["en"])
    check_compression(CompressionConfig(), CHAINS["transcript_then_answer"], "transcript_then_answer", ["en"])
