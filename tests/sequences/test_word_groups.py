from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.errors import MissingExtraError, UserError
from cslm.sequences import word_groups
from cslm.sequences.word_groups import WORDS, check_words, sentences, word_ends

SENTENCES = [
    (["Who is Anna?", " She is a baker.", " She bakes!"], "spaces stay before the next one"),
    (["我叫安娜。", "你是谁？", "她说：“好。”", "再见"], "no space is needed"),
    (["Pi is 3.14 and e is 2.71.", " In 1990.", " Good."], "inside of a number there is no end"),
    (["Am 3. Mai kam z. B. Anna aus den U.S. Sie blieb."], "nor behind an ordinal or a single letter"),
    (['"Stop!"', " he said."], "what closes a quotation belongs to its sentence"),
    (["Wait...", " what? !!"], "what has no word joins the sentence before"),
    (["... and so on.", " Yes."], "or the one behind it, at the beginning"),
    (["no end"], "none at all"),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "why"), SENTENCES, ids=[why for _, why in SENTENCES])
def test_a_text_falls_into_sentences(expected, why):
    assert sentences("".join(expected)) == expected


@given(st.text(alphabet="aB1 .!?。？…\"'\n安"))
@settings(deadline=None)
def test_sentences_joined_are_the_text(text):
    found = sentences(text)
    assert "".join(found) == text
    assert len(found) <= 1 or all(any(c.isalnum() for c in sentence) for sentence in found)


def words_of(text, language, by="words"):
    ends = word_ends(text, language, by)
    return [text[start:stop] for start, stop in zip([0, *ends], ends, strict=False)]


def test_a_word_stands_between_spaces_and_leaves_its_punctuation():
    assert words_of("Yes, l'homme -- said: well-known!", "fr") == ["Yes", ", l'homme", " -- said", ": well-known"]
    assert words_of("नमस्ते दुनिया।", "hi") == ["नमस्ते", " दुनिया"]  # signs of vowels are no letters
    assert words_of("...", "en") == []


def test_without_spaces_a_word_is_a_character():
    assert words_of("我有USB盘。", "zh") == ["我", "有", "USB", "盘"]
    assert words_of("ab, é", "en", "characters") == ["a", "b", ", é"]


@pytest.mark.parametrize("by", ["words", "characters"])
@given(st.text(), st.sampled_from(["en", "ja"]))
@settings(deadline=None)
def test_words_end_one_behind_the_other(by, text, language):
    ends = word_ends(text, language, by)
    assert ends == sorted(set(ends)) and (not ends or (ends[0] > 0 and ends[-1] <= len(text)))


def test_phrases_of_a_library():
    pytest.importorskip("budoux")
    found = words_of("今日は天気がとても良いです。", "ja", "phrases")
    assert "".join(found) == "今日は天気がとても良いです" and 2 <= len(found) <= 6
    assert words_of("今天是晴天。", "zh-TW", "phrases") and words_of("Yes, I do.", "en", "phrases")[:2] == [
        "Yes",
        ", I",
    ]


def test_a_library_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "budoux", None)
    word_groups._phrase_parser.cache_clear()
    with pytest.raises(MissingExtraError, match=r"needs the package budoux: pip install 'cslm\[phrases\]'"):
        check_words("phrases", ["de", "ja"])
    word_groups._phrase_parser.cache_clear()
    check_words("phrases", ["de", "en"])  # nothing of it is needed


def test_ways_and_languages_that_are_not_known_are_refused():
    with pytest.raises(UserError, match=f"words are 'morphemes': choose one of {', '.join(WORDS)}"):
        check_words("morphemes", ["en"])
    with pytest.raises(UserError, match="known in Japanese, Chinese and Thai, not in km: choose words"):
        check_words("phrases", ["km"])
