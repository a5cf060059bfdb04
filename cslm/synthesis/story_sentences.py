"""Stories as sentences: a library that knows the languages, or plain rules."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from cslm.corpora.languages import language_tag
from cslm.errors import MissingExtraError, UserError
from cslm.sequences.word_groups import sentences


def _by_library(text: str, language: str) -> list[str]:
    """With sentencex (MIT; rules and abbreviations of some 300 languages)."""
    try:
        sentencex = importlib.import_module("sentencex")
    except ModuleNotFoundError:
        raise MissingExtraError("sentencex", "stories", "--splitter sentencex") from None
    return [str(part) for part in sentencex.segment(language.split("-")[0], text)]


def _by_punctuation(text: str, language: str) -> list[str]:
    """By the rules that chains are shortened by: punctuation that ends; abbreviations are not known."""
    return sentences(text)


def _by_line(text: str, language: str) -> list[str]:
    """A line is a sentence: of texts that are split already."""
    return text.splitlines()


SPLITTERS: dict[str, Callable[[str, str], list[str]]] = {
    "sentencex": _by_library,
    "punctuation": _by_punctuation,
    "lines": _by_line,
}
"""Name of a way to split to (text, language tag) -> pieces."""


def check_splitter(name: str) -> None:
    """Make sure that there is a splitter, and its package.

    Raises:
        UserError: there is none of that name, or its package is not installed.
    """
    if name not in SPLITTERS:
        raise UserError(f"--splitter is one of {', '.join(SPLITTERS)}, not {name!r}")
    SPLITTERS[name]("A.", "en")


def sentences_of(text: str, language: str, splitter: str) -> list[str]:
    """The sentences of a text, spaces in one form; a piece without letters goes to the sentence before it.

    Args:
        text: a story.
        language: BCP 47.
        splitter: a key of :data:`SPLITTERS`.
    """
    found: list[str] = []
    waiting = ""  # what stands before the first letter
    for piece in SPLITTERS[splitter](text, language_tag(language)):
        said = " ".join(piece.split())
        if any(letter.isalnum() for letter in said):
            found.append(f"{waiting} {said}".strip())
            waiting = ""
        elif said and found:
            found[-1] = f"{found[-1]} {said}"
        else:
            waiting = f"{waiting} {said}".strip()
    return found
