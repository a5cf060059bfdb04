"""What is spoken and written of aligned stories: their sentences as utterances, and pairs of endings for tests.

A story's right ending stands against the ending of another held-out story of the same speaker: one of another topic
(``topic``, as in sTopicCloze), or one of the same topic that is about other people and another thing (``cloze``, as in
sStoryCloze). A topic's wrong ending is told again with the people of the story that it is put to: names sound alike in
many languages, and would tell the endings apart without a word of the topic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from cslm.errors import UserError
from cslm.village.aligned_stories import Story, draw_stories
from cslm.village.sentences import Teller
from cslm.village.size import VillageSize
from cslm.village.speech import Line

Record = dict[str, Any]
ByDocument = dict[str, list[Line]]
"""The sentences of each story, in order."""

PAIR_KINDS = ("topic", "cloze")
WrongEndings = dict[tuple[str, str], list[Story]]
"""By kind of pair and name of the story: those whose endings are wrong there, retold of its people where need be."""
TRAINING, TEST = "story_train", "story_test"
"""Names of the manifests, without ``.jsonl``."""


@dataclass(frozen=True)
class StoryBook:
    """The aligned stories of a village, and how they are told."""

    training: list[Story]
    held_out: list[Story]
    speakers: list[str]
    """Variants of the synthesizer, each heard in every language."""
    lines: dict[str, dict[str, list[Line]]]
    """``lines[manifest][language]``, for ``story_train`` and ``story_test``; empty where there are no stories. Endings
    that are told again stand behind the stories of ``story_test``, and belong to none."""
    wrong: WrongEndings
    retold: dict[Story, int]
    """Place among the endings that are told again."""

    def records(self) -> Iterator[Record]:
        """One record a story: its topic, and its texts and utterances by language, in order."""
        for name, stories in ((TRAINING, self.training), (TEST, self.held_out)):
            told = {code: _by_document(lines) for code, lines in self.lines[name].items()}
            for story in stories:
                yield {
                    "id": story.name,
                    "topic": story.topic,
                    "held_out": name == TEST,
                    "texts": {code: [line.text for line in by_name[story.name]] for code, by_name in told.items()},
                    "utterances": {code: [line.id for line in by_name[story.name]] for code, by_name in told.items()},
                }

    def pairs(self) -> Iterator[Record]:
        """Pairs of endings of held-out stories, from every language of the beginning to every language of the ending.

        A story has ``num_wrong_endings`` pairs of each kind, or as many as there are.
        """
        told = {code: _by_document(lines) for code, lines in self.lines[TEST].items()}
        again = {code: [line for line in lines if line.document is None] for code, lines in self.lines[TEST].items()}
        for kind, begins, ends in product(PAIR_KINDS, told, told):
            pairs = ((story, other) for story in self.held_out for other in self.wrong[kind, story.name])
            for number, (story, other) in enumerate(pairs):
                wrong = again[ends][self.retold[other]] if other in self.retold else told[ends][other.name][-1]
                *prefix, _ = [line.id for line in told[begins][story.name]]
                endings = told[ends][story.name][-1].id, wrong.id
                yield {**pair_record(kind, begins, ends, number, story.name, prefix, endings), "topic": story.topic}


def pair_record(
    kind: str, begins: str, ends: str, number: int, story: str, prefix: list[str], endings: tuple[str, str]
) -> Record:
    """A line of ``story_pairs.jsonl``, which ``cslm score`` reads.

    Args:
        begins: language of the beginning.
        ends: language of the endings.
        number: of the pair among those of its kind and direction.
        prefix: utterances of the beginning.
        endings: utterances of the right and of the wrong one.
    """
    right, wrong = endings
    return {
        "id": f"{begins}-{ends}-{kind}-{number:06d}",
        "kind": kind,
        "direction": f"{begins}-{ends}",
        "prefix_language": begins,
        "ending_language": ends,
        "document": story,
        "prefix": prefix,
        "ending": right,
        "wrong_ending": wrong,
    }


def make_story_book(
    tellers: list[Teller], size: VillageSize, generator: np.random.Generator, of_pairs: np.random.Generator
) -> StoryBook:
    """Draw the stories, their speakers and the wrong endings, and tell them in every language.

    Where fewer wrong endings fit a story than were asked for, what is missing is printed.

    Raises:
        UserError: too few topics, people, values or variants of the synthesizer that all languages share.
    """
    if not size.num_training_stories + size.num_held_out_stories:
        return StoryBook([], [], [], {}, {}, {})
    training, held_out = draw_stories(tellers, size, generator)
    speakers = _draw_speakers(tellers, size, generator)
    wrong = {
        (kind, story.name): _wrong_endings(kind, story, held_out, tellers, size.num_wrong_endings, of_pairs)
        for kind in PAIR_KINDS
        for story in held_out
    }
    _print_missing(wrong, size.num_wrong_endings)
    others = (other for (kind, _), found in wrong.items() if kind == "topic" for other in found)
    retold = {other: place for place, other in enumerate(dict.fromkeys(others))}
    lines = {
        TRAINING: {teller.language.language: _lines(training, "story", teller, speakers) for teller in tellers},
        TEST: {
            teller.language.language: _lines(held_out, "story-test", teller, speakers)
            + _ending_lines(list(retold), teller, speakers)
            for teller in tellers
        },
    }
    return StoryBook(training, held_out, speakers, lines, wrong, retold)


def _wrong_endings(
    kind: str, story: Story, held_out: list[Story], tellers: list[Teller], count: int, generator: np.random.Generator
) -> list[Story]:
    """Held-out stories of the same speaker whose endings, all different, are wrong here."""
    seen = {story.sentences(teller)[-1] for teller in tellers}
    chosen: list[Story] = []
    for index in generator.permutation(len(held_out)).tolist():
        if len(chosen) == count:
            break
        other = held_out[index]
        if not _is_wrong(kind, story, other):
            continue
        if kind == "topic":
            other = replace(other, people=story.people)
        texts = {teller: other.sentences(teller)[-1] for teller in tellers}
        told = any(teller.may_not_say(text) for teller, text in texts.items())
        if not told and seen.isdisjoint(texts.values()):
            chosen.append(other)
            seen.update(texts.values())
    return chosen


def _draw_speakers(tellers: list[Teller], size: VillageSize, generator: np.random.Generator) -> list[str]:
    """The variants of the synthesizer that tell stories, each in every language.

    Raises:
        UserError: the languages have too few variants in common.
    """
    pools = [teller.language.question_voices.variants for teller in tellers]
    common = [variant for variant in pools[0] if all(variant in pool for pool in pools)]
    if len(common) < size.num_story_voices:
        found = f"{len(common)} variants of question_voices are in all languages ({', '.join(common)})"
        raise UserError(f"num_story_voices is {size.num_story_voices}, but {found}; take fewer, or share more variants")
    return [str(variant) for variant in generator.permutation(common)[: size.num_story_voices]]


def _lines(stories: list[Story], kind: str, teller: Teller, speakers: list[str]) -> list[Line]:
    """Every sentence of the stories in one language; ``kind`` begins the ids."""
    lines: list[Line] = []
    for story in stories:
        for place in range(len(story.sentences(teller))):
            lines.append(_line(story, place, f"{kind}-{len(lines):06d}", teller, speakers))
    return lines


def _ending_lines(stories: list[Story], teller: Teller, speakers: list[str]) -> list[Line]:
    """The endings of stories that nobody tells whole."""
    return [
        replace(
            _line(story, len(story.sentences(teller)) - 1, f"story-ending-{number:06d}", teller, speakers),
            group=f"ending-{number:06d}",
            document=None,
            place=None,
        )
        for number, story in enumerate(stories)
    ]


def _line(story: Story, place: int, name: str, teller: Teller, speakers: list[str]) -> Line:
    pool, code = teller.language.question_voices, teller.language.language
    return Line(
        f"{code}-{name}",
        _sentence(story, place, teller),
        code,
        f"{pool.accents[0]}+{speakers[story.speaker]}",
        pool.rate_wpm,
        pool.pitch,
        f"{story.name}-{place}",
        teller.said(partial(_sentence, story, place)),
        story.name,
        place,
    )


def _sentence(story: Story, place: int, teller: Teller) -> str:
    return story.sentences(teller)[place]


def _is_wrong(kind: str, story: Story, other: Story) -> bool:
    """Whether the ending of ``other`` is wrong for ``story`` in this kind of pair."""
    if other.speaker != story.speaker:
        return False
    if kind == "topic":
        return other.topic != story.topic
    others_people = story.people[0] not in other.people and other.people[0] not in story.people
    return other.topic == story.topic and others_people and other.thing != story.thing


def _print_missing(wrong: WrongEndings, count: int) -> None:
    for kind in PAIR_KINDS:
        found = [len(others) for (of_kind, _), others in wrong.items() if of_kind == kind]
        few = sum(number < count for number in found)
        if few:
            missing = count * few - sum(number for number in found if number < count)
            print(
                f"village: {few} of {len(found)} held-out stories have fewer than {count} endings of the kind {kind}; "
                f"{missing} pairs a direction are missing"
            )


def _by_document(lines: list[Line]) -> ByDocument:
    documents: ByDocument = {}
    for line in lines:
        if line.document is not None:
            documents.setdefault(line.document, []).append(line)
    return documents
