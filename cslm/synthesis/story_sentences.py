"""Stories as sentences: a library that knows the languages, or plain rules."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

from cslm.corpora.languages import language_tag
from cslm.errors import MissingExtraError, UserError

_END = re.compile(r"""(?<=[.!?…])["'”’»)\]]*\s+|(?<=[。！？])[」』”’）]*""")


def _by_library(text: str, language: str) -> list[str]:
    """With sentencex (MIT; rules and abbreviations of some 300 languages)."""
    try:
        sentencex = importlib.import_module("sentencex")
    except ModuleNotFoundError:
        raise MissingExtraError("sentencex", "stories", "--splitter sentencex") from None
    return [str(part) for part in sentencex.segment(language.split("-")[0], text)]


def _by_punctuation(text: str, language: str) -> list[str]:
    """Behind full stops, question and exclamation marks, with the quotes that close; abbreviations are not known."""
    edges = [match.end() for match in _END.finditer(text)]
    return [text[start:stop] for start, stop in zip([0, *edges], [*edges, len(text)], strict=True)]


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
    sentences: list[str] = []
    waiting = ""  # what stands before the first letter
    for piece in SPLITTERS[splitter](text, language_tag(language)):
        said = " ".join(piece.split())
        if any(letter.isalnum() for letter in said):
            sentences.append(f"{waiting} {said}".strip())
            waiting = ""
        elif said and sentences:
            sentences[-1] = f"{sentences[-1]} {said}"
        else:
            waiting = f"{waiting} {said}".strip()
    return sentences
