"""Texts that are told to be in another language than they should be, among those that are mixed up with it."""

from __future__ import annotations

from collections.abc import Sequence

from cslm.corpora.languages import language_tag
from cslm.evaluation.text_language import open_identifier, tell_language

_NEIGHBOURS = ("de", "en", "es", "fr", "it", "ja", "ko", "nl", "pt", "ru", "zh")
"""What the texts of data sets are in where they are not in the language that was asked for."""


class OtherLanguage:
    """Knows a text of another language where it can be told; what cannot be told is taken for what it should be."""

    def __init__(self, languages: Sequence[str]) -> None:
        """Open the identifier.

        Args:
            languages: those that texts should be in; others that are common are looked for too.

        Raises:
            MissingExtraError: its package is missing.
        """
        self._identifier = open_identifier("py3langid", "the identifier of languages")
        wanted = dict.fromkeys([*map(language_tag, languages), *_NEIGHBOURS])
        self._languages = [language for language in wanted if self._identifier.knows(language)]

    def find(self, text: str, language: str) -> str | None:
        """The other language that a text is in; None where it may be in ``language``."""
        tag = language_tag(language)
        if tag not in self._languages:
            return None
        found = tell_language(text, self._languages, self._identifier)
        return None if found is None or found.split("-")[0] == tag.split("-")[0] else found
