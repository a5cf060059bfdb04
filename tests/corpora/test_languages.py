"""One form of a language tag."""

from __future__ import annotations

import pytest

from cslm.corpora.languages import is_unspaced, language_tag
from cslm.errors import UserError


@pytest.mark.parametrize(
    ("said", "tag"),
    [
        ("en", "en"),
        ("zh_CN", "zh"),
        ("zh-CN", "zh"),
        ("cmn", "zh"),
        ("zho", "zh"),
        ("chi", "zh"),
        ("cmn-Hans-CN", "zh"),
        ("zh-Hans", "zh"),
        ("zh-TW", "zh-TW"),
        ("zh-Hant", "zh-Hant"),
        ("zh-yue", "yue"),
        ("wuu", "wuu"),
        ("nan", "nan"),
        ("EN", "en"),
        ("eng", "en"),
        ("en_us", "en"),
        ("en-gb", "en-GB"),
        ("fre", "fr"),
        ("pt-BR", "pt"),
        ("pt-pt", "pt-PT"),
        ("iw", "he"),
        ("sr-latn", "sr-Latn"),
        ("es-419", "es-419"),
        ("qaa", "qaa"),
        ("de-1996", "de-1996"),
    ],
)
def test_one_language_has_one_tag(said, tag):
    assert language_tag(said) == tag
    assert language_tag(tag) == tag


@pytest.mark.parametrize("said", ["english", "", " ", "12", "xx", "e", "en_US.UTF-8", "en fr", "zh\ud83d"])
def test_what_is_no_language_is_refused(said):
    with pytest.raises(UserError, match="BCP 47 is wanted"):
        language_tag(said)


def test_languages_without_spaces():
    spaced = {
        said: not is_unspaced(said) for said in ("zh_CN", "cmn", "zho", "wuu", "nan", "yue", "ja", "en", "ko", "vi")
    }
    assert {said for said, is_spaced in spaced.items() if is_spaced} == {"en", "ko", "vi"}
