"""A table of texts beside a folder of audio."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.audio.waveform import load_waveform, save_waveform
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.corpora.table import TableConfig, prepare_table
from cslm.errors import UserError
from cslm.synthesis.prepare_corpus import prepare_corpus


@pytest.fixture
def audio(tmp_path):
    for name in ("a", "b"):
        save_waveform(tmp_path / "audio" / "wav" / f"{name}.wav", np.zeros(100, dtype=np.float32), 8000)
    return tmp_path / "audio"


def table(audio, content, name="table.tsv", **options):
    (audio / name).write_text(content, encoding="utf-8")
    given = {"audio_dir": str(audio), "table": name, "language": "en", "path_template": "wav/{id}.wav", **options}
    output = audio.parent / "out"
    output.mkdir(exist_ok=True)
    prepare_table(output, TableConfig(**given))
    return output / "manifest.jsonl"


def test_rows_become_utterances_whose_audio_is_found(audio):
    manifest = table(audio, 'id\ttext\tvoice\na\tsay "hi"\tAnn\nb\tbye, now\tBob\n', speaker_column="voice")
    rows = list(read_manifest(manifest))
    assert [(row.id, row.text, row.speaker) for row in rows] == [("a", 'say "hi"', "Ann"), ("b", "bye, now", "Bob")]
    assert all(len(load_waveform(resolve_audio(manifest, row))[0]) == 100 for row in rows)


def test_commas_and_a_byte_order_mark(audio):
    manifest = table(audio, '\ufeffid,text\na,"one, two"\n', name="table.csv")
    assert [row.text for row in read_manifest(manifest)] == ["one, two"]


def test_a_row_without_audio_stays_and_is_counted(audio, capsys):
    assert len(list(read_manifest(table(audio, "id\ttext\na\tone\nc\ttwo\n")))) == 2
    assert "1 of 2 rows have no audio file, c is the first" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("id\ttext\na\tone\na\ttwo\n", {}, "line 3: the id 'a' stands in line 2 too"),
        ("name\ttext\na\tone\n", {}, "no column 'id'; its header has name, text"),
        ("", {}, "its header has nothing"),
        ("id\ttext\na\n", {}, "line 2: has not as many columns"),
        ("id\ttext\na\tone\ttwo\n", {}, "line 2: has not as many columns"),
        ("id\ttext\na\t\n", {}, "line 2: the text is empty"),
        ("id\ttext\na\tone\n", {"path_template": "{name}.wav"}, "'name' is no column"),
        (
            "id\ttext\na\tone\n",
            {"path_template": "{id}.flac"},
            "no file at .*; the first is looked for at .*a.flac; correct --path_template",
        ),
        ("id\ttext\na\tone\n", {"name": "table.dat"}, "--delimiter"),
        ("id\ttext\na\tone\n", {"table": "other.tsv"}, "other.tsv: no such table"),
        ("id\ttext\na\tone\n", {"audio_dir": "/nowhere"}, "/nowhere: no such folder"),
    ],
)
def test_what_does_not_fit_is_named(audio, content, options, says):
    with pytest.raises(UserError, match=says):
        table(audio, content, **options)


def test_text_in_another_encoding(audio):
    (audio / "table.tsv").write_bytes("id\ttext\na\tcafé\n".encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        prepare_table(audio, TableConfig(audio_dir=str(audio), table="table.tsv", language="fr"))


def test_real_chinese_questions(belle, tmp_path):
    options = ["--audio_dir", str(belle), "--table", "test.tsv", "--path_template", "wav/{id}.wav", "--language", "zh"]
    assert prepare_corpus("table", tmp_path / "out", options)
    manifest = tmp_path / "out" / "manifest.jsonl"
    rows = list(read_manifest(manifest))
    assert len(rows) == 100 and all(row.language == "zh" for row in rows)
    waveform, rate_hz = load_waveform(resolve_audio(manifest, rows[0]))
    assert rate_hz == 22050 and len(waveform) > rate_hz / 2
