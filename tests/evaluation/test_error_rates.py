"""Error rates against cases counted by hand."""

from __future__ import annotations

import jiwer
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import BasicTextNormalizer

from cslm.evaluation.error_rates import normalize, rate_name, rate_scores, text_errors, unit_errors


@pytest.mark.parametrize(
    ("text", "language", "expected"),
    [
        ("Anna works as a Baker, here.", "en", "anna works as a baker here"),
        ("It’s 'fine' -- isn't it?", "en", "it's fine isn't it"),
        ("安娜，是 面包师。", "zh", "安娜是面包师"),
        ("ＡＢＣ１２３！", "zh-Hans", "abc123"),
        ("...", "en", ""),
    ],
)
def test_text_is_compared_by_what_can_be_heard(text: str, language: str, expected: str) -> None:
    assert normalize(text, language) == expected


ALIKE = [
    ("en", "Hello, World!", "hello world"), ("en", "it’s Anna's dog", "It's Anna's dog."),
    ("en", "the 'old' house", "the old house"), ("en", "well-known", "well known"),
    ("en", "twenty-two dogs", "22 dogs"), ("en", "the colour", "the color"), ("en", "Mr. Smith", "mister smith"),
    ("fr", "L’été, c’est beau !", "l'été c'est beau"), ("fr", "« Bonjour », dit-elle.", "bonjour dit elle"),
    ("fr", "aujourd’hui", "aujourd'hui"),
    ("de", "Die Straße ist groß.", "die straße ist groß"), ("de", "„Guten Tag“, sagte er.", "guten tag sagte er"),
    ("de", "E-Mail", "e mail"), ("de", "Wie geht’s?", "wie geht's"),
    ("zh", "你好，世界！", "你好世界"), ("zh", "安娜 是 面包师。", "安娜是面包师"), ("zh", "ＡＢＣ公司", "abc公司"),
    ("zh", "《红楼梦》", "红楼梦"),
    ("ja", "パン屋です。", "ﾊﾟﾝ屋です"), ("ja", "アンナは、パン屋です！", "アンナはパン屋です"),
    ("ja", "か\u3099っこう", "がっこう"), ("ja", "「はい」と言った", "はいと言った"),
]  # fmt: skip
"""Language and two texts that sound alike."""
UNLIKE = [
    ("en", "He won't come.", "He will not come."), ("en", "uh, hello", "hello"),
    ("en", "Anna (the baker) sings", "Anna sings"), ("en", "It's late", "its late"),
    ("fr", "Où est-il ?", "ou est il"), ("fr", "J'ai (presque) fini", "J'ai fini"), ("fr", "pêcher", "pécher"),
    ("de", "schön", "schon"), ("zh", "他（昨天）来了", "他来了"), ("ja", "カード", "カド"), ("ja", "はし", "ばし"),
]  # fmt: skip
"""Two that do not, or that are written so differently that one of them is wrong."""


def test_no_library_tells_as_well_what_sounds_alike() -> None:
    by_jiwer = jiwer.Compose(
        [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.RemoveMultipleSpaces(), jiwer.Strip()]
    )
    by_whisper = BasicTextNormalizer()
    ways = {
        "ours": normalize,
        "jiwer": lambda text, language: by_jiwer(text),
        "whisper": lambda text, language: by_whisper(text).strip(),
    }
    right = {
        name: sum(way(one, language) == way(other, language) for language, one, other in ALIKE)
        + sum(way(one, language) != way(other, language) for language, one, other in UNLIKE)
        for name, way in ways.items()
    }
    assert right == {"ours": 30, "jiwer": 22, "whisper": 24} and len(ALIKE) + len(UNLIKE) == 33


def test_words_and_characters_are_counted_over_the_whole_set() -> None:
    counts = text_errors(["one two three four", "five"], ["one too three", "five six"], "en")
    assert counts.errors.tolist() == [2, 1] and counts.lengths.tolist() == [4, 1]
    assert counts.rate == pytest.approx(3 / 5)
    counts = text_errors(["安娜是面包师。"], ["安娜是教师"], "zh")
    assert (counts.errors.tolist(), counts.lengths.tolist(), rate_name("zh")) == ([2], [6], "cer")


def test_an_empty_reference_counts_what_was_added() -> None:
    counts = text_errors(["", "a"], ["b c", ""], "en")
    assert counts.errors.tolist() == [2, 1] and counts.lengths.tolist() == [0, 1]


def test_units_are_compared_as_sequences_of_numbers() -> None:
    counts = unit_errors([[1, 12, 3], []], [[1, 2, 3, 4], [5]])
    assert counts.errors.tolist() == [2, 1] and counts.lengths.tolist() == [3, 0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_unit_errors_are_the_edit_distance(first: list[int], second: list[int]) -> None:
    assert unit_errors([first], [second]).errors[0] == edit_distance(first, second)


def edit_distance(first: list[int], second: list[int]) -> int:
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        above, row = row, [i]
        for j, b in enumerate(second, start=1):
            row.append(min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a != b)))
    return row[-1]


def test_the_interval_holds_the_rate_and_narrows_with_more_items() -> None:
    few = text_errors(["a b c d"] * 8, ["a b c d"] * 6 + ["a b c x"] * 2, "en")
    many = text_errors(["a b c d"] * 400, ["a b c d"] * 300 + ["a b c x"] * 100, "en")
    scores = [rate_scores(counts, "wer", np.random.default_rng(0)) for counts in (few, many)]
    widths = [score["wer_interval"][1] - score["wer_interval"][0] for score in scores]
    assert scores[0]["wer_interval"][0] <= scores[0]["wer"] <= scores[0]["wer_interval"][1]
    assert widths[1] < widths[0] and [score["n"] for score in scores] == [8, 400]


@pytest.mark.parametrize("said", ["zh_CN", "cmn", "zho", "wuu", "nan", "ja-JP"])
def test_the_error_rate_of_other_tags_was_a_word_error_rate_of_1(said: str) -> None:
    assert rate_name(said) == "cer"
    assert text_errors(["我们去学校。"], ["我们去学。"], said).rate == pytest.approx(1 / 5)
