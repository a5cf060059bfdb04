"""Sentences of a text, and groups of words of a sentence: what a chain of thought is shortened by (XS-CoT, stage 3).

The paper cuts at two levels, sentences and words, and does not say how. What it leaves open is decided so: a sentence
ends at ``.!?…`` before a space or the end, and at ``。！？`` anywhere; a full stop behind a single letter or a number
of one or two digits ends none (z. B., 3. Mai); what has no word joins the sentence before it. A word is what stands
between spaces, its punctuation left out; in languages that are written without spaces one character, a run of Latin
letters or digits counted as one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import Any

from cslm.corpora.languages import is_unspaced, language_tag
from cslm.errors import MissingExtraError, UserError
from cslm.sequences.chunking import CLOSERS, UNSPACED_WORD

_SENTENCE_END = re.compile(rf"[.!?…]+[{CLOSERS}]*(?=\s|$)|[。！？｡]+[{CLOSERS}]*")
_NO_END = re.compile(r"(?:(?:^|[^\w.])\d{1,2}|(?:^|\W)[^\W\d_])\.$")
_LETTER = re.compile(r"[^\W_]")
_WORD = re.compile(r"\S*[^\W_]\S*")
_PARSERS = {
    "ja": "load_default_japanese_parser",
    "th": "load_default_thai_parser",
    "zh": "load_default_simplified_chinese_parser",
    "zh-Hant": "load_default_traditional_chinese_parser",
    "zh-HK": "load_default_traditional_chinese_parser",
    "zh-TW": "load_default_traditional_chinese_parser",
    "yue": "load_default_traditional_chinese_parser",
}


def sentences(text: str) -> list[str]:
    """The sentences of a text; joined, they are the text again. One after the first keeps the space before it."""
    ends = [0]
    for match in _SENTENCE_END.finditer(text):
        at_end = not text[match.end() :].strip()
        if at_end or not _NO_END.search(text[max(0, match.start() - 3) : match.end()]):
            ends.append(match.end())
    found: list[str] = []
    for start, stop in pairwise([*ends, len(text)]):
        if found and not _has_word(text[start:stop]):
            found[-1] += text[start:stop]
        elif start < stop:
            found.append(text[start:stop])
    if len(found) > 1 and not _has_word(found[0]):
        found[:2] = ["".join(found[:2])]
    return found


def word_ends(text: str, language: str, by: str) -> list[int]:
    """The place behind each word of a text, in order.

    Args:
        by: a name of :data:`WORDS`.
    """
    return WORDS[by](text, language)


def check_words(by: str, languages: Collection[str]) -> None:
    """Make sure that the words of these languages can be told.

    Raises:
        UserError: no such way, or a language that it does not know.
        MissingExtraError: the library that does it is not there.
    """
    if by not in WORDS:
        raise UserError(f"words are {by!r}: choose one of {', '.join(WORDS)}")
    if by == "phrases":
        for language in languages:
            if is_unspaced(language):
                _phrase_parser(language)


def _between_spaces_or_characters(text: str, language: str) -> list[int]:
    if is_unspaced(language):
        return [match.end() for match in UNSPACED_WORD.finditer(text)]
    return [_without_punctuation(text, match.start(), match.end()) for match in _WORD.finditer(text)]


def _characters(text: str, language: str) -> list[int]:
    """Behind each letter or digit, the marks that it carries included."""
    ends: list[int] = []
    for place, character in enumerate(text):
        if character.isalnum():
            ends.append(place + 1)
        elif ends and ends[-1] == place and unicodedata.category(character)[0] == "M":
            ends[-1] = place + 1
    return ends


def _phrases(text: str, language: str) -> list[int]:
    """Behind each phrase that BudouX finds where no spaces are written; words elsewhere."""
    if not is_unspaced(language):
        return _between_spaces_or_characters(text, language)
    ends: list[int] = []
    place = 0
    for phrase in _phrase_parser(language).parse(text):
        if _has_word(phrase):
            ends.append(_without_punctuation(text, place, place + len(phrase)))
        place += len(phrase)
    return ends


WORDS: dict[str, Callable[[str, str], list[int]]] = {
    "words": _between_spaces_or_characters,
    "characters": _characters,
    "phrases": _phrases,
}
"""How the words of a text in a language are told: name to what finds the place behind each."""


@cache
def _phrase_parser(language: str) -> Any:
    """BudouX for a language that is written without spaces.

    Raises:
        UserError: one that it does not know.
        MissingExtraError: it is not there.
    """
    tag = language_tag(language)
    loader = _PARSERS.get(tag) or _PARSERS.get(tag.split("-")[0])
    if loader is None:
        raise UserError(
            f"words are phrases, which are known in Japanese, Chinese and Thai, not in {language}: choose words"
        )
    try:
        budoux = import_module("budoux")
    except ImportError as error:
        raise MissingExtraError("budoux", "phrases", "cutting Japanese, Chinese and Thai into phrases") from error
    return getattr(budoux, loader)()


def _has_word(text: str) -> bool:
    return _LETTER.search(text) is not None


def _without_punctuation(text: str, start: int, stop: int) -> int:
    """The end of the word that stands in ``[start, stop)``."""
    while stop > start and not text[stop - 1].isalnum() and unicodedata.category(text[stop - 1])[0] in "PZC":
        stop -= 1
    return stop
