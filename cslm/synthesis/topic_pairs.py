"""sTopicCloze-like tests from stories that are spoken already: a corpus of stories, or aligned recordings of people."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cslm.corpora.intake import REJECTED
from cslm.corpora.languages import language_tag
from cslm.corpora.manifest import Utterance, audio_from, read_manifest, resolve_audio
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines
from cslm.ranges import Range, check_numbers
from cslm.synthesis.drawn_pairs import SpokenStory
from cslm.synthesis.story_pairs import PairsConfig, write_pairs

_Name = tuple[str, bool]
"""Of a document, or of a group that is in none (True)."""


@dataclass
class TopicPairsConfig:
    """Which stories, and which pairs are made of them."""

    manifests: list[str]
    """Manifests in which sentences have document and place, or a group of one that has: story_test.jsonl of a corpus of
    stories."""
    languages: list[str] = field(default_factory=list)
    """Languages of the pairs (default: all in the manifests)."""
    longest_beginning: int | None = None
    """A beginning is so many sentences at most, the last before the ending (null: all of them)."""
    pairs: PairsConfig = field(default_factory=PairsConfig)
    """which pairs; the kind topic is the only one that needs no text"""
    seed: int = 0
    """Draws wrong endings."""

    def __post_init__(self) -> None:
        """Check what types cannot.

        Raises:
            UserError: a value out of range, by name, or pairs of another kind.
        """
        check_numbers(self, "", longest_beginning=Range(least=1))
        if not self.manifests:
            raise UserError("--manifests names none: give those of the stories, as '[STORIES/story_test.jsonl]'")
        self.languages = list(dict.fromkeys(language_tag(language) for language in self.languages))
        if self.pairs.kinds != ["topic"]:
            raise UserError("pairs.kinds: only topic; wrong endings of their own come with the texts (story_pairs)")


def prepare_topic_pairs(output: Path, config: TopicPairsConfig) -> None:
    """Write ``story_pairs.jsonl`` and ``manifest.jsonl`` with the sentences that the pairs are made of.

    Stories that are not whole in every language are left out and listed.

    Raises:
        UserError: a bad manifest, no story that is whole, or no pair.
    """
    source = ", ".join(config.manifests)
    documents = _documents(config, output)
    languages = _languages(documents, config.languages, source)
    stories, rejected = list[SpokenStory](), list[dict[str, str]]()
    for name, sentences in documents.items():
        story = _story(name, sentences, languages, config.longest_beginning)
        if isinstance(story, SpokenStory):
            stories.append(story)
        else:
            rejected.append({"id": name, "audio": "", "reason": story})
    if not stories:
        first = f"; the first: {rejected[0]['reason']}" if rejected else ""
        raise UserError(
            f"{source}: not one of {len(rejected)} stories is whole in {', '.join(languages)}{first}: give a story the "
            "same document in all languages, or name languages that tell it in --languages"
        )
    if rejected:
        write_json_lines(rejected, output / REJECTED)
        print(f"{source}: {len(rejected)} stories left out (see {REJECTED}); the first: {rejected[0]['reason']}")
    utterances = [utterance for story in stories for utterance in _utterances(story)]
    write_pairs(stories, utterances, config.pairs, config.seed, output, source)


def _documents(config: TopicPairsConfig, output: Path) -> dict[str, list[Utterance]]:
    """The sentences of each document, with audio from the output on; documents that share groups are one."""
    documents: dict[_Name, list[Utterance]] = {}
    ids: set[str] = set()
    for manifest in config.manifests:
        for utterance in read_manifest(manifest):
            if utterance.document is not None and utterance.place is not None:
                name: _Name = (utterance.document, False)
            elif utterance.document is None and utterance.group is not None:
                name = (utterance.group, True)
            else:
                continue
            if utterance.id in ids:
                raise UserError(f"{manifest}: the id {utterance.id!r} is in an earlier manifest too; make ids unique")
            ids.add(utterance.id)
            audio = audio_from(output, resolve_audio(manifest, utterance))
            documents.setdefault(name, []).append(dataclasses.replace(utterance, audio=audio))
    stories = {name: told for (name, is_group), told in _linked(documents).items() if not is_group}
    if not stories:
        raise UserError(
            f"{', '.join(config.manifests)}: no sentence has document and place: make stories of them first"
        )
    return stories


def _linked(documents: dict[_Name, list[Utterance]]) -> dict[_Name, list[Utterance]]:
    """Documents that say the same in other languages brought together, as the training brings them.

    A document goes to the one that has the first utterances of all its groups, if that has none of its languages; its
    sentences stand where those of their groups do. So does a group that is in no document.
    """
    first: dict[str, tuple[_Name, Utterance]] = {}
    for name, told in sorted(documents.items(), key=lambda item: item[0][1]):  # groups without a document last
        for one in told:
            if one.group is not None:
                first.setdefault(one.group, (name, one))
    homes = {name: _home(name, documents, first) for name in documents}
    linked: dict[_Name, list[Utterance]] = {}
    for name, told in documents.items():
        home = homes[name] if homes[homes[name]] == homes[name] else name
        moved = linked.setdefault(home, [])
        for one in told:
            place = first[one.group][1].place if home != name and one.group is not None else one.place
            moved.append(dataclasses.replace(one, document=home[0], place=place))
    return linked


def _home(name: _Name, documents: dict[_Name, list[Utterance]], first: dict[str, tuple[_Name, Utterance]]) -> _Name:
    told = documents[name]
    homes = {first[one.group][0] for one in told if one.group is not None}
    if len(homes) != 1 or {one.language for one in told} & {one.language for one in documents[min(homes)]}:
        return name
    return min(homes)


def _languages(documents: dict[str, list[Utterance]], wanted: Sequence[str], source: str) -> list[str]:
    found = sorted({utterance.language for sentences in documents.values() for utterance in sentences})
    absent = [language for language in wanted if language not in found]
    if absent:
        raise UserError(f"{source}: nothing is in {absent[0]}; there are {', '.join(found)}: correct --languages")
    return list(wanted) or found


def _story(
    name: str, sentences: Sequence[Utterance], languages: Sequence[str], longest: int | None
) -> SpokenStory | str:
    """The story, or why it is none: a place that a language has not, or twice; or fewer than two sentences."""
    by_language: dict[str, dict[int, Utterance]] = {language: {} for language in languages}
    for utterance in sentences:
        assert utterance.place is not None
        told = by_language.get(utterance.language)
        if told is not None and utterance.place in told:
            return f"place {utterance.place} is there twice in {utterance.language}: keep one voice of a story"
        if told is not None:
            told[utterance.place] = utterance
    places = sorted(set().union(*by_language.values()))
    if places != list(range(len(places))) or len(places) < 2:
        return f"has the places {places[:10]}: 0, 1, ... are wanted, two at least"
    for language, told in by_language.items():
        if len(told) < len(places):
            absent = next(place for place in places if place not in told)
            return f"has no place {absent} in {language}"
    first = 0 if longest is None else max(0, len(places) - 1 - longest)
    return SpokenStory(
        name,
        {language: [told[place] for place in places[first:-1]] for language, told in by_language.items()},
        {language: told[places[-1]] for language, told in by_language.items()},
    )


def _utterances(story: SpokenStory) -> Iterator[Utterance]:
    for language, ending in story.ending.items():
        yield from story.beginning[language]
        yield ending
