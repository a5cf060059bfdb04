"""Aligned stories of several sentences with a topic: planned once, told sentence by sentence in every language."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cslm.errors import UserError
from cslm.village.language import Plot
from cslm.village.sentences import Teller
from cslm.village.size import VillageSize

Key = tuple[str, int, int, int]
"""Topic, plot, first person and value of a story."""

_MOST_TRIES = 1000


@dataclass(frozen=True)
class Story:
    """What happens to whom, to be told in any language."""

    number: int
    topic: str
    plot: int
    people: tuple[int, int]
    thing: tuple[str, int]
    """The attribute that the plot is about, and its value."""
    middles: tuple[int, ...]
    ending: int
    speaker: int
    """Which of the voices tells it."""

    @property
    def name(self) -> str:
        """The document that its sentences belong to."""
        return f"story-{self.number:06d}"

    @property
    def key(self) -> Key:
        """Who does what: what is held out is in no story of training."""
        return (self.topic, self.plot, self.people[0], self.thing[1])

    def sentences(self, teller: Teller) -> list[str]:
        """The story in the words of one language."""
        plot = teller.language.tales[self.topic][self.plot]
        templates = [plot.opening, *(plot.middles[index] for index in self.middles), plot.endings[self.ending]]
        attribute, value = self.thing
        words = {
            "name1": teller.names[self.people[0]],
            "name2": teller.names[self.people[1]],
            attribute: teller.language.attributes[attribute].values[value],
        }
        return [teller.language.finish([teller.language.tell(text, **words)], ["sentence"]) for text in templates]


def draw_stories(
    tellers: list[Teller], size: VillageSize, generator: np.random.Generator
) -> tuple[list[Story], list[Story]]:
    """Stories of training, and held-out ones; no two are the same.

    Args:
        tellers: every language's.
        size: how many, and of how many sentences.
        generator: decides everything.

    Raises:
        UserError: no topic is told in all languages, or there are too few people and things for so many stories.
    """
    topics = list(tellers[0].language.tales)
    if not topics:
        raise UserError("the languages of this size tell no stories of the same topics; give each the same `tales`")
    draw = _StoryDraw(tellers, topics, size, generator)
    held_out = [draw.story(number, frozenset()) for number in range(size.num_held_out_stories)]
    keys = frozenset(story.key for story in held_out)
    last = size.num_held_out_stories + size.num_training_stories
    return [draw.story(number, keys) for number in range(size.num_held_out_stories, last)], held_out


class _StoryDraw:
    """Draws stories that are new, and join nothing that training must not hear."""

    def __init__(
        self, tellers: list[Teller], topics: list[str], size: VillageSize, generator: np.random.Generator
    ) -> None:
        self._tellers, self._topics, self._size, self._generator = tellers, topics, size, generator
        self._seen: set[tuple[str, ...]] = set()

    def story(self, number: int, held_out: frozenset[Key]) -> Story:
        """A story whose key is not held out, topics and speakers in turn."""
        for _ in range(_MOST_TRIES):
            story = self._any_story(number)
            told = tuple(story.sentences(self._tellers[0]))
            if story.key not in held_out and told not in self._seen and not self._says_too_much(story):
                self._seen.add(told)
                return story
        raise UserError(f"the village has too few people, values and plots for {number + 1} stories; ask for fewer")

    def _any_story(self, number: int) -> Story:
        topic = self._topics[number % len(self._topics)]
        plots = self._tellers[0].language.tales[topic]
        index = self._any(len(plots))
        plot, attribute = plots[index], thing_of(plots[index])
        length = int(self._generator.integers(self._size.shortest_story, self._size.longest_story + 1))
        people = self._generator.permutation(self._tellers[0].world.num_people)[:2].tolist()
        middles = self._generator.permutation(len(plot.middles))[: length - 2].tolist()
        value = self._any(len(self._tellers[0].language.attributes[attribute].values))
        return Story(
            number,
            topic,
            index,
            (people[0], people[1]),
            (attribute, value),
            tuple(sorted(middles)),
            self._any(len(plot.endings)),
            self._any(self._size.num_story_voices),
        )

    def _says_too_much(self, story: Story) -> bool:
        return any(teller.may_not_say(sentence) for teller in self._tellers for sentence in story.sentences(teller))

    def _any(self, count: int) -> int:
        return int(self._generator.integers(count))


def thing_of(plot: Plot) -> str:
    """The one attribute that a plot is about."""
    (attribute,) = plot.kinds - {"name"}
    return attribute
