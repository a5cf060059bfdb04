"""Who has what in the village, and which of it is never heard."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from cslm.village.language import Language
from cslm.village.size import VillageSize

Pair = tuple[int, int]
"""(person, attribute), both as indices."""


@dataclass(frozen=True)
class World:
    """The facts, the same in all languages."""

    attributes: tuple[str, ...]
    facts: np.ndarray
    """``(num_people, num_attributes)``: index of the value."""
    held_out: frozenset[Pair]
    """Pairs that are known from text only: never heard in training."""
    num_core_people: int = 0
    """So many of the people, the last ones, are core people: their facts are told in one language's text only."""
    num_core_test_people: int = 0
    """So many of the core people, the last ones, are asked about in tests only."""

    @property
    def num_people(self) -> int:
        """How many people live there."""
        return int(self.facts.shape[0])

    @property
    def pairs(self) -> list[Pair]:
        """All (person, attribute) pairs."""
        return [(person, attribute) for person in range(self.num_people) for attribute in range(len(self.attributes))]

    @property
    def num_shared_people(self) -> int:
        """How many people's facts are told in all languages: the first ones."""
        return self.num_people - self.num_core_people

    @property
    def heard_pairs(self) -> list[Pair]:
        """The pairs of shared people that are not held out."""
        return [pair for pair in self.pairs if pair not in self.held_out and pair[0] < self.num_shared_people]

    def core_pairs(self, tested: bool) -> list[Pair]:
        """The pairs of core people: of those that are asked about in tests only, or of the others."""
        first_tested = self.num_people - self.num_core_test_people
        return [
            pair for pair in self.pairs if pair[0] >= self.num_shared_people and (pair[0] >= first_tested) == tested
        ]

    def value(self, language: Language, pair: Pair) -> str:
        """The word for a pair's value."""
        return language.attributes[self.attributes[pair[1]]].values[int(self.facts[pair])]


def make_world(size: VillageSize, num_values: list[int], generator: np.random.Generator) -> World:
    """Draw the facts, every value of an attribute about equally often, and the pairs that are held out.

    Args:
        size: how many people and which attributes.
        num_values: values of each attribute.
        generator: decides everything.
    """
    columns = []
    for count in num_values:
        repeated = np.tile(generator.permutation(count), math.ceil(size.num_people / count))[: size.num_people]
        columns.append(generator.permutation(repeated))
    facts = np.stack(columns, axis=1)
    shared = (size.num_people - size.num_core_people, len(size.attributes))
    num_held_out = math.ceil(size.held_out_fraction * shared[0] * shared[1] - 1e-9)
    held_out = frozenset(_hold_out(shared, num_held_out, generator))
    return World(tuple(size.attributes), facts, held_out, size.num_core_people, size.num_core_test_people)


def _hold_out(shape: tuple[int, ...], count: int, generator: np.random.Generator) -> set[Pair]:
    """Draw pairs so that people and attributes are held out about equally often."""
    people, attributes = np.zeros(shape[0], dtype=int), np.zeros(shape[1], dtype=int)
    chosen: set[Pair] = set()
    for _ in range(count):
        noise = generator.random(shape)
        cost = people[:, None] * shape[1] + attributes[None, :] * shape[0] / shape[1] + noise
        for pair in chosen:
            cost[pair] = np.inf
        person, attribute = np.unravel_index(int(np.argmin(cost)), shape)
        people[person] += 1
        attributes[attribute] += 1
        chosen.add((int(person), int(attribute)))
    return chosen


class Mentions:
    """Reads off a text which people and attributes it joins, from its words alone."""

    def __init__(self, language: Language, world: World) -> None:
        self._world = world
        self._people = {language.names[person].lower(): person for person in range(world.num_people)}
        self._attributes: dict[str, int] = {}
        for index, name in enumerate(world.attributes):
            table = language.attributes[name]
            self._attributes.update(dict.fromkeys((word.lower() for word in table.values + table.signs), index))
        self._core_facts = {
            person: {world.value(language, (person, index)).lower() for index in range(len(world.attributes))}
            for person in range(world.num_shared_people, world.num_people)
        }
        words = sorted([*self._people, *self._attributes], key=len, reverse=True)
        edge = r"\b" if language.joiner else ""
        self._pattern = re.compile(f"(?={edge}({'|'.join(map(re.escape, words))}){edge})")

    def read(self, text: str) -> tuple[set[int], set[int]]:
        """The people that a text names, and the attributes of which it holds a value or a sign."""
        found = set(self._pattern.findall(text.lower()))
        people = {self._people[word] for word in found if word in self._people}
        return people, {self._attributes[word] for word in found if word in self._attributes}

    def join_held_out(self, text: str) -> bool:
        """Whether the text names a person with an attribute that is held out: then nothing in training may say it."""
        people, attributes = self.read(text)
        return any((person, attribute) in self._world.held_out for person in people for attribute in attributes)

    def tell_core(self, text: str) -> bool:
        """Whether the text names a core person with a value of theirs: then only the core language may write it."""
        if not self._core_facts:
            return False
        found = set(self._pattern.findall(text.lower()))
        people = {self._people[word] for word in found if word in self._people}
        return any(not found.isdisjoint(self._core_facts.get(person, ())) for person in people)
