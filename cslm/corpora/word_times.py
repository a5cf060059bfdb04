"""Where words stand in a text, and when they are said."""

from __future__ import annotations

from collections.abc import Sequence

Word = tuple[str, float, float]
"""A word with the seconds from the start of the utterance where it begins and ends."""


def word_starts(text: str, words: Sequence[Word]) -> list[int] | None:
    """Where each word starts in the text, compared by letters and digits only; None where the two do not agree."""
    places = [index for index, character in enumerate(text) if character.isalnum()]
    letters = "".join([text[place] for place in places])
    spoken = [_letters(word) for word, _, _ in words]
    said = "".join(spoken)
    if len(said) != len(letters) or (said != letters and said.casefold() != letters.casefold()):
        return None
    starts: list[int] = []
    read = 0
    for word in spoken:
        starts.append(places[min(read, len(places) - 1)] if places else 0)
        read += len(word)
    return starts


def _letters(word: str) -> str:
    return word if word.isalnum() else "".join([character for character in word if character.isalnum()])
