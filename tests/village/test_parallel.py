"""Lists of several languages side by side: as long as the shortest, and drawn by the seed where the size says so."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cslm.errors import UserError
from cslm.village.parallel import side_by_side
from cslm.village.tables import load_language, load_size


@pytest.fixture(scope="module")
def size():
    return load_size("tiny_five")


@pytest.fixture(scope="module")
def languages(size):
    return [load_language(code, size) for code in ("en", "fr", "ja")]


def test_a_seed_draws_the_same_people_and_values_in_every_language(size, languages):
    english, french, japanese = side_by_side(languages, size, np.random.default_rng(0))
    assert len(english.names) == 6 and len(english.attributes["pet"].values) == 4
    for one, whole in zip((english, french, japanese), languages, strict=True):
        assert [whole.names.index(name) for name in one.names] == [languages[0].names.index(n) for n in english.names]
        chosen = [languages[0].attributes["pet"].values.index(value) for value in english.attributes["pet"].values]
        assert one.attributes["pet"].values == [whole.attributes["pet"].values[index] for index in chosen]
    pets, genders = french.attributes["pet"].values, french.attributes["pet"].genders
    assert dict(zip(pets, genders, strict=True)).get("oie", "f") == "f"
    assert french.tell("{pet:un}", pet=pets[0]).split()[0] in ("un", "une")
    other = side_by_side(languages, size, np.random.default_rng(1))
    assert other[0].names != english.names


def test_without_drawing_the_first_ones_are_taken(languages):
    size = load_size("tiny")
    english, *_ = side_by_side(languages, size, np.random.default_rng(0))
    assert english.names == languages[0].names[: size.num_people]
    assert english.attributes["pet"].values == languages[0].attributes["pet"].values


def test_a_language_that_says_less_shortens_all_and_that_is_printed(languages, capsys):
    short = dataclasses.replace(languages[1], patterns=languages[1].patterns[:5])
    told = side_by_side([languages[0], short], load_size("tiny"), np.random.default_rng(0))
    assert [len(one.patterns) for one in told] == [5, 5]
    assert "fr has 5 patterns, another language 23; all use the first 5" in capsys.readouterr().out


def test_a_topic_that_a_language_tells_otherwise_is_in_no_story_and_that_is_printed(size, languages, capsys):
    tales = {topic: plots for topic, plots in languages[1].tales.items() if topic != "concert"}
    told = side_by_side([languages[0], dataclasses.replace(languages[1], tales=tales)], size, np.random.default_rng(0))
    assert list(told[0].tales) == list(told[1].tales) == ["cooking", "lost_animal", "illness"]  # no colour, no place
    assert "not all languages tell the same plots of concert" in capsys.readouterr().out


def test_too_few_values_are_an_error(size, languages):
    attributes = dict(languages[1].attributes)
    attributes["pet"] = dataclasses.replace(attributes["pet"], values=["oie"], genders=["f"])
    with pytest.raises(UserError, match="num_values is 4, but a language has 1 values of pet"):
        side_by_side(
            [languages[0], dataclasses.replace(languages[1], attributes=attributes)], size, np.random.default_rng(0)
        )


def test_a_sentence_with_other_slots_than_in_the_other_languages_is_named(size, languages):
    patterns = [languages[1].patterns[1], *languages[1].patterns[1:]]
    with pytest.raises(UserError, match=r"patterns of fr: '\{job:le\} a donné .* has other slots than"):
        side_by_side(
            [languages[0], dataclasses.replace(languages[1], patterns=patterns)], size, np.random.default_rng(0)
        )


def test_sentences_that_need_what_the_village_has_not_are_refused_before_any_is_drawn(size, languages):
    only_places = [dataclasses.replace(one, patterns=one.patterns[-1:]) for one in languages]
    with pytest.raises(UserError, match="none of the patterns that all languages have fits the attributes job, pet"):
        side_by_side(only_places, size, np.random.default_rng(0))
