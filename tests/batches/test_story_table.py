from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cslm.batches.parts import Part
from cslm.batches.story_table import StoryTable, story_table
from cslm.units.store import StoreRow
from tests.worlds.spoken_stories import sentence, store_of, told_in


def read(folder, rows: list[StoreRow], part: Part = Part()) -> tuple[list[list[list[str]]], StoryTable]:  # noqa: B008
    """Stories as lists of sentences as lists of ids, and the table."""
    store = store_of(folder / "store", rows)
    table = story_table(store, np.ones(len(store), np.bool_), part)
    ids = store.column("id")
    stories = [[ids[table.rows[inside]].tolist() for inside in table.sentences(story)] for story in range(len(table))]
    return stories, table


@pytest.fixture(autouse=True)
def own_cache(cache):
    return cache


def test_sentences_stand_by_place_with_all_their_languages(tmp_path):
    rows = told_in(["en", "fr"], num_stories=2, num_places=3)
    shuffled = [rows[index] for index in np.random.default_rng(3).permutation(len(rows))]
    stories, table = read(tmp_path, shuffled)
    assert sorted(stories) == [[[f"en-{s}-{p}", f"fr-{s}-{p}"] for p in range(3)] for s in range(2)]
    assert table.languages == ["en", "fr"] and table.told == [] and table.num_together == 6


def test_documents_in_two_languages_whose_groups_are_the_same_are_one_story(tmp_path):
    """The French ones are numbered from 1 on: the place is that of the group."""
    english = [dataclasses.replace(row, group=f"g{row.document}-{row.place}") for row in told_in(["en"], 2)]
    french = [
        dataclasses.replace(row, id=row.id.replace("en", "fr"), language="fr", document=f"{row.document}-fr",
                            place=row.place + 1)
        for row in english
    ]  # fmt: skip
    stories, table = read(tmp_path, english + french)
    assert stories == [[[f"en-{s}-{p}", f"fr-{s}-{p}"] for p in range(3)] for s in range(2)]
    assert table.told == []


def test_a_sentence_that_two_stories_have_in_common_does_not_make_them_one(tmp_path):
    rows = [dataclasses.replace(row, group="once upon a time" if not row.place else row.id) for row in told_in(["en"])]
    assert len(read(tmp_path, rows)[0]) == 4


def test_a_group_without_a_document_is_a_story_of_one_sentence(tmp_path):
    rows = [
        sentence(story, 0, language, document=None, place=None, group=f"prompt {story}")
        for language in ("en", "fr")
        for story in range(3)
    ]
    stories, table = read(tmp_path, rows[:-1])
    assert stories == [[["en-0-0", "fr-0-0"]], [["en-1-0", "fr-1-0"]], [["en-2-0"]]]
    assert list(map(str, table.told)) == [
        "of 3 sentences not there in fr, and said in another language: 1 (prompt 2 0)"
    ]


def test_a_translation_without_a_document_goes_to_the_sentence_of_its_group(tmp_path):
    french = [sentence(0, place, "fr", document=None, place=None, group=f"g{place}") for place in range(3)]
    english = [sentence(0, place, "en", group=f"g{place}") for place in range(3)]
    stories, _ = read(tmp_path, french + english)
    assert stories == [[["en-0-0", "fr-0-0"], ["en-0-1", "fr-0-1"], ["en-0-2", "fr-0-2"]]]


def test_a_story_that_lacks_a_sentence_is_read_in_two_parts_and_named(tmp_path):
    rows = [row for row in told_in(["en", "fr"], 2, 5) if (row.document, row.place) != ("story-1", 2)]
    stories, table = read(tmp_path, rows)
    assert [len(story) for story in stories] == [5, 2, 2]
    assert list(map(str, table.told)) == ["stories read in parts, for sentences inside are missing: 1 (story-1)"]


def test_a_sentence_that_one_language_lacks_is_there_in_the_other(tmp_path):
    rows = [row for row in told_in(["en", "fr"]) if row.id not in ("fr-1-2", "fr-2-0")]
    stories, table = read(tmp_path, rows)
    assert [len(story) for story in stories] == [3, 3, 3, 3]
    assert stories[1][2] == ["en-1-2"]
    assert list(map(str, table.told)) == [
        "of 12 sentences not there in fr, and said in another language: 2 (story-1 2, story-2 0)"
    ]


def test_several_voices_of_one_sentence_are_no_contradiction(tmp_path):
    rows = told_in(["en"], 2) + [
        dataclasses.replace(row, id=f"{row.id}-b", speaker="another") for row in told_in(["en"], 2)
    ]
    stories, table = read(tmp_path, rows)
    assert stories[0] == [["en-0-0", "en-0-0-b"], ["en-0-1", "en-0-1-b"], ["en-0-2", "en-0-2-b"]]
    assert table.told == []


def test_two_sentences_at_one_place_leave_their_story_out_and_are_named(tmp_path):
    rows = [*told_in(["en"]), sentence(2, 1, "en", id="odd", text="something else")]
    stories, table = read(tmp_path, rows)
    assert len(stories) == 3 and all("en-2-0" not in sentence for story in stories for sentence in story)
    assert list(map(str, table.told)) == [
        "stories left out, that say two things at one place in one language: 1 (story-2)"
    ]


def test_what_belongs_to_no_story_is_counted_and_named(tmp_path):
    rows = [
        *told_in(["en"], 1),
        sentence(0, 0, "en", id="lost", place=None),
        *(sentence(0, 0, "en", id=f"alone-{number}", document=None, place=None) for number in range(7)),
    ]
    stories, table = read(tmp_path, rows)
    assert len(stories) == 1
    assert list(map(str, table.told)) == [
        "utterances left out, with a document and no place in it: 1 (lost)",
        "utterances left out, with neither a document nor a group: 7 (alone-0, alone-1, alone-2, alone-3, alone-4, "
        "...)",
    ]
    assert list(table.told[1].names()) == [f"alone-{number}" for number in range(7)]


def test_stories_that_begin_at_place_1_lack_nothing(tmp_path):
    rows = [dataclasses.replace(row, place=row.place + 1) for row in told_in(["en"])]
    assert read(tmp_path, rows)[1].told == []


def test_a_story_is_held_out_whole(tmp_path):
    rows = told_in(["en", "fr"], 9)
    whole, _ = read(tmp_path / "whole", rows)
    trained, _ = read(tmp_path / "trained", rows, Part(0.4))
    held_out, _ = read(tmp_path / "held", rows, Part(0.4, held_out=True))
    assert trained and held_out and sorted(trained + held_out) == sorted(whole)


def test_a_store_of_nothing_has_no_stories(tmp_path):
    store = store_of(tmp_path / "s", told_in(["en"]))
    assert len(story_table(store, np.zeros(len(store), np.bool_))) == 0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 6), st.sampled_from(["en", "fr", "de"]), st.integers(0, 1)),
                min_size=1, max_size=40, unique=True))  # fmt: skip
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_utterance_stands_in_the_table_once_whatever_is_missing(tmp_path_factory, lines):
    rows = [sentence(s, p, language, id=f"{s}-{p}-{language}-{voice}") for s, p, language, voice in lines]
    stories, _ = read(tmp_path_factory.mktemp("any"), rows)
    assert sorted(name for story in stories for said in story for name in said) == sorted(row.id for row in rows)
    places = {row.id: (row.document, row.place) for row in rows}
    for story in stories:
        told = [{places[name] for name in said} for said in story]
        assert all(len(place) == 1 for place in told)
        (first,) = told[0]
        assert [next(iter(place)) for place in told] == [(first[0], first[1] + step) for step in range(len(told))]
