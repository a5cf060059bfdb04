"""Aligned stories: the same in every language, held out whole, with pairs of endings of one speaker."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines
from cslm.village.aligned_stories import draw_stories
from cslm.village.parallel import side_by_side
from cslm.village.sentences import Teller
from cslm.village.story_records import TEST, TRAINING, make_story_book
from cslm.village.tables import load_language, load_size
from cslm.village.world import make_world


@pytest.fixture(scope="module")
def size():
    changes = {"num_training_stories": 150, "num_held_out_stories": 40, "num_story_voices": 2}
    return dataclasses.replace(load_size("stories"), **changes)


@pytest.fixture(scope="module")
def tellers(size):
    generator = np.random.default_rng(0)
    languages = side_by_side([load_language(code, size) for code in size.languages], size, generator)
    world = make_world(size, [10] * 6, generator)
    return [Teller(language, size, world) for language in languages]


@pytest.fixture(scope="module")
def book(tellers, size):
    return make_story_book(tellers, size, np.random.default_rng(0), np.random.default_rng(1))


def test_stories_are_new_have_three_to_five_sentences_and_topics_in_turn(book, tellers):
    stories = book.held_out + book.training
    told = [tuple(story.sentences(tellers[0])) for story in stories]
    assert len(set(told)) == len(told) == 190 and {len(one) for one in told} == {3, 4, 5}
    assert len({story.topic for story in stories}) == 6
    assert max(Counter(story.topic for story in stories).values()) <= 32
    assert [story.number for story in stories] == list(range(190))


def test_who_does_what_in_a_held_out_story_is_in_no_story_of_training(book):
    assert not {story.key for story in book.held_out} & {story.key for story in book.training}


def test_a_story_says_the_same_thing_in_every_language(book, tellers):
    for story in book.training[:60]:
        english, french = (teller.mentions for teller in tellers)
        for ours, theirs in zip(*(story.sentences(teller) for teller in tellers), strict=True):
            assert english.read(ours) == french.read(theirs) or "quitté" in theirs


def test_every_sentence_is_a_line_with_group_document_and_place(book):
    for name in (TRAINING, TEST):
        english, french = (book.lines[name][code] for code in ("en", "fr"))
        assert [(line.group, line.document, line.place) for line in english] == [
            (line.group, line.document, line.place) for line in french
        ]
        for line in english:
            again = name == TEST and line.document is None
            assert line.group == (line.id.replace("en-story-", "") if again else f"{line.document}-{line.place}")
        for ours, theirs in zip(english, french, strict=True):
            assert ours.voice.split("+")[1] == theirs.voice.split("+")[1]
    assert len({line.voice for line in book.lines[TEST]["en"]}) == 2


def test_pairs_of_endings(book, size):
    stories = {story.name: story for story in book.held_out}
    lines = {line.id: line for of_language in book.lines[TEST].values() for line in of_language}
    retold = {f"{place:06d}": other for other, place in book.retold.items()}
    pairs = list(book.pairs())
    counts = Counter((pair["kind"], pair["direction"]) for pair in pairs)
    assert len(counts) == 8 and len({count for (kind, _), count in counts.items() if kind == "topic"}) == 1
    assert counts["topic", "en-fr"] == 40 * size.num_wrong_endings
    assert len({pair["id"] for pair in pairs}) == len(pairs)
    for pair in pairs:
        *prefix, ending = [lines[name] for name in [*pair["prefix"], pair["ending"]]]
        wrong, story = lines[pair["wrong_ending"]], stories[pair["document"]]
        assert [line.place for line in [*prefix, ending]] == list(range(len(prefix) + 1))
        assert {line.language for line in prefix} == {pair["prefix_language"]} and story.topic == pair["topic"]
        assert ending.language == wrong.language == pair["ending_language"] and ending.text != wrong.text
        assert ending.voice == wrong.voice
        if pair["kind"] == "topic":
            other = retold[wrong.id.split("-")[-1]]
            assert other.topic != story.topic and other.people == story.people
        else:
            other = stories[wrong.document]
            assert other.topic == story.topic
            assert other.people[0] not in story.people and other.thing != story.thing


def test_a_topic_is_not_told_by_its_people(book, tellers):
    """A wrong ending of another topic names nobody who is not in the story that it is put to."""
    english = tellers[0]
    lines = {line.id: line.text for line in book.lines[TEST]["en"]}
    stories = {story.name: story for story in book.held_out}
    pairs = [pair for pair in book.pairs() if pair["kind"] == "topic" and pair["direction"] == "en-en"]
    named = [
        {name for name in english.names if name in lines[pair["wrong_ending"]]}
        - {english.names[person] for person in stories[pair["document"]].people}
        for pair in pairs
    ]
    assert len(named) > 100 and not any(named)


def test_the_seed_draws_the_stories(tellers, size):
    drawn = [draw_stories(tellers, size, np.random.default_rng(seed))[0] for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_more_stories_than_the_village_has_are_refused(tellers, size):
    small = dataclasses.replace(size, num_held_out_stories=30_000, num_training_stories=0, longest_story=3)
    one_topic = dataclasses.replace(
        tellers[0].language, tales={"illness": tellers[0].language.tales["illness"]}, names=["Hugo", "Fiona"]
    )
    world = make_world(dataclasses.replace(size, num_people=2), [10] * 6, np.random.default_rng(0))
    with pytest.raises(UserError, match="too few people, values and plots"):
        draw_stories([Teller(one_topic, small, world)], small, np.random.default_rng(0))


def test_no_story_is_told_of_what_is_held_out_and_the_files_belong_together(five_languages):
    rows = [record for _, record in read_json_lines(five_languages / "stories.jsonl")]
    assert Counter(row["held_out"] for row in rows) == {False: 8, True: 12}
    heard = {record["id"]: record for name in ("story_train", "story_test")
             for _, record in read_json_lines(five_languages / f"{name}.jsonl")}  # fmt: skip
    for row in rows:
        assert row["texts"].keys() == row["utterances"].keys() == {"en", "zh", "fr", "de", "ja"}
        for code, names in row["utterances"].items():
            assert [heard[name]["text"] for name in names] == row["texts"][code]
            assert all(name.startswith(f"{code}-story-{'test-' * row['held_out']}0") for name in names)
            assert [heard[name]["group"] for name in names] == [f"{row['id']}-{place}" for place in range(len(names))]
    used = [record for _, record in read_json_lines(five_languages / "story_pairs.jsonl")]
    assert {name for row in used for name in [*row["prefix"], row["ending"], row["wrong_ending"]]} <= heard.keys()
