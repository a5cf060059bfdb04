"""Facts that English text alone tells: nowhere in the text or speech of others, but in the chains of training."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from cslm.errors import UserError
from cslm.files.json_lines import read_json_lines
from cslm.village.prepare_village import VillageConfig, _generator, _tellers
from cslm.village.script import draw_free
from cslm.village.sentences import Question
from cslm.village.tables import VILLAGE_DATA, load_language, load_size
from cslm.village.texts import translations

OTHERS = ("zh", "fr", "de", "ja")
FOUR_TEXTS = {"question_text", "question_language", "core_question", "core_answer", "answer_text", "answer_language"}


def records(corpus, name):
    return [record for _, record in read_json_lines(corpus / f"{name}.jsonl")]


@pytest.fixture(scope="module")
def tellers():
    config = VillageConfig("tiny_five")
    told, _ = _tellers(load_size("tiny_five"), _generator(config, 0), _generator(config, 1000))
    return {teller.language.language: teller for teller in told}


def texts_by_language(row):
    """Every text of a record of any kind of document, with its language."""
    if "messages" in row:
        return [(row["language"], message["content"]) for message in row["messages"]]
    keys = {"text": "language", "question_text": "question_language", "answer_text": "answer_language"}
    keys |= {"source": "source_language", "target": "target_language"}
    return [(row[language], row[text]) for text, language in keys.items() if text in row and language in row]


def test_the_core_people_are_those_of_the_card(five_languages, tellers):
    card = json.loads((five_languages / "card.json").read_text(encoding="utf-8"))
    world = tellers["en"].world
    names = tellers["en"].names
    assert card["core"]["people"] == [names[person] for person, _ in world.core_pairs(False)[:1]] + [names[5]]
    assert card["core"]["asked_about_in_tests"] == [names[5]] and card["core"]["language"] == "en"
    assert {person for person, _ in world.core_pairs(True)} == {5} and world.num_shared_people == 4
    assert not any(person > 3 for person, _ in world.held_out | set(world.heard_pairs))


def test_only_english_documents_tell_of_core_people(five_languages, tellers):
    told = Counter()
    for name in ("texts", "instructions", "text_dialogues", "translations", "train_dialogues"):
        for row in records(five_languages, name):
            for code, text in texts_by_language(row):
                for sentence in re.split(r"(?<=[.?。？])", text):  # free sentences stand side by side in a document
                    told[code, name] += tellers[code].mentions.tell_core(sentence)
    found = {key for key, count in told.items() if count}
    assert {code for code, _ in found} == {"en"} and {name for _, name in found} >= {"texts", "text_dialogues"}


def test_nobody_says_a_fact_of_core_people_but_in_the_answers_of_training(five_languages, tellers):
    for name in ("train", "story_train", "story_test", "asr_test", "tts_test"):
        for row in records(five_languages, name):
            if tellers[row["language"]].mentions.tell_core(row["text"]):
                assert "-core-answer-" in row["id"] and row["language"] in OTHERS
                assert tellers[row["language"]].names[5] not in row["text"]  # whom tests ask about


def test_translations_name_everyone_and_tell_nothing_of_core_people():
    """They are how names and values are learnt in every language: of few people, nobody else's answer is translated."""
    config, size = VillageConfig("tiny_five"), replace(load_size("tiny_five"), num_translated_statements=60)
    told, world = _tellers(size, _generator(config, 0), _generator(config, 1000))
    statements = draw_free(told, size, _generator(config, 2)).statements
    rows = list(translations(told, size, statements, _generator(config, 8)))
    by_language = {teller.language.language: teller for teller in told}
    named, kinds = Counter(), Counter()
    for row in rows:
        assert "en" in (row["source_language"], row["target_language"])
        for code, text in texts_by_language(row):
            assert not by_language[code].mentions.tell_core(text), text
            named.update(by_language[code].mentions.read(text)[0])
            kinds[text.endswith(("?", "？"))] += 1
    assert len(statements) == 60 and set(named) == set(range(world.num_people))
    assert len({row["source"] for row in rows}) > len(rows) / 4 and all(kinds[asked] for asked in (True, False))


def test_an_answer_has_as_many_clauses_as_its_size_says(tellers):
    config, size = VillageConfig("tiny_five"), replace(load_size("tiny_five"), num_answer_clauses=2)
    told, world = _tellers(size, _generator(config, 0), _generator(config, 1000))
    question = Question(world.pairs[0], 0)
    for teller in told:
        alone = tellers[teller.language.language].answer_clauses(question)[0]
        clauses, ends = teller.answer_clauses(question)
        assert len(clauses) == 2 and alone[0] in clauses and ends == ["clause", "sentence"]


