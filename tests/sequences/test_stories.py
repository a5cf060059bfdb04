from __future__ import annotations

import dataclasses
from collections import Counter
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cslm.sequences.stories import draw_languages, joined, spoken_document
from tests.worlds.small_village import some_units

BOTH = [[0, 1]] * 20


def runs(languages: list[int]) -> list[int]:
    return [len(list(run)) for _, run in groupby(languages)]


def drawn(available, probability, shortest_run=1, seeds=400):
    return [draw_languages(available, np.random.default_rng(seed), probability, shortest_run) for seed in range(seeds)]


def test_languages_change_between_sentences_and_spans_know_them(form):
    document = spoken_document(form, [(some_units(4), "en"), (some_units(5), "zh")])
    speech = [(span.language, span.stop - span.start) for span in document.spans if span.modality == "speech"]
    assert speech == [("en", 4), ("zh", 5)]
    assert document.task == "story" and document.trained.all()
    assert [span.language for span in document.spans if span.modality == "marker"] == ["en", "en", "zh", "zh"]


def test_half_a_chance_to_switch_is_an_independent_draw_of_two_languages():
    """All eight ways to say three sentences are as likely."""
    counts = Counter(map(tuple, drawn([[0, 1]] * 3, 0.5, seeds=4000)))
    assert len(counts) == 8 and all(420 < count < 580 for count in counts.values())


def test_two_thirds_are_an_independent_draw_of_three_languages():
    counts = Counter(map(tuple, drawn([[0, 1, 2]] * 2, 2 / 3, seeds=4500)))
    assert len(counts) == 9 and all(420 < count < 580 for count in counts.values())


def test_without_a_chance_to_switch_a_story_stays_in_the_language_that_it_begins_in():
    stories = drawn(BOTH, 0.0)
    assert all(len(set(story)) == 1 for story in stories)
    assert 150 < sum(story[0] for story in stories) < 250


def test_a_sure_switch_alternates():
    assert all(first != second for story in drawn(BOTH, 1.0, seeds=5) for first, second in pairwise(story))


@pytest.mark.parametrize("shortest", [2, 3, 7])
def test_no_run_but_the_last_is_shorter_than_the_shortest(shortest):
    stories = drawn(BOTH, 0.5, shortest)
    assert min(length for story in stories for length in runs(story)[:-1]) == shortest
    assert any(length > shortest for story in stories for length in runs(story)[:-1])


def test_a_sentence_that_is_not_there_in_the_language_of_the_run_is_said_in_another():
    available = [[0, 1], [0, 1], [1], [0, 1], [0, 1]]
    stories = drawn(available, 0.0, 9)
    assert {tuple(story) for story in stories} == {(0, 0, 1, 1, 1), (1, 1, 1, 1, 1)}


@given(
    st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True), min_size=1, max_size=12),
    st.floats(0, 1), st.integers(1, 4), st.integers(0, 2**32),
)  # fmt: skip
def test_every_sentence_is_said_once_in_a_language_that_it_has(available, probability, shortest, seed):
    languages = draw_languages(available, np.random.default_rng(seed), probability, shortest)
    assert len(languages) == len(available)
    assert all(language in choices for language, choices in zip(languages, available, strict=True))
    again = draw_languages(available, np.random.default_rng(seed), probability, shortest)
    assert languages == again


def test_joined_documents_are_their_parts_one_after_the_other(form):
    parts = [
        spoken_document(form, [(some_units(4), "en"), (some_units(5, 1), "zh")]),
        spoken_document(form, [(some_units(3, 2), "zh")]),
        spoken_document(form, [(some_units(6, 3), "en")]),
    ]
    whole = joined(parts)
    assert form.render(whole) == "".join(map(form.render, parts))
    starts = np.cumsum([0, *map(len, parts)]).tolist()
    for part, start in zip(parts, starts, strict=False):
        again = whole.window(start, start + len(part))
        assert again.spans == part.spans and again.trained.tolist() == part.trained.tolist()
    assert [span.stop for span in whole.spans[:-1]] == [span.start for span in whole.spans[1:]]


def test_what_is_read_otherwise_in_one_part_stays_so_in_the_whole(form):
    plain = spoken_document(form, [(some_units(4), "en")])
    noisy = dataclasses.replace(plain, read=plain.ids[::-1].copy())
    assert joined([plain, plain]).read is None
    assert joined([plain, noisy]).read.tolist() == [*plain.ids.tolist(), *plain.ids[::-1].tolist()]
