"""A table of pairs as a translator, in the layouts that such tables have."""

from __future__ import annotations

import gzip
import json

import pytest

from cslm.errors import UserError
from cslm.synthesis.failure import Failure
from cslm.synthesis.translator_config import TableTranslatorConfig, TranslatorConfig
from cslm.synthesis.translators import open_translator

PAIRS = [("The dog ran.", "Le chien courut."), ("Tom  saw it.", "Tom le vit.")]


def opened(path):
    return open_translator(TranslatorConfig(table=TableTranslatorConfig(str(path))))


@pytest.fixture(params=["tsv", "csv", "jsonl", "of_pairs.jsonl", "tsv.gz"])
def table(request, tmp_path):
    """One content in every layout."""
    path = tmp_path / f"table.{request.param}"
    if request.param == "tsv":
        path.write_text("en\tfr\n" + "".join(f"{en}\t{fr}\n" for en, fr in PAIRS))
    elif request.param == "tsv.gz":
        path.write_bytes(gzip.compress(("eng\tfr_FR\n" + "".join(f"{en}\t{fr}\n" for en, fr in PAIRS)).encode()))
    elif request.param == "csv":
        path.write_text("en,fr\n" + "".join(f'"{en}","{fr}"\n' for en, fr in PAIRS))
    elif request.param == "jsonl":
        path.write_text("".join(json.dumps({"id": "1", "en": en, "fr": fr}) + "\n" for en, fr in PAIRS))
    else:
        rows = [{"source_language": "en", "target_language": "fr", "source": en, "target": fr} for en, fr in PAIRS]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_layout_says_the_same_both_ways(table):
    translator = opened(table)
    assert translator.translate(["The dog  ran. ", "Tom saw it.", "A cat."], "en", "fr") == [
        "Le chien courut.",
        "Tom le vit.",
        Failure("stands not in the table of translations"),
    ]
    assert translator.translate(["Tom le vit."], "fr", "en") == ["Tom saw it."]


def test_three_languages_and_empty_cells(tmp_path):
    path = tmp_path / "table.tsv"
    path.write_text("en\tfr\tde\nYes.\tOui.\tJa.\nNo.\t\tNein.\n")
    translator = opened(path)
    assert translator.translate(["Oui."], "fr", "de") == ["Ja."]
    assert translator.translate(["No."], "en", "de") == ["Nein."]
    assert isinstance(translator.translate(["No."], "en", "fr")[0], Failure)


def test_of_two_translations_the_first_is_taken_and_that_is_said(tmp_path, capsys):
    path = tmp_path / "table.tsv"
    path.write_text("en\tfr\nHi.\tSalut.\nHi.\tBonjour.\nHi.\tSalut.\n")
    assert opened(path).translate(["Hi."], "en", "fr") == ["Salut."]
    assert "1 texts stand there with further translations" in capsys.readouterr().out


def test_the_content_decides_and_the_name_does_not(tmp_path):
    for name, text in (("a", "Yes.\tOui.\n"), ("b", "Yes.\tOui.\n"), ("c", "Yes.\tSi.\n")):
        (tmp_path / f"{name}.tsv").write_text(f"en\tfr\n{text}")
    facts = {name: opened(tmp_path / f"{name}.tsv").facts("en", "fr") for name in "abc"}
    assert facts["a"] == facts["b"] != facts["c"]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("table.tsv", "en\tfr\nYes.\n", "line 2: has 1 columns, the header 2"),
        ("table.tsv", "english words\tfr\nYes.\tOui.\n", "line 1: 'english words' is no language tag"),
        ("table.jsonl", '{"en": "Yes."}\n', "line 1: is no pair of texts"),
        ("table.jsonl", '{"en": "Yes.", "fr": 1}\n', "line 1: is no pair of texts"),
        ("table.xlsx", "en\tfr\n", "ends in .tsv, .csv or .jsonl"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path, name, content, says):
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=says):
        opened(tmp_path / name)


def test_a_pair_of_languages_that_is_not_there_is_refused(table):
    with pytest.raises(UserError, match="has no pairs from en into de; it has en-fr, fr-en"):
        opened(table).facts("en", "de")
    with pytest.raises(UserError, match="no such table"):
        opened("nowhere.tsv")