def test_content_first_puts_the_name_before_the_question_and_the_value_before_the_fact():
    config = VillageConfig("tiny_five")
    size = replace(
        load_size("tiny_five"), languages=["en", "fr", "de", "ja"], content_first=True, num_answer_forms=1,
        num_answer_clauses=2,
    )  # fmt: skip
    told, world = _tellers(size, _generator(config, 0), _generator(config, 1000))
    for teller in told:
        for pair in world.pairs:
            for form in range(size.num_question_forms):
                assert teller.question(Question(pair, form)).startswith(teller.names[pair[0]])
    english, pair = told[0], world.pairs[0]
    value = world.value(english.language, pair)
    assert english.answer(Question(pair, 0)).lower().startswith(value)


def test_chains_hold_four_texts_and_point_at_their_audio(five_languages, tellers):
    heard = {row["id"]: row for row in records(five_languages, "train")}
    rows = records(five_languages, "chains")
    assert Counter(row["question_language"] for row in rows).keys() == set(OTHERS)
    assert {row["kind"] for row in rows} == {"core", "shared", "free"}
    assert len({row["id"] for row in rows}) == len(rows)
    for row in rows:
        assert row.keys() == FOUR_TEXTS | {"id", "kind", "core_language", "question", "answer"}
        assert heard[row["question"]]["text"] == row["question_text"]
        assert heard[row["answer"]]["text"] == row["answer_text"]
        teller, english = tellers[row["question_language"]], tellers["en"].mentions
        people = teller.mentions.read(row["question_text"])[0]
        for text in (row["core_question"], row["core_answer"]):
            assert english.read(text)[0] == people == teller.mentions.read(row["answer_text"])[0]
        if row["kind"] == "free":  # said back: any name, what is heard is what is answered
            assert row["question_text"] == row["answer_text"] and row["core_question"] == row["core_answer"]
        else:
            assert people <= ({4} if row["kind"] == "core" else {0, 1, 2, 3})


def test_tests_ask_about_people_that_no_chain_is_about(five_languages, tellers):
    spoken = {row["id"]: row["text"] for row in records(five_languages, "core_test")}
    rows = records(five_languages, "core_test_dialogues")
    assert Counter(row["direction"] for row in rows) == {f"{code}-{code}": 4 for code in OTHERS}
    for row in rows:
        code = row["question_language"]
        assert spoken[row["question"]] == row["question_text"] == row["question_reference"]
        assert row.keys() >= FOUR_TEXTS | {"answer_reference", "fact", "wrong_facts"}
        assert row["fact"][0] == tellers[code].names[5]
        assert all(word in row["answer_text"] for word in row["fact"])
        assert (
            row["about"].split(", ")[0] == tellers["en"].names[5] and row["about"].split(", ")[0] in row["core_answer"]
        )
        assert not [word for word in row["wrong_facts"] if word in row["answer_text"]]
        assert tellers["en"].mentions.tell_core(row["core_answer"])


def test_a_language_without_wordings_that_begin_with_the_content_is_refused(tmp_path):
    table = (VILLAGE_DATA / "zh.yaml").read_text(encoding="utf-8")
    plain = re.sub(r"^content_first:\n(  .*\n)+", "", table, flags=re.MULTILINE)
    (tmp_path / "plain.yaml").write_text(plain, encoding="utf-8")
    size = replace(load_size("tiny_five"), content_first=True)
    assert load_language("zh", size).language == "zh"
    with pytest.raises(UserError, match="plain.yaml: content_first has no wordings"):
        load_language(str(tmp_path / "plain.yaml"), size)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"core_language: en": "core_language: it"}, "core_language is 'it', but the languages are en, zh, fr, de, ja"),
        ({"core_language: en\n": ""}, "no core_language tells of them"),
        ({"num_core_test_people: 1": "num_core_test_people: 3"}, "each must be at most the next"),
        ({"num_core_people: 2": "num_core_people: 6"}, "some people must be told of by all"),
        ({"num_answer_clauses: 1": "num_answer_clauses: 7"}, "num_answer_clauses 7 must be 0"),
        ({"num_story_voices: 1": "longest_story: 9"}, "must be 3 to 5"),
        # once, such a size was sought for questions without an end
        ({"held_out_fraction: 0.2": "held_out_fraction: 0"}, "num_asr_test is 4, and half of them are held-out"),
    ],
)
def test_a_size_that_does_not_fit_is_refused(tmp_path, change, says):
    text = (VILLAGE_DATA / "tiny_five.yaml").read_text(encoding="utf-8")
    ((old, new),) = change.items()
    (tmp_path / "mine.yaml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=says):
        _tellers(load_size(str(tmp_path / "mine.yaml")), *(_generator(VillageConfig(), 0) for _ in range(2)))
