"""The village's tables: whole, unmistakable, and the same in every language."""

from __future__ import annotations

import pytest
import yaml

from cslm.errors import UserError
from cslm.sequences.chunking import chunk_text
from cslm.village.language import SLOT
from cslm.village.sentences import Question, Teller
from cslm.village.tables import VILLAGE_DATA, contains, load_language, load_size
from cslm.village.world import make_world

LANGUAGES = ("en", "zh", "fr", "de", "ja")


@pytest.fixture(scope="module")
def full():
    return load_size("full")


@pytest.fixture(scope="module")
def languages(full):
    return [load_language(name, full) for name in LANGUAGES]


def test_the_sizes_are_as_large_as_promised(full):
    small = load_size("small")
    assert small.num_people >= 24 and len(small.attributes) >= 5 and small.num_question_forms >= 4
    assert small.num_answer_forms >= 3 and small.num_question_voices >= 8 and small.held_out_fraction >= 0.2
    assert full.num_people >= 40 and len(full.attributes) >= 6 and full.num_question_forms >= 8
    assert full.num_question_voices >= 6 and full.held_out_fraction >= 0.2 and full.num_dialogue_test >= 100


def test_the_sizes_have_the_same_keys():
    keys = [yaml.safe_load((VILLAGE_DATA / f"{name}.yaml").read_text()).keys() for name in ("small", "full", "tiny")]
    assert keys[0] == keys[1] == keys[2]


def slots(text):
    return sorted(match["slot"] for match in SLOT.finditer(text))


def plot_slots(plot):
    return [slots(text) for text in (plot.opening, *plot.middles, *plot.endings)]


def test_the_languages_run_parallel(languages):
    first, *others = languages
    for other in others:
        assert len(other.names) == len(first.names) and other.attributes.keys() == first.attributes.keys()
        for name, attribute in first.attributes.items():
            assert len(other.attributes[name].values) == len(attribute.values) == 10
            assert len(other.attributes[name].facts) == len(attribute.facts)
        for ours, theirs in zip(first.question_forms, other.question_forms, strict=True):
            assert ours.num_clauses == theirs.num_clauses
        for ours, theirs in zip(first.answer_forms, other.answer_forms, strict=True):
            assert (ours.fact, ours.lead is None) == (theirs.fact, theirs.lead is None)
        for ours, theirs in zip(
            first.patterns + first.question_patterns, other.patterns + other.question_patterns, strict=True
        ):
            assert slots(ours.text) == slots(theirs.text)
        assert {topic: [plot_slots(plot) for plot in plots] for topic, plots in first.tales.items()} == {
            topic: [plot_slots(plot) for plot in plots] for topic, plots in other.tales.items()
        }


def test_every_length_of_answer_is_asked_for(languages):
    for language in languages:
        assert {form.num_clauses for form in language.question_forms[:4]} == {2, 3, 4, 5}


def test_answers_have_as_many_chunks_as_clauses(full, languages, generator):
    world = make_world(full, [10] * 6, generator)
    for language in languages:
        teller = Teller(language, full, world)
        for pair in world.pairs:
            for form in range(full.num_question_forms):
                question = Question(pair, form)
                clauses, _ = teller.answer_clauses(question)
                assert len(clauses) == language.question_forms[form].num_clauses
                assert all(language.length(clause) >= 7 for clause in clauses)
                assert len(chunk_text(teller.answer(question), language.language)) == len(clauses)


def test_one_clause_of_an_answer_holds_the_fact(full, languages, generator):
    world = make_world(full, [10] * 6, generator)
    for language in languages:
        teller = Teller(language, full, world)
        for pair in world.pairs:
            clauses, _ = teller.answer_clauses(Question(pair, 3))
            name, value = teller.names[pair[0]], world.value(language, pair)
            holds = [contains(clause, name, language.joiner) for clause in clauses]
            assert holds == [contains(clause, value, language.joiner) for clause in clauses] and sum(holds) == 1
            assert holds.index(True) < 2


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"names": ["Anna", "David", "Anna", "Kevin"]}, "'Anna' also stands in 'Anna'"),
        ({"names": ["Anna", "David", "Village", "Kevin"]}, "'Village' also stands in"),
        ({"names": ["Anna"]}, "1 names, but the village needs 4"),
        ({"answer_forms": None}, "answer_forms"),
        ({"colours": []}, "colours"),
    ],
)
def test_a_table_that_does_not_fit_is_named(tmp_path, change, says):
    table = yaml.safe_load((VILLAGE_DATA / "en.yaml").read_text(encoding="utf-8")) | change
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(table, allow_unicode=True), encoding="utf-8")
    with pytest.raises(UserError, match=says) as error:
        load_language(str(path), load_size("tiny"))
    assert "mine.yaml" in str(error.value)


def test_a_clause_that_is_too_short(tmp_path):
    table = yaml.safe_load((VILLAGE_DATA / "en.yaml").read_text(encoding="utf-8"))
    table["answer_forms"][0]["tail"] = "yes indeed"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(table), encoding="utf-8")
    with pytest.raises(UserError, match="'yes indeed' is shorter than 7"):
        load_language(str(tmp_path / "mine.yaml"), load_size("tiny"))


def test_a_table_that_is_not_there():
    with pytest.raises(UserError, match="there are de, en, five, fr, full, ja, small, stories, tiny, tiny_five, zh"):
        load_size("huge")


def test_no_more_is_said_back_than_is_said(tmp_path):
    text = (VILLAGE_DATA / "tiny.yaml").read_text(encoding="utf-8")
    path = tmp_path / "mine.yaml"
    path.write_text(text.replace("num_free_dialogues_per_direction: 4", "num_free_dialogues_per_direction: 13"))
    with pytest.raises(UserError, match="num_free_dialogues_per_direction 13 is above num_clause_sentences 12"):
        load_size(str(path))


def test_the_words_of_random_orders_are_said_in_a_village_of_this_size():
    small = load_language("en", load_size("small"))
    full = load_language("en", load_size("full"))
    assert "hid" in full.words and "hid" not in small.words  # only patterns with a place say it
    assert "people" in small.words and "jobs" not in small.words  # topics are only written
