"""Where words stand in a text."""

from __future__ import annotations

from cslm.corpora.word_times import word_starts


def test_words_are_found_by_letters_alone():
    assert word_starts('"Don\'t!" she said.', [("dont", 0, 1), ("She", 1, 2), ("said", 2, 3)]) == [1, 9, 13]
    assert word_starts("one two", [("one", 0, 1)]) is None
    assert word_starts("one", [("one", 0, 1), ("two", 1, 2)]) is None
    assert word_starts("", []) == []
