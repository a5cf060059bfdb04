"""Pairs of endings for tests: a story's own against a wrong one, from every language of the beginning to every one.

``cloze``: the wrong ending that its authors wrote (sStoryCloze); ``topic``: the ending of another story (sTopicCloze).
A record has the form of the village's ``story_pairs.jsonl``, which ``cslm score`` reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from cslm.batches.order import name_seed
from cslm.corpora.manifest import Utterance
from cslm.errors import UserError
from cslm.village.story_records import pair_record

STORY_PAIRS = "story_pairs.jsonl"
_MOST_TRIES = 200

ByLanguage = dict[str, Utterance]


@dataclass(frozen=True)
class SpokenStory:
    """A story of which pairs are made."""

    name: str
    beginning: dict[str, list[Utterance]]
    """Its sentences but the last one, in order, by language."""
    ending: ByLanguage
    """Its last sentence."""
    wrong_ending: ByLanguage | None = None
    """A wrong one of its own."""

    @property
    def voices(self) -> tuple[str | None, ...]:
        """Who says its ending, in each language: only endings of the same voices are compared."""
        return tuple(self.ending[language].speaker for language in sorted(self.ending))


def story_pairs(
    stories: Sequence[SpokenStory], kinds: Sequence[str], num_wrong_endings: int, seed: int, source: str
) -> Iterator[dict[str, Any]]:
    """The pairs of each kind, from each language to each, in the order of the stories.

    Args:
        stories: all in the same languages.
        kinds: some of ``PAIR_KINDS``; ``cloze`` for stories with a wrong ending of their own.
        num_wrong_endings: wrong endings of each story of the kind ``topic``; where fewer are found, that is said.
        seed: draws them, the same in all directions.
        source: where the stories come from, for messages.

    Raises:
        UserError: not one pair of a kind can be made.
    """
    wrong: dict[tuple[str, str], list[ByLanguage]] = {}
    for kind in kinds:
        found = _own_endings(stories) if kind == "cloze" else _others_endings(stories, num_wrong_endings, seed)
        wrong |= {(kind, name): endings for name, endings in found.items()}
        _say_missing(kind, found, num_wrong_endings if kind == "topic" else 1, source)
    languages = list(stories[0].ending)
    for kind, begins, ends in product(kinds, languages, languages):
        pairs = [(story, ending) for story in stories for ending in wrong[kind, story.name]]
        for number, (story, ending) in enumerate(pairs):
            prefix = [utterance.id for utterance in story.beginning[begins]]
            endings = story.ending[ends].id, ending[ends].id
            yield pair_record(kind, begins, ends, number, story.name, prefix, endings)


def _own_endings(stories: Sequence[SpokenStory]) -> dict[str, list[ByLanguage]]:
    return {story.name: [story.wrong_ending] if story.wrong_ending is not None else [] for story in stories}


def _others_endings(stories: Sequence[SpokenStory], count: int, seed: int) -> dict[str, list[ByLanguage]]:
    """Endings of other stories in the same voices, all of other texts than the right one and than each other."""
    by_voices: dict[tuple[str | None, ...], list[SpokenStory]] = {}
    for story in stories:
        by_voices.setdefault(story.voices, []).append(story)
    return {story.name: _drawn(story, by_voices[story.voices], count, seed) for story in stories}


def _drawn(story: SpokenStory, others: Sequence[SpokenStory], count: int, seed: int) -> list[ByLanguage]:
    generator = np.random.default_rng(name_seed(seed, f"wrong endings of {story.name}"))
    seen = {utterance.text for utterance in story.ending.values()}
    chosen: list[ByLanguage] = []
    if len(others) <= _MOST_TRIES:
        order = generator.permutation(len(others)).tolist()
    else:
        order = generator.integers(len(others), size=_MOST_TRIES).tolist()
    for index in order:
        texts = {utterance.text for utterance in others[index].ending.values()}
        if len(chosen) < count and others[index].name != story.name and seen.isdisjoint(texts):
            chosen.append(others[index].ending)
            seen |= texts
    return chosen


def _say_missing(kind: str, found: dict[str, list[ByLanguage]], count: int, source: str) -> None:
    missing = [count - len(endings) for endings in found.values() if len(endings) < count]
    if sum(missing) == count * len(found):
        reason = "no other in the same voices ends otherwise" if kind == "topic" else "no story has a wrong ending"
        raise UserError(f"{source}: not one pair of the kind {kind} can be made of {len(found)} stories: {reason}")
    if missing:
        told = f"{len(missing)} of {len(found)} stories have fewer than {count} wrong endings of the kind {kind}"
        print(f"{source}: {told}; {sum(missing)} pairs a direction are missing")
