"""The lists of several languages side by side: entry i says the same in each, and a seed may draw which are used."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from cslm.errors import UserError
from cslm.village.language import SLOT, Attribute, Language, Plot, kinds_of_slots
from cslm.village.size import VillageSize

_PATTERNS = ("patterns", "short_patterns", "question_patterns")
_LISTS = ("question_forms", *_PATTERNS)


def side_by_side(languages: list[Language], size: VillageSize, generator: np.random.Generator) -> list[Language]:
    """The languages with the names, values and tales of this village, every list as long in each.

    A language that says less than the others shortens what all say; that is printed.

    Args:
        languages: as they were read; each has enough names.
        size: how many names and values there are, and whether the seed draws them.
        generator: draws them.

    Raises:
        UserError: a language has too few values or says something else than the others, or none of what all say fits
            the attributes of the village.
    """
    num_names = min(len(language.names) for language in languages)
    people = _chosen(num_names, size.num_people, size.draw_words, generator)
    values = {name: _values(name, languages, size, generator) for name in size.attributes}
    with_words = [_with_words(language, people, values) for language in languages]
    _check_slots(languages)
    lengths = {what: _shortest(what, [getattr(one, what) for one in languages], languages) for what in _LISTS}
    topics = _topics(with_words, size)
    _check_some_fit(with_words[0], lengths, size)
    return [
        dataclasses.replace(
            language,
            tales={topic: language.tales[topic] for topic in topics},
            **{what: getattr(language, what)[:length] for what, length in lengths.items()},
        )
        for language in with_words
    ]


def _check_slots(languages: list[Language]) -> None:
    """Sentence i of one language has the names and values of sentence i of the others."""
    first, *others = languages
    for other in others:
        for what in _PATTERNS:
            for ours, theirs in zip(getattr(first, what), getattr(other, what), strict=False):
                if _slots(ours.text) != _slots(theirs.text):
                    found = f"{what} of {other.language}: {theirs.text!r} has other slots than {ours.text!r}"
                    raise UserError(f"{found} of {first.language}; sentence i must say the same thing in all languages")


def _check_some_fit(language: Language, lengths: dict[str, int], size: VillageSize) -> None:
    known = {"name", "value", "phrase", *size.attributes}
    for what in _PATTERNS:
        patterns = getattr(language, what)[: lengths[what]]
        if not any(kinds_of_slots(pattern.text) <= known for pattern in patterns):
            raise UserError(
                f"none of the {what} that all languages have fits the attributes {', '.join(size.attributes)}"
            )


def _slots(text: str) -> set[str]:
    return {match["slot"] for match in SLOT.finditer(text)}


def _chosen(count: int, needed: int, drawn: bool, generator: np.random.Generator) -> list[int]:
    return generator.permutation(count)[:needed].tolist() if drawn else list(range(needed))


def _values(name: str, languages: list[Language], size: VillageSize, generator: np.random.Generator) -> list[int]:
    wordings = {language.language: len(language.attributes[name].facts) for language in languages}
    if len(set(wordings.values())) > 1:
        raise UserError(
            f"facts of {name} have {wordings} wordings; give as many in each, wording i says the same in all"
        )
    found = _shortest(f"values of {name}", [language.attributes[name].values for language in languages], languages)
    if found < size.num_values:
        raise UserError(f"num_values is {size.num_values}, but a language has {found} values of {name}; add some to it")
    return _chosen(found, size.num_values or found, size.draw_words, generator)


def _shortest(what: str, lists: list[list[Any]], languages: list[Language]) -> int:
    """The length of the shortest list; where they differ, what is left out is printed."""
    lengths = [len(entries) for entries in lists]
    shortest = min(lengths)
    if shortest < max(lengths):
        code = languages[lengths.index(shortest)].language
        print(f"village: {code} has {shortest} {what}, another language {max(lengths)}; all use the first {shortest}")
    return shortest


def _with_words(language: Language, people: list[int], values: dict[str, list[int]]) -> Language:
    attributes = {name: _with_values(language.attributes[name], chosen) for name, chosen in values.items()}
    names = [language.names[person] for person in people]
    return dataclasses.replace(language, names=names, attributes=language.attributes | attributes)


def _with_values(attribute: Attribute, chosen: list[int]) -> Attribute:
    values, genders = ([entries[i] for i in chosen if entries] for entries in (attribute.values, attribute.genders))
    return dataclasses.replace(attribute, values=values, genders=genders)


def _topics(languages: list[Language], size: VillageSize) -> list[str]:
    """Topics that all languages tell in the same plots, of attributes that the village has."""
    first, *others = languages
    topics = []
    for topic, plots in first.tales.items():
        shapes = [_shape(plot) for plot in plots]
        if not all(kinds <= {"name", *size.attributes} for *_, kinds in shapes):
            continue
        if all([_shape(plot) for plot in other.tales.get(topic, [])] == shapes for other in others):
            topics.append(topic)
        elif size.num_training_stories or size.num_held_out_stories:
            print(f"village: not all languages tell the same plots of {topic}; no story is about it")
    return topics


def _shape(plot: Plot) -> tuple[int, int, frozenset[str]]:
    return len(plot.middles), len(plot.endings), frozenset(plot.kinds)
