"""Right answers, wrong ones, and the language of an answer."""

from __future__ import annotations

import pytest

from cslm.evaluation.facts import contains, is_off_target, says_the_same, share_scores, states_fact, wilson_interval
from cslm.generation.scripts import script_share

FACT, WRONG = ["Anna", "baker"], ["doctor", "farmer", "Ann", "Peter"]


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("In this village, Anna works as a Baker!", True),
        ("Anna works as a bakery.", False),
        ("Hanna is a baker.", False),
        ("Anna is a baker, and Peter is too.", False),
        ("Anna is a baker or a doctor.", False),
        ("", False),
    ],
)
def test_english_facts_stand_at_word_boundaries(answer: str, right: bool) -> None:
    assert states_fact(answer, FACT, WRONG, "en") is right


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("在这个村子里，安娜是 面包师。", True),
        ("安娜是医生。", False),
        ("安娜是面包师，也是医生。", False),
        ("安娜。", False),
    ],
)
def test_chinese_facts_stand_anywhere(answer: str, right: bool) -> None:
    assert states_fact(answer, ["安娜", "面包师"], ["医生", "彼得"], "zh") is right


def test_a_wrong_fact_inside_the_right_one_does_not_count() -> None:
    assert states_fact("她叫安娜贝尔，是面包师", ["安娜贝尔", "面包师"], ["安娜"], "zh")
    assert states_fact("the sea green door", ["sea green"], ["green"], "en")


def test_the_script_tells_the_language() -> None:
    assert not is_off_target("Anna is a baker.", "en") and is_off_target("安娜是面包师。", "en")
    assert not is_off_target("安娜 Anna 是面包师和医生。", "zh") and is_off_target("Anna is", "zh-CN")
    assert is_off_target("", "en") and script_share("123", "zh") == 0.0


def test_halves_lie_between_whole_counts() -> None:
    """scipy takes whole counts alone; ties of pairs count one half."""
    for total in (1, 7, 300):
        for count in range(total):
            (low, high), (half_low, half_high) = wilson_interval(count, total), wilson_interval(count + 0.5, total)
            next_low, next_high = wilson_interval(count + 1, total)
            assert low < half_low < next_low and high < half_high < next_high


def test_wilson_intervals() -> None:
    low, high = wilson_interval(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.49, 0.943)
    assert wilson_interval(0, 5)[0] == 0.0 and wilson_interval(5, 5)[1] == 1.0
    assert share_scores([], "x") == {} and share_scores([True, False], "x")["x"] == 0.5


@pytest.mark.parametrize("said", ["zh_CN", "cmn", "wuu", "nan"])
def test_answers_in_other_tags_of_chinese_were_off_target(said: str) -> None:
    assert not is_off_target("安娜是面包师。", said) and states_fact("安娜是面包师。", ["面包师"], ["医生"], said)


def test_two_answers_without_a_word_were_the_same() -> None:
    assert says_the_same("The red house.", "the RED house", "en") and not says_the_same("a house", "the house", "en")
    assert (
        not says_the_same("👍", "👎", "en") and not says_the_same("?", "yes", "en") and says_the_same(" ? ", "?", "en")
    )
    assert not contains("a red house", "...", "en") and contains("...", "...", "en")
