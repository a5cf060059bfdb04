"""In which language an answer is, where its text tells it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cslm.errors import UserError
from cslm.evaluation.text_language import OTHER, SURE, open_identifier, tell_language


def test_a_library_alone_takes_a_language_that_is_none_of_those_for_one_of_them() -> None:
    pytest.importorskip("py3langid", reason="the extra langid is not installed")
    identifier, korean = open_identifier("py3langid", "here"), "안나는 이 마을의 빵집 주인입니다."
    assert identifier.probabilities(korean, ["en", "zh"])[1] > SURE
    assert tell_language(korean, ["en", "zh"], identifier) == OTHER


LANGUAGES = ["en", "fr", "de", "ja", "zh"]


class Torn:
    """Knows English and French, and thinks that every text is as likely either."""

    def knows(self, language: str) -> bool:
        return language in ("en", "fr")

    def probabilities(self, text: str, languages: Sequence[str]) -> list[float]:
        return [1 / len(languages)] * len(languages)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Anna arbeitet als Bäckerin in diesem Dorf.", "de"),
        ("Anna travaille comme boulangère dans ce village.", "fr"),
        ("Anna works as a baker in this village.", "en"),
        ("アンナは村でパン屋をしています。", "ja"),
        ("安娜在这个村子里当面包师。", "zh"),
        ("Анна работает пекарем.", OTHER),
        ("Paris.", None),
        ("42", None),
        ("", None),
    ],
)
def test_the_library_tells_whole_sentences_and_owns_up_to_the_rest(text: str, language: str | None) -> None:
    pytest.importorskip("py3langid")
    assert tell_language(text, LANGUAGES, open_identifier("py3langid", "identify_by")) == language


def test_script_is_enough_where_one_language_has_it() -> None:
    assert tell_language("安娜是老师。", ["en", "fr", "zh"], Torn()) == "zh"
    assert tell_language("Anna", ["en", "zh"], Torn()) == "en"


def test_a_language_is_not_told_where_the_identifier_is_torn_or_does_not_know_one() -> None:
    assert tell_language("Anna est boulangère.", ["en", "fr"], Torn()) is None
    assert tell_language("Anna est boulangère.", ["en", "fr", "sw"], Torn()) is None


def test_an_identifier_that_nobody_knows_is_refused() -> None:
    with pytest.raises(UserError, match="identify_by is 'guess': choose one of py3langid"):
        open_identifier("guess", "identify_by")
