"""Translations that are none: as good as untranslated, in another language, or much longer or shorter."""

from __future__ import annotations

import functools
import unicodedata
from dataclasses import dataclass

import langcodes

from cslm.corpora.languages import language_tag
from cslm.evaluation.text_language import SURE, LanguageIdentifier, open_identifier
from cslm.generation.scripts import LANGUAGE_SCRIPTS, script_share
from cslm.ranges import Range, check_numbers

_WORDS_OF_A_NAME = 2  # as many may stay as they are


@dataclass
class TranslationFilters:
    """What is kept of translations. Null leaves a filter out."""

    most_times_longer: float | None = 2.5
    """A translation may have so many times the letters of its text, and a text those of its translation; a wide letter
    (Chinese, kana, Hangul) counts twice."""
    spare_letters: int = 20
    """So many letters more are allowed all the same: short sentences vary much."""
    most_in_other_scripts: float | None = 0.5
    """Share of the letters that may stand in another script than the language's."""
    identify: bool = False
    """Whether the language of a translation is identified too (extra langid): the text's own, rather than the one that
    is wanted, is a failure. For the languages of one script; short sentences err."""
    identify_from_letters: int = 20
    """Shorter translations are not identified."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name.
        """
        least = Range(least=0)
        check_numbers(self, "filters", most_times_longer=Range(least=1), most_in_other_scripts=Range(0, 1))
        check_numbers(self, "filters", spare_letters=least, identify_from_letters=least)


def fault_of(translation: str, text: str, source: str, target: str, filters: TranslationFilters) -> str | None:
    """Why a translation is none, or None.

    Raises:
        MissingExtraError: the package that identifies languages is not installed.
    """
    there, here = num_letters(translation), num_letters(text)
    if not there:
        return "its translation has no letters"
    most = filters.most_times_longer
    if most is not None and max(there - most * here, here - most * there) > filters.spare_letters:
        return f"its translation has {there} letters, the text {here}"
    if _alike(translation, text):
        return "its translation is the text itself"
    if filters.most_in_other_scripts is not None and _script_is_known(target):
        inside = script_share(translation, target)
        if 1 - inside > filters.most_in_other_scripts:
            return f"its translation is written in another script than that of {target}"
    if filters.identify and there >= filters.identify_from_letters and _is_rather(translation, source, target):
        return f"its translation into {target} seems to be {source}"
    return None


def num_letters(text: str) -> int:
    """Letters and digits of a text; wide ones count twice."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text if letter.isalnum())


def _alike(translation: str, text: str) -> bool:
    words = ["".join(filter(str.isalnum, word)).casefold() for word in text.split()]
    others = ["".join(filter(str.isalnum, word)).casefold() for word in translation.split()]
    return words == others and len(words) > _WORDS_OF_A_NAME


def _script_is_known(language: str) -> bool:
    tag = language_tag(language)
    return tag.split("-")[0] in LANGUAGE_SCRIPTS or langcodes.Language.get(tag).maximize().script == "Latn"


def _is_rather(text: str, source: str, target: str) -> bool:
    """Whether a text is surely in ``source`` rather than in ``target``, as far as the identifier knows both."""
    identifier = _identifier()
    if not (identifier.knows(source) and identifier.knows(target)):
        return False
    return identifier.probabilities(text, [source, target])[0] >= SURE


@functools.cache
def _identifier() -> LanguageIdentifier:
    return open_identifier("py3langid", "filters.identify")
