"""Facts, what is held out, and how a text is read for it."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

from cslm.village.sentences import IN_TESTS, IN_TRAINING, Drill, FreeSentences, Question, Teller
from cslm.village.tables import load_language, load_size
from cslm.village.world import make_world


@pytest.fixture(scope="module")
def small():
    return load_size("small")


@pytest.fixture(scope="module")
def tellers(small):
    world = make_world(small, [10] * 5, np.random.default_rng(0))
    return [Teller(load_language(name, small), small, world) for name in small.languages]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_held_out_is_spread_evenly(small, seed):
    world = make_world(small, [10] * 5, np.random.default_rng(seed))
    assert len(world.held_out) >= 0.2 * world.facts.size
    people, attributes = (Counter(pair[index] for pair in world.held_out) for index in (0, 1))
    assert len(people) == small.num_people and max(people.values()) <= 2
    assert len(attributes) == 5 and max(attributes.values()) - min(attributes.values()) <= 1


def test_the_seed_draws_facts_and_what_is_held_out(small):
    first, same, other = (make_world(small, [10] * 5, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first.facts, same.facts) and first.held_out == same.held_out
    assert not np.array_equal(first.facts, other.facts) and first.held_out != other.held_out
    assert all(len(set(column)) == 10 for column in first.facts.T)


def test_questions_answers_and_facts_are_read_for_their_pair(tellers):
    for teller in tellers:
        for pair in teller.world.pairs:
            questions = [Question(pair, form) for form in range(8)]
            texts = [told(question) for question in questions for told in (teller.question, teller.answer)]
            texts += [teller.fact(pair, wording, teller.tables[pair[1]].values[3]) for wording in range(3)] + [
                teller.phrase(pair)
            ]
            for text in texts:
                people, attributes = teller.mentions.read(text)
                assert people == {pair[0]} and pair[1] in attributes


def test_a_name_alone_or_a_value_alone_joins_nothing(tellers):
    english, chinese = tellers
    assert english.mentions.read("Sophiesta sang with Hugo.") == ({1}, set())
    assert english.mentions.read("A pilot, a goat.") == (set(), {0, 1})
    assert chinese.mentions.read("雨果在唱歌。") == ({1}, set())


def test_free_sentences_are_new_and_join_nothing_that_is_held_out(tellers, small):
    source = FreeSentences(tellers, np.random.default_rng(0))
    reserved = [tellers[0].question(Question(pair, 0)) for pair in tellers[0].world.pairs]
    source.reserve(reserved)
    drawn = (source.clauses(150, IN_TRAINING), source.mixed(150, True, IN_TRAINING), source.mixed(100, False, IN_TESTS))
    sentences = list(itertools.chain(*drawn))
    for teller in tellers:
        texts = [sentence.texts[teller.language.language] for sentence in sentences]
        assert len(set(texts)) == len(texts) == 400 and not set(texts) & set(reserved)
        for text in texts:
            assert not teller.mentions.join_held_out(text)
    assert 0.1 < sum(not sentence.translated for sentence in sentences) / 400 < 0.4


def test_clauses_of_training_say_the_values_of_other_attributes_too_and_those_of_tests_do_not(tellers):
    def odd(drill: Drill) -> float:
        """The share of sentences that hold the words of one attribute and the value of another."""
        texts = [one.texts["en"] for one in FreeSentences(tellers, np.random.default_rng(0)).clauses(200, drill)]
        one_clause = [text for text in texts if "," not in text and text.count(".") == 1]
        return np.mean([len(tellers[0].mentions.read(text)[1]) > 1 for text in one_clause])

    assert odd(IN_TESTS) == 0
    assert 0.1 < odd(IN_TRAINING) < 0.6


def test_translated_free_sentences_name_the_same_people(tellers):
    source = FreeSentences(tellers, np.random.default_rng(0))
    for sentence in source.clauses(100, IN_TESTS):
        read = [teller.mentions.read(sentence.texts[teller.language.language])[0] for teller in tellers]
        assert read[0] == read[1]
