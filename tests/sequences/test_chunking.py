from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cslm.errors import UserError
from cslm.sequences.chunking import chunk_text, count_words, join_chunks, speak_chunks
from tests.worlds.small_village import chinese_answer, english_answer, some_units, word_times


def test_english_is_cut_at_punctuation_after_seven_words():
    text = "Well, in this village Anna works as a baker, and everybody here likes to hear about it. Yes."
    assert chunk_text(text, "en") == [
        "Well, in this village Anna works as a baker,",
        " and everybody here likes to hear about it. Yes.",
    ]


def test_chinese_counts_characters():
    assert chunk_text("好的，在这个村子里安娜是老师，大家都喜欢听这件事。好。", "zh") == [
        "好的，在这个村子里安娜是老师，",
        "大家都喜欢听这件事。好。",
    ]


def test_numbers_and_quotes_are_not_torn():
    text = 'She said "it costs 3.50 or 1,000 a year in all," and then she went back home again.'
    assert chunk_text(text, "en") == [
        'She said "it costs 3.50 or 1,000 a year in all,"',
        " and then she went back home again.",
    ]


def test_words_are_counted_by_language():
    assert count_words("Anna works here", "en") == 3
    assert count_words("安娜住在 New York 3 楼。", "zh") == 8
    assert count_words("안녕 세상", "ko") == 2


@given(st.text(alphabet='ab 安娜,.，。!？"”', max_size=120), st.sampled_from(["en", "zh"]), st.integers(1, 9))
def test_chunks_are_the_text_and_long_enough(text, language, minimum):
    chunks = chunk_text(text, language, minimum)
    assert "".join(chunks) == text
    assert len(chunks) <= 1 or all(count_words(chunk, language) >= minimum for chunk in chunks)


@given(st.lists(st.text(alphabet="ab安，. ", min_size=1, max_size=8)))
def test_joined_chunks_keep_their_characters(chunks):
    assert join_chunks(chunks).replace(" ", "") == "".join(chunks).replace(" ", "")


def test_joining_puts_spaces_where_the_script_has_them():
    assert join_chunks(["In the garden,", "make a sign."]) == "In the garden, make a sign."
    assert join_chunks(["在花园里，", "做一个牌子。"]) == "在花园里，做一个牌子。"
    assert join_chunks(["In the garden,", " make a sign."]) == "In the garden, make a sign."


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("merged", [True, False])
def test_units_are_cut_in_the_middle_of_the_pause(language, merged):
    text = english_answer("Anna", "baker") if language == "en" else chinese_answer("安娜", "老师")
    units = some_units(120)
    if not merged:
        units = type(units)(np.repeat(units.ids, units.durations, axis=0))
    duration_sec = units.num_frames_total / 25
    words = word_times(text, language, duration_sec)
    chunks = chunk_text(text, language)
    spoken = speak_chunks(chunks, units, words, 25.0)
    assert [chunk for chunk, _ in spoken] == chunks
    assert sum(part.num_frames_total for _, part in spoken) == units.num_frames_total
    index = count_words(chunks[0], language)
    middle = (words[index - 1][2] + words[index][1]) / 2
    assert spoken[0][1].num_frames_total == round(middle * 25)
    assert (spoken[0][1].durations is not None) == merged


def test_places_that_the_word_times_do_not_show_are_not_cut():
    text = english_answer("Anna", "baker")
    units = some_units(60)
    chunks = chunk_text(text, "en")
    assert speak_chunks(chunks, units, None, 25.0) == [(text, units)]
    other = word_times("Something else is said here, which is not the text.", "en", 4.0)
    assert speak_chunks(chunks, units, other, 25.0) == [(text, units)]
    late = [(word, start + 100, end + 100) for word, start, end in word_times(text, "en", 4.0)]
    assert speak_chunks(chunks, units, late, 25.0) == [(text, units)]


def test_a_word_that_runs_over_a_cut_is_not_torn():
    units = some_units(60)
    words = [("one", 0.0, 1.0), ("two three", 1.0, 2.0), ("four", 2.0, 3.0)]
    spoken = speak_chunks(["one two,", " three,", " four"], units, words, 25.0)
    assert [chunk for chunk, _ in spoken] == ["one two, three,", " four"]


@pytest.mark.parametrize("said", ["zh_CN", "cmn", "zho", "zh-Hant-TW", "wuu", "nan", "hak", "yue"])
def test_an_answer_in_another_tag_of_chinese_was_one_chunk(said):
    text = "好的，在这个村子里安娜是老师，大家都喜欢听这件事。好。"
    assert chunk_text(text, said) == chunk_text(text, "zh") and len(chunk_text(text, said)) == 2


def test_words_of_no_language_are_not_counted():
    with pytest.raises(UserError, match="'chinese' is"):
        count_words("我们去", "chinese")
