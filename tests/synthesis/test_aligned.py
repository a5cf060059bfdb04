"""Corpora that are aligned already: by ids or by a table, from manifests or from tables of people's recordings."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from cslm.corpora.manifest import Utterance, read_manifest, write_manifest
from cslm.errors import UserError
from cslm.synthesis.prepare_corpus import prepare_corpus


def speak(path, generator):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, generator.normal(size=800) * 0.1, 8000)


@pytest.fixture
def prompts(tmp_path, generator):
    """Prompts as people record them: a table and a folder a language; French lacks the third, English the fifth."""
    for language, numbers in {"en": (1, 2, 3, 4), "fr": (1, 2, 4, 5)}.items():
        rows = [(f"dir/say-{number}", f"{language} {number}") for number in numbers]
        (tmp_path / f"{language}.tsv").write_text("id\ttext\n" + "".join(f"{name}\t{text}\n" for name, text in rows))
        for name, _ in rows:
            speak(tmp_path / language / f"{name}.wav", generator)
    return tmp_path


def tables(prompts):
    return ["--tables", f"{{en: {prompts}/en.tsv, fr: {prompts}/fr.tsv}}"]


def test_recordings_that_say_the_same_by_id_are_one_manifest_by_one_command(prompts, tmp_path, capsys):
    assert prepare_corpus("aligned", tmp_path / "out", tables(prompts))
    utterances = list(read_manifest(tmp_path / "out" / "manifest.jsonl"))
    assert [one.id for one in utterances[:2]] == ["en-dir/say-1", "en-dir/say-2"]
    groups = {one.id: one.group for one in utterances}
    assert groups["en-dir/say-1"] == groups["fr-dir/say-1"] == "dir/say-1"
    assert groups["en-dir/say-3"] is None and groups["fr-dir/say-5"] is None
    assert all((tmp_path / "out" / one.audio).is_file() for one in utterances)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["config.yaml", "manifest.jsonl"]
    told = capsys.readouterr().out
    assert "3 groups, 3 of them in all of en, fr" in told
    assert "en: 4 utterances, 1 without a group (as dir/say-3), 4 in no story" in told


def test_groups_in_a_row_become_stories_of_what_all_languages_have(prompts, tmp_path):
    given = [*tables(prompts), "--sentences_per_document", "2", "--test_share", "0.5"]
    prepare_corpus("aligned", tmp_path / "out", given)
    utterances = list(read_manifest(tmp_path / "out" / "manifest.jsonl"))
    places = {(one.document, one.place, one.language): one.id for one in utterances if one.document is not None}
    assert {key[:2] for key in places} == {("story-000000", 0), ("story-000000", 1), ("story-000001", 0)}
    assert places["story-000001", 0, "fr"] == "fr-dir/say-4"
    parts = [
        list(read_manifest(tmp_path / "out" / f"story_{name}.jsonl"))
        for name in ("train", "test")
        if (tmp_path / "out" / f"story_{name}.jsonl").is_file()
    ]
    assert sorted(one.id for part in parts for one in part) == sorted(one.id for one in utterances)


def test_manifests_and_a_table_of_pairs(tmp_path, generator):
    for language, names in {"en": "abc", "fr": "xyz"}.items():
        for name in names:
            speak(tmp_path / language / f"{name}.wav", generator)
        utterances = [
            Utterance(name, f"{language}/{name}.wav", f"text {name}", language, document="d", place=place)
            for place, name in enumerate(names)
        ]
        write_manifest(utterances, tmp_path / f"{language}.jsonl")
    (tmp_path / "pairs.tsv").write_text("fr\ten\nx\ta\nz\tb\n\tc\n")
    given = ["--manifests", f"[{tmp_path}/en.jsonl, {tmp_path}/fr.jsonl]", "--pairs", str(tmp_path / "pairs.tsv")]
    prepare_corpus("aligned", tmp_path / "out", given)
    found = {one.id: (one.group, one.document, one.place) for one in read_manifest(tmp_path / "out" / "manifest.jsonl")}
    assert found["a"] == ("000001", "d", 0) and found["x"] == ("000001", "d", 0)
    assert found["b"][0] == found["z"][0] == "000002" and found["c"][0] is None and found["y"][0] is None


@pytest.mark.parametrize(
    ("pairs", "says"),
    [
        ("en\tde\n", "its header names en, de; the utterances are in en, fr"),
        ("en\tfr\na\tq\n", "line 2: no utterance of fr has the id 'q'"),
        ("en\tfr\na\tx\na\ty\n", "line 3: 'a' of en stands in line 2 too"),
        ("en\tfr\na\n", "line 2: has 1 columns, the header 2"),
    ],
)
def test_tables_of_pairs_that_do_not_fit_are_refused(tmp_path, generator, pairs, says):
    for language, names in {"en": "ab", "fr": "xy"}.items():
        for name in names:
            speak(tmp_path / language / f"{name}.wav", generator)
        write_manifest(
            [Utterance(name, f"{language}/{name}.wav", name, language) for name in names],
            tmp_path / f"{language}.jsonl",
        )
    (tmp_path / "pairs.tsv").write_text(pairs)
    given = ["--manifests", f"[{tmp_path}/en.jsonl, {tmp_path}/fr.jsonl]"]
    with pytest.raises(UserError, match=says):
        prepare_corpus("aligned", tmp_path / "out", [*given, "--pairs", str(tmp_path / "pairs.tsv")])
    with pytest.raises(UserError, match="no two utterances of different languages say the same thing"):
        prepare_corpus("aligned", tmp_path / "out", given)
    with pytest.raises(UserError, match="all utterances are in en: two languages"):
        prepare_corpus("aligned", tmp_path / "out", ["--manifests", f"[{tmp_path}/en.jsonl]"])


def test_rows_that_cannot_be_used_are_listed(prompts, tmp_path):
    with (prompts / "fr.tsv").open("a") as file:
        file.write("dir/say-6\t\n")
    given = [*tables(prompts), "--max_rejected_share", "0.2"]
    prepare_corpus("aligned", tmp_path / "out", given)
    assert "the text is empty" in (tmp_path / "out" / "rejected.jsonl").read_text()


def write_told(path, language, generator, rows):
    """A manifest of one language: id, and what else a row has."""
    utterances = []
    for name, facts in rows.items():
        speak(path.parent / language / f"{name}.wav", generator)
        utterances.append(Utterance(name, f"{language}/{name}.wav", f"text {name}", language, **facts))
    write_manifest(utterances, path)


def test_a_story_was_for_training_in_one_language_and_for_tests_in_another(tmp_path, generator):
    for language in ("en", "fr"):
        rows = {f"s{number}": {"document": f"{language}-{number // 2}", "place": number % 2} for number in range(24)}
        write_told(tmp_path / f"{language}.jsonl", language, generator, rows)
    given = ["--manifests", f"[{tmp_path}/en.jsonl, {tmp_path}/fr.jsonl]", "--test_share", "0.5"]
    prepare_corpus("aligned", tmp_path / "out", given)
    parts = [
        {(one.group, one.language) for one in read_manifest(tmp_path / "out" / f"story_{name}.jsonl")}
        for name in ("train", "test")
    ]
    assert all(parts) and not {group for group, _ in parts[0]} & {group for group, _ in parts[1]}
    assert sum(map(len, parts)) == 48


def test_groups_of_manifests_were_not_looked_at(tmp_path, generator):
    write_told(tmp_path / "en.jsonl", "en", generator, {"a": {"group": "g"}, "a2": {"group": "g"}, "b": {}})
    write_told(tmp_path / "fr.jsonl", "fr", generator, {"x": {"group": "g"}, "b": {}})
    given = ["--manifests", f"[{tmp_path}/en.jsonl, {tmp_path}/fr.jsonl]"]
    prepare_corpus("aligned", tmp_path / "out", given)
    groups = [(one.language, one.group) for one in read_manifest(tmp_path / "out" / "manifest.jsonl")]
    assert groups == [("en", "g"), ("en", "g"), ("en", None), ("fr", "g"), ("fr", None)]
    (tmp_path / "pairs.tsv").write_text("en\tfr\nb\tb\n")
    prepare_corpus("aligned", tmp_path / "paired", [*given, "--pairs", str(tmp_path / "pairs.tsv")])
    groups = [(one.language, one.group) for one in read_manifest(tmp_path / "paired" / "manifest.jsonl")]
    assert groups == [("en", None), ("en", None), ("en", "000001"), ("fr", None), ("fr", "000001")]
    (tmp_path / "none.tsv").write_text("")
    with pytest.raises(UserError, match="none.tsv: is empty; its header names the languages"):
        prepare_corpus("aligned", tmp_path / "none", [*given, "--pairs", str(tmp_path / "none.tsv")])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("{zh: ROOT/en.tsv, zh_CN: ROOT/fr.tsv}", "--tables names one language twice: zh, zh_CN"),
        ("{en: ROOT/en.tsv, fr: ROOT/no.tsv}", r"no\.tsv: no such table of fr; correct --tables"),
        ("{en: ROOT/en.tsv, fr: ROOT/alone.tsv}", r"alone: no such folder.*--audio_dirs '\{fr: \.\.\.\}' names it"),
    ],
)
def test_tables_that_cannot_be_read_were_a_traceback_or_another_options_fault(prompts, tmp_path, given, says):
    (tmp_path / "alone.tsv").write_text("id\ttext\n")
    with pytest.raises(UserError, match=says):
        prepare_corpus("aligned", tmp_path / "out", ["--tables", given.replace("ROOT", str(prompts))])


@pytest.mark.parametrize(("share", "kept"), [("1", "3 of 3"), ("0.0001", "0 of 3")])
def test_a_part_without_a_story_was_an_empty_file(prompts, tmp_path, share, kept):
    (prompts / "en.tsv").write_text("id\ttext\n" + "".join(f"dir/say-{number}\ta\n" for number in (1, 2, 4)))
    (prompts / "fr.tsv").write_text("id\ttext\n" + "".join(f"dir/say-{number}\ta\n" for number in (1, 2, 4)))
    with pytest.raises(UserError, match=f"keeps {kept} stories or groups for tests, and both parts need"):
        prepare_corpus("aligned", tmp_path / "out", [*tables(prompts), "--test_share", share])


@pytest.mark.parametrize("given", [[], ["--manifests", "[a.jsonl]", "--tables", "{en: a.tsv}"]])
def test_manifests_or_tables_and_not_both(tmp_path, given):
    with pytest.raises(UserError, match="give either --manifests or --tables"):
        prepare_corpus("aligned", tmp_path / "out", given)


def test_people_in_three_languages(tmp_path):
    """Human recordings, where a folder of them is named: everything is in the manifest, with groups of three."""
    folder = os.environ.get("CSLM_PROMPTS")
    if not folder:
        pytest.skip("CSLM_PROMPTS names no folder with {en,fr,ru}.tsv and their recordings")
    given = ["--tables", f"{{en: {folder}/en.tsv, fr: {folder}/fr.tsv, ru: {folder}/ru.tsv}}"]
    given += ["--sentences_per_document", "8", "--test_share", "0.1"]
    assert prepare_corpus("aligned", tmp_path / "out", given)
    utterances = list(read_manifest(tmp_path / "out" / "manifest.jsonl"))
    rows = sum(len((Path(folder) / f"{name}.tsv").read_text().splitlines()) - 1 for name in ("en", "fr", "ru"))
    assert len(utterances) == rows
    sizes = Counter(Counter(one.group for one in utterances if one.group).values())
    assert sizes[3] >= 490
    assert prepare_corpus(
        "topic_pairs",
        tmp_path / "pairs",
        ["--manifests", f"[{tmp_path}/out/story_test.jsonl]", "--languages", "[en, fr]"],
    )
    assert (tmp_path / "pairs" / "story_pairs.jsonl").stat().st_size
