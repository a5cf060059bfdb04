"""The verb: which corpora there are, and what happens to the output folder."""

from __future__ import annotations

import importlib
from typing import get_type_hints

import pytest

from cslm.errors import UserError
from cslm.synthesis import prepare_corpus as module
from cslm.synthesis.prepare_corpus import CORPORA, main, prepare_corpus


@pytest.fixture
def audio(tmp_path):
    folder = tmp_path / "audio"
    folder.mkdir()
    (folder / "a.wav").write_bytes(b"")
    (folder / "table.tsv").write_text("id\ttext\na\thello\n")
    return folder


def options(audio, language="en"):
    return ["--audio_dir", str(audio), "--table", "table.tsv", "--language", language]


@pytest.mark.parametrize("name", CORPORA)
def test_every_corpus_has_a_function_with_a_config(name):
    module_name, function_name = CORPORA[name].split(":")
    function = getattr(importlib.import_module(module_name), function_name)
    assert set(get_type_hints(function)) == {"output", "config", "return"}


def test_a_second_run_with_the_same_options_does_nothing(tmp_path, audio, capsys):
    main(["table", str(tmp_path / "out"), *options(audio)])
    before = (tmp_path / "out" / "manifest.jsonl").stat().st_mtime_ns
    main(["table", str(tmp_path / "out"), *options(audio)])
    assert (tmp_path / "out" / "manifest.jsonl").stat().st_mtime_ns == before
    assert "already there" in capsys.readouterr().out


def test_a_corpus_was_made_without_a_word_on_how_large_it_is(tmp_path, audio, capsys):
    main(["table", str(tmp_path / "out"), *options(audio)])
    lines = len((tmp_path / "out" / "manifest.jsonl").read_text().splitlines())
    assert f"made; {lines} utterances in manifest.jsonl" in capsys.readouterr().out


def test_a_corpus_made_before_an_option_came_is_the_same(tmp_path, audio):
    assert prepare_corpus("table", tmp_path / "out", options(audio))
    path = tmp_path / "out" / "config.yaml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(line for line in lines if not line.startswith(("max_rejected_share", "quoting", "columns")))
    )
    assert not prepare_corpus("table", tmp_path / "out", options(audio))
    with pytest.raises(UserError, match="another run"):
        prepare_corpus("table", tmp_path / "out", [*options(audio), "--quoting", "none"])


def test_another_run_in_the_folder_is_left_alone(tmp_path, audio):
    assert prepare_corpus("table", tmp_path / "out", options(audio))
    with pytest.raises(UserError, match="another run: language is en there and zh here; choose"):
        prepare_corpus("table", tmp_path / "out", options(audio, "zh"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(UserError, match=r"mine: is not empty"):
        prepare_corpus("table", tmp_path / "mine", options(audio))
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]


def test_nothing_is_left_of_a_run_that_failed(tmp_path, audio, monkeypatch):
    def fail(output, config: module.Any) -> None:
        (output / "half.jsonl").write_text("half")
        raise UserError("no more")

    monkeypatch.setattr("cslm.corpora.table.prepare_table", fail)
    monkeypatch.setattr(module, "get_type_hints", lambda _: {"config": _table_config()})
    with pytest.raises(UserError, match="no more"):
        prepare_corpus("table", tmp_path / "out", options(audio))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audio"]


def _table_config():
    return importlib.import_module("cslm.corpora.table").TableConfig


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "usage"),
        (["village"], "usage"),
        (["atlantis", "OUT"], "no corpus 'atlantis'; choose one of village"),
        (["village", "OUT", "--colour", "red"], "colour"),
        (["village", "OUT", "--seed", "red"], "seed"),
        (["village", "OUT", "--size", "huge"], "huge"),
    ],
)
def test_wrong_arguments_are_named(tmp_path, arguments, says):
    given = [str(tmp_path / "out") if argument == "OUT" else argument for argument in arguments]
    with pytest.raises(UserError, match=says):
        main(given)
    assert list(tmp_path.iterdir()) == []


def test_a_file_where_the_folder_should_be(tmp_path, audio):
    with pytest.raises(UserError, match="is a file"):
        prepare_corpus("table", audio / "a.wav", options(audio))
