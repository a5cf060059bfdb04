"""Tasks over sentences of the village: every answer follows from tables and facts, in every language."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.benchmarks.claims.spoken_tasks import ANSWERS, SpokenTasks, Statement
from cslm.corpora.manifest import Utterance
from cslm.errors import UserError
from cslm.sequences.task_pool import Prompt, pool_of
from cslm.village.prepare_village import tellers_of
from cslm.village.sentences import IN_TRAINING, FreeSentences
from cslm.village.tables import load_size


def wordings(**more):
    return {"wordings": {"en": {"seen": ["{input} And so?", "Do it."], "unseen": ["Please do."]}}, **more}


def into_others(**more):
    texts = {"seen": ["In {target}: {input}"], "unseen": ["{target}!"]}
    return {"wordings": {"en": texts}, "targets": {"en": "English", "fr": "French"}, **more}


@pytest.fixture(scope="module")
def tellers():
    return tellers_of(load_size("tiny_five"), 0)


@pytest.fixture(scope="module")
def tasks(tellers):
    pool = {name: into_others() if name in ("translation", "thing_abroad") else wordings() for name in ANSWERS}
    return SpokenTasks(tellers, pool_of({"tasks": pool}, "here"))


def test_what_is_asked_about_a_sentence_is_answered_from_tables_and_facts(tasks, tellers):
    english, french = tellers[0], tellers[2]
    assert (english.language.language, french.language.language) == ("en", "fr")
    said = Statement(1, english.world.attributes.index("pet"), 0, (english.world.attributes.index("pet"), 2))
    name, pet = english.names[1], english.tables[said.attribute].values[2]
    text = f"The pet that {name} keeps is a {pet}."
    assert said.told(english) == text and tasks.read(text, "en") == said
    found = {task: tasks.answer(said, "en", Prompt(task, 0)) for task in ANSWERS if "trans" not in task}
    assert found == {
        "continuation": f"The pet that {english.names[2]} keeps is a {pet}.",
        "repetition": text,
        "person": f"{name}.",
        "thing": f"{pet.capitalize()}.",
        "topic": "Pet.",
        "summary": f"{name}, {pet}.",
        "rewriting": f"Every single morning {name} feeds a hungry {pet}.",
        "keywords": f"{pet.capitalize()}, {name}.",
        "title": f"Pet, {name}.",
        "question": f"In a few words, tell me which pet {name} keeps at home.",
        "thing_abroad": f"{pet.capitalize()}.",
    }
    assert tasks.answer(said, "en", Prompt("translation", 0, "fr")) == said.told(french)
    abroad = french.tables[said.attribute].values[2]
    assert tasks.answer(said, "en", Prompt("thing_abroad", 0, "fr")) == f"{abroad.capitalize()}."


def test_only_statements_about_people_of_whom_all_languages_tell_are_asked_about(tasks, tellers):
    english = tellers[0]
    shared, core = (Statement(person, 0, 1, (0, 0)).told(english) for person in (0, 5))
    assert tasks.can_be_asked(Utterance("a", "a.wav", shared, "en", group="g"))
    assert not tasks.can_be_asked(Utterance("a", "a.wav", shared, "en"))
    assert not tasks.can_be_asked(Utterance("a", "a.wav", core, "en", group="g"))
    assert tasks.read(f"{english.names[0]} and {english.names[1]}.", "en") is None


def test_documents_teach_every_task_and_wording_and_hold_no_text_of_the_tests(tasks, tellers):
    never = {Statement(0, 0, 0, (kind, 0)).told(teller) for kind in range(4) for teller in tellers}
    rows = list(tasks.documents(1500, never, np.random.default_rng(0)))
    asked = [row["messages"][0]["content"] for row in rows]
    assert len({row["id"] for row in rows}) == 1500
    assert {row["language"] for row in rows} == {"en", "zh", "fr", "de", "ja"}
    answered = [row["messages"][1]["content"] for row in rows]
    assert not [text for text in asked + answered if any(one in text for one in never)]
    assert sum(text.startswith("Please do.\n") for text in asked) > 100, "the wordings that speech never meets"
    assert any(text.startswith("French!\n") for text in asked)
    bare = [row for row in rows if tasks.read(row["messages"][0]["content"], row["language"])]
    assert 0.05 < len(bare) / len(rows) < 0.15
    said = tasks.read(bare[0]["messages"][0]["content"], bare[0]["language"])
    assert bare[0]["messages"][1]["content"] == tasks.answer(said, bare[0]["language"], Prompt("continuation", 0))
    assert rows == list(tasks.documents(1500, never, np.random.default_rng(0)))


def test_references_name_each_task_and_each_language_that_is_translated_into(tasks, tellers):
    said = Statement(0, 0, 0, (0, 1))
    rows = list(tasks.references([Utterance("u", "a.wav", said.told(tellers[0]), "en", group="g")]))
    keys = [(row["task"], row.get("target_language")) for row in rows]
    assert len(keys) == len(ANSWERS) and ("translation", "fr") in keys and ("person", None) in keys
    rows = list(tasks.references([Utterance("u", "a.wav", said.told(tellers[1]), "zh", group="g")]))
    assert [row["target_language"] for row in rows if row["task"] == "translation"] == ["en", "fr"]


def test_a_continuation_hangs_on_all_that_was_said(tasks, tellers):
    """An arm that is trained by it alone is a baseline: what it does not need, no connector would learn to hear."""
    for teller in tellers:
        code, statements = teller.language.language, _some_statements(teller)
        answers = {tasks.answer(said, code, Prompt("continuation", 0)) for said in statements}
        assert len(answers) == len(statements) > 100, code


def _some_statements(teller):
    return [
        Statement(person, attribute, wording, (kind, place))
        for person in range(2)
        for attribute in range(len(teller.tables))
        for wording in range(len(teller.tables[0].facts))
        for kind, table in enumerate(teller.tables)
        for place in range(len(table.values))
    ]


def test_a_statement_whose_answer_is_a_text_of_the_tests_is_known(tasks, tellers):
    english, french = tellers[0], tellers[2]
    said = Utterance("u", "a.wav", Statement(1, 0, 0, (0, 1)).told(english), "en", group="g")
    rewritten, continued = (Statement(*it, (0, 1)).told(english) for it in ((1, 0, 1), (2, 0, 0)))
    for text in (rewritten, continued, Statement(1, 0, 0, (0, 1)).told(french)):
        assert tasks.leads_to(said, {text}), text
    assert not tasks.leads_to(said, {Statement(1, 0, 2, (0, 1)).told(english)})


def test_a_task_that_nobody_knows_the_answer_of_is_refused(tellers):
    with pytest.raises(UserError, match="no right answer to sentiment: it knows continuation"):
        SpokenTasks(tellers, pool_of({"tasks": {"sentiment": wordings()}}, "here"))


def test_bare_clauses_are_one_fact_each(tellers):
    size = load_size("tiny_five")
    size.bare_clauses = True
    bare = tellers_of(size, 0)
    found = FreeSentences(bare, np.random.default_rng(1)).clauses(30, IN_TRAINING)
    for sentence in found:
        people, _ = bare[0].mentions.read(sentence.texts["en"])
        assert len(people) == 1 and sentence.texts["en"].count(".") == 1
