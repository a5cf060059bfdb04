"""How each language puts words together: articles, cases, elision, and what the synthesizer is given."""

from __future__ import annotations

import re

import pytest
import yaml

from cslm.audio.espeak import Synthesizer
from cslm.corpora.word_times import word_starts
from cslm.errors import UserError
from cslm.village.sentences import Question, Teller
from cslm.village.speech import Line, character_times, speak_lines
from cslm.village.tables import VILLAGE_DATA, load_language, load_size
from cslm.village.world import make_world


@pytest.fixture(scope="module")
def full():
    return load_size("full")


@pytest.fixture(scope="module")
def languages(full):
    return {code: load_language(code, full) for code in ("en", "zh", "fr", "de", "ja")}


@pytest.mark.parametrize(
    ("code", "template", "words", "told"),
    [
        ("fr", "{pet:le} et {pet2:un}", {"pet": "écureuil", "pet2": "oie"}, "l'écureuil et une oie"),
        ("fr", "{pet:le} dort", {"pet": "hamster"}, "le hamster dort"),
        ("fr", "{food:du} pour {name1}", {"food": "langouste", "name1": "Hugo"}, "de la langouste pour Hugo"),
        ("fr", "{food:du}, {food:le}", {"food": "asperges"}, "des asperges, les asperges"),
        (
            "fr",
            "{place:du} jusqu'{place2:au}",
            {"place": "hôpital", "place2": "palais"},
            "de l'hôpital jusqu'au palais",
        ),
        ("fr", "jusqu'{place:au}", {"place": "université"}, "jusqu'à l'université"),
        ("fr", "que {name1} dort", {"name1": "Olivia"}, "qu'Olivia dort"),
        ("fr", "que {name1} dort", {"name1": "Samuel"}, "que Samuel dort"),
        ("fr", "près {place:dun}", {"place": "fabrique"}, "près d'une fabrique"),
        ("de", "{pet:der} sieht {pet2:den}", {"pet": "Ziege", "pet2": "Leguan"}, "die Ziege sieht den Leguan"),
        ("de", "{pet:ein} frisst {food:den}", {"pet": "Krokodil", "food": "Gurken"}, "ein Krokodil frisst die Gurken"),
        ("de", "von {place:dem} zu {place2:dem}", {"place": "Markt", "place2": "Brücke"}, "vom Markt zur Brücke"),
        ("de", "bei {place:dem}", {"place": "Schloss"}, "beim Schloss"),
        ("ja", "{name1} は {food} を", {"name1": "ノア", "food": "いちご"}, "ノアはいちごを"),
        ("zh", "{name1} 吃 {food}", {"name1": "诺亚", "food": "草莓"}, "诺亚吃草莓"),
    ],
)
def test_words_are_put_together_as_the_language_does(languages, code, template, words, told):
    assert languages[code].tell(template, **words) == told


def test_the_synthesizer_gets_words_apart_and_particles_as_they_sound(languages, full, generator):
    teller = Teller(languages["ja"], full, make_world(full, [10] * 6, generator))
    question = Question((0, 0), 0)
    text, said = teller.answer(question), teller.said(lambda aloud: aloud.answer(question))
    assert text.startswith("ソフィーはこのむらで") and said.startswith("ソフィー わ この むら で ")
    assert len(re.sub(r"\s", "", said)) == len(text) and "では" not in said
    assert Teller(languages["zh"], full, teller.world).said(lambda aloud: aloud.answer(question)) is None


def test_the_characters_of_a_word_share_its_time():
    times = character_times("ノアは、いう。", [("ノア", 0.0, 0.4), ("わ", 0.4, 0.5), ("いう", 0.7, 1.0)])
    expected = [("ノ", 0.0, 0.2), ("ア", 0.2, 0.4), ("は", 0.4, 0.5), ("い", 0.7, 0.85), ("う", 0.85, 1.0)]
    assert times == expected


def test_japanese_has_a_time_for_every_character(tmp_path):
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    text, said = "こんにちはノア、これはパンです。", "こんにちわ ノア、 これ わ パン です。"
    line = Line("ja-a-000000", text, "ja", "jpx/ja+m1", 190, 50, said=said)
    (utterance,) = speak_lines([line], tmp_path, 1)
    assert "".join(word for word, _, _ in utterance.words) == "こんにちはノアこれはパンです"
    assert word_starts(text, utterance.words) == [i for i, letter in enumerate(text) if letter.isalnum()]
    assert utterance.text == text and utterance.words[-1][2] <= utterance.duration_sec


@pytest.mark.parametrize("code", ["en", "fr", "de"])
def test_every_name_and_value_is_one_word_of_the_synthesizer(languages, code):
    """A word that espeak-ng reads in pieces, or spells, would be heard as another."""
    pytest.importorskip("espeakng_loader", reason="the extra tts is not installed")
    language, synthesizer = languages[code], Synthesizer()
    for word in language.names + [value for table in language.attributes.values() for value in table.values]:
        assert [said for said, _, _ in synthesizer.speak(word, language.answer_voice.voice).words] == [word]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"articles": {}}, "needs articles."),
        ({"aloud": {"spelling": {"par": "pa"}}}, "give it as many characters"),
    ],
)
def test_a_table_whose_words_do_not_fit_is_named(tmp_path, change, says):
    table = yaml.safe_load((VILLAGE_DATA / "fr.yaml").read_text(encoding="utf-8")) | change
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(table, allow_unicode=True), encoding="utf-8")
    with pytest.raises(UserError, match=says):
        load_language(str(tmp_path / "mine.yaml"), load_size("tiny"))


def test_a_fact_that_hides_its_value_behind_an_apostrophe_is_refused(tmp_path):
    table = yaml.safe_load((VILLAGE_DATA / "fr.yaml").read_text(encoding="utf-8"))
    table["attributes"]["pet"]["facts"][2] = "chez {name} vit depuis longtemps déjà {value:le}"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(table, allow_unicode=True), encoding="utf-8")
    with pytest.raises(UserError, match="l'écureuil\" does not hold the word 'écureuil'"):
        load_language(str(tmp_path / "mine.yaml"), load_size("tiny"))


def test_a_plot_of_two_attributes_is_refused(tmp_path):
    table = yaml.safe_load((VILLAGE_DATA / "fr.yaml").read_text(encoding="utf-8"))
    table["tales"]["cooking"][0]["endings"][0] = "{name2} a mangé {food:le} et {pet:le}"
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(table, allow_unicode=True), encoding="utf-8")
    with pytest.raises(UserError, match=r"of cooking has 3 middles, 2 endings and the slots \['food', 'pet'\]"):
        load_language(str(tmp_path / "mine.yaml"), load_size("tiny"))


def test_one_gender_for_each_value(tmp_path):
    table = yaml.safe_load((VILLAGE_DATA / "de.yaml").read_text(encoding="utf-8"))
    table["attributes"]["pet"]["genders"] = ["m", "f"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(table, allow_unicode=True), encoding="utf-8")
    with pytest.raises(UserError, match="pet has 2 genders for 10 values"):
        load_language(str(tmp_path / "mine.yaml"), load_size("tiny"))
