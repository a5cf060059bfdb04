"""In which language a text is, among a few: told where it can be told, by script and by a library's model."""

from __future__ import annotations

import importlib
import unicodedata
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from cslm.corpora.languages import language_tag
from cslm.errors import MissingExtraError, UserError
from cslm.generation.scripts import script_share

SURE = 0.9
"""A language is told from this probability on."""
OTHER = "other"
"""A language that is none of those that were asked about."""

# Name -> "module:Class" of a LanguageIdentifier. Imported only when used.
LANGUAGE_IDENTIFIERS = {
    "py3langid": "cslm.evaluation.text_language:Py3LangId",
}


class LanguageIdentifier(Protocol):
    """Gives each of a few languages its probability."""

    def knows(self, language: str) -> bool:
        """Whether it can tell a language (BCP 47) from others."""

    def probabilities(self, text: str, languages: Sequence[str]) -> list[float]:
        """The probability of each of these languages, which it knows; together they are 1."""


class Py3LangId:
    """The library ``py3langid``: naive Bayes on bytes, its model in its wheel."""

    def __init__(self) -> None:
        """Open the model.

        Raises:
            MissingExtraError: py3langid is not installed.
        """
        try:
            from py3langid import langid
        except ImportError:
            raise MissingExtraError("py3langid", "langid", "telling languages by their text") from None
        self._model: Any = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
        self._known = frozenset(self._model.labels)

    def knows(self, language: str) -> bool:
        """Whether its model has the language, regions apart."""
        return _primary(language) in self._known

    def probabilities(self, text: str, languages: Sequence[str]) -> list[float]:
        """The probability of each language; regions of one language share theirs alike."""
        names = [_primary(language) for language in languages]
        self._model.set_languages(sorted(set(names)))
        found = dict(self._model.rank(text))
        return [float(found[name]) / names.count(name) for name in names]


def open_identifier(name: str, where: str) -> LanguageIdentifier:
    """A language identifier by its name.

    Args:
        where: the setting that names it, for messages.

    Raises:
        UserError: there is none of that name; MissingExtraError: its package is missing.
    """
    if name not in LANGUAGE_IDENTIFIERS:
        raise UserError(f"{where} is {name!r}: choose one of {', '.join(LANGUAGE_IDENTIFIERS)}")
    module, _, attribute = LANGUAGE_IDENTIFIERS[name].partition(":")
    found: LanguageIdentifier = getattr(importlib.import_module(module), attribute)()
    return found


def tell_language(text: str, languages: Collection[str], identifier: LanguageIdentifier) -> str | None:
    """The language of a text among ``languages``; None where it cannot be told: too short, or torn between two.

    Languages in whose script most of the text is not are out; where one is left, or the identifier is sure, it is told.
    Letters that are in the script of none are :data:`OTHER`. Scripts come first, for a library has to choose one of the
    languages that it is asked about: py3langid is sure that Korean is Chinese, where English is the other choice. On
    25 short sentences in en, fr, de, zh and ja both ways say the same.

    Args:
        languages: by their tags, each once; those that the identifier does not know are told by script alone.
    """
    in_script = [language for language in languages if script_share(text, language) > 0.5]
    if len(in_script) <= 1:
        has_letters = any(unicodedata.category(character).startswith("L") for character in text)
        return in_script[0] if in_script else OTHER if has_letters else None
    if not all(identifier.knows(language) for language in in_script):
        return None
    found = identifier.probabilities(text, in_script)
    best = max(range(len(in_script)), key=lambda place: found[place])
    return in_script[best] if found[best] >= SURE else None


def _primary(language: str) -> str:
    return language_tag(language).split("-")[0]
