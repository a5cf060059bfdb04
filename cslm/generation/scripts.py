"""Which script a text is written in: enough to tell English from Chinese, not English from French."""

from __future__ import annotations

import unicodedata

from cslm.corpora.languages import language_tag

LANGUAGE_SCRIPTS = {
    "zh": ("CJK",),
    "yue": ("CJK",),
    "wuu": ("CJK",),
    "nan": ("CJK",),
    "hak": ("CJK",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA"),
    "ko": ("HANGUL",),
    "ru": ("CYRILLIC",),
    "uk": ("CYRILLIC",),
    "ar": ("ARABIC",),
    "hi": ("DEVANAGARI",),
    "th": ("THAI",),
}
"""The scripts a language is written in, as Unicode character names begin; a language that is not listed is Latin."""


def script_share(text: str, language: str) -> float:
    """The share of the letters of a text that are in the script of the language; 0.0 for a text without letters."""
    scripts = LANGUAGE_SCRIPTS.get(language_tag(language).split("-")[0], ("LATIN",))
    letters = [c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c).startswith("L")]
    inside = sum(unicodedata.name(letter, "").startswith(scripts) for letter in letters)
    return inside / len(letters) if letters else 0.0
