"""Sentences of stories: nothing of a text is lost, whichever way it is split."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.errors import UserError
from cslm.synthesis.story_sentences import check_splitter, sentences_of

TALE = 'Mr. Lee saw  a dog.\n"Hello!" said Tom. The dog ran...\n\n*** They slept.'


def test_plain_rules():
    assert sentences_of(TALE, "en", "punctuation") == [
        "Mr.",
        "Lee saw a dog.",
        '"Hello!"',
        "said Tom.",
        "The dog ran...",
        "*** They slept.",
    ]


def test_the_library_knows_abbreviations():
    pytest.importorskip("sentencex", reason="the extra stories is not installed")
    assert sentences_of(TALE, "en", "sentencex") == [
        "Mr. Lee saw a dog.",
        '"Hello!" said Tom.',
        "The dog ran...",
        "*** They slept.",
    ]
    assert sentences_of("犬がいた。「やあ！」", "ja", "sentencex") == ["犬がいた。", "「やあ！」"]


def test_languages_without_spaces():
    assert sentences_of("有一天，小明看见一只狗。狗跑了！「真的？」他说。", "zh", "punctuation") == [
        "有一天，小明看见一只狗。",
        "狗跑了！",
        "「真的？」",
        "他说。",
    ]


def test_lines_are_sentences():
    assert sentences_of("Mr. Lee. He ran.\n\n  The end \n", "en", "lines") == ["Mr. Lee. He ran.", "The end"]


def test_pieces_without_letters_go_to_their_neighbours():
    assert sentences_of("...\nTom ran.\n!!!\n", "en", "lines") == ["... Tom ran. !!!"]
    assert sentences_of("?!", "en", "lines") == []


@given(st.text(st.sampled_from("ab .!?\"'”。「」…\n")))
@settings(max_examples=200, deadline=None)
def test_nothing_is_lost(text):
    for splitter in ("punctuation", "lines"):
        sentences = sentences_of(text, "en", splitter)
        said = "".join("".join(sentence.split()) for sentence in sentences)
        whole = "".join(text.split())
        assert said == (whole if any(letter.isalnum() for letter in whole) else "")
        assert all(any(letter.isalnum() for letter in sentence) for sentence in sentences)


def test_a_splitter_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="--splitter is one of sentencex, punctuation, lines, not 'words'"):
        check_splitter("words")
