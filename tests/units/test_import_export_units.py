from __future__ import annotations

import json

import numpy as np
import pytest

from cslm.cli import dispatch
from cslm.errors import UserError
from cslm.units.export_units import ExportUnitsConfig, export_units
from cslm.units.import_units import ImportUnitsConfig, import_units
from cslm.units.store import UnitStore
from cslm.units.tokenize_corpus import TokenizeCorpusConfig, tokenize_corpus
from cslm.units.verify import VerifyConfig, verify


def lines(file, *records):
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(file)


def take(tmp_path, *records, **options):
    given = {"codebook_sizes": [16], "frame_rate_hz": 10.0, "language": "en", **options}
    return import_units(ImportUnitsConfig([lines(tmp_path / "u.jsonl", *records)], str(tmp_path / "s"), **given))


@pytest.mark.parametrize("repeats", ["merged", "kept"])
def test_what_is_exported_comes_back(corpus, card, tmp_path, repeats):
    tokenize_corpus(TokenizeCorpusConfig([str(corpus)], str(card), str(tmp_path / "a"), num_workers=1))
    dispatch(["export-units", str(tmp_path / "a"), "--output", str(tmp_path / "u.jsonl"), "--repeats", repeats])
    own = ["--tokenizer", str(card), "--manifest", str(corpus)]
    dispatch(["import-units", str(tmp_path / "u.jsonl"), "--output", str(tmp_path / "b"), *own])
    first, second = UnitStore.open(tmp_path / "a"), UnitStore.open(tmp_path / "b")
    assert first.fingerprint == second.fingerprint
    for one, other in zip(first, second, strict=True):
        assert one.units.ids.tolist() == other.units.ids.tolist()
        assert one.units.durations.tolist() == other.units.durations.tolist()
        assert (one.id, one.text, one.language, one.speaker, one.group, one.words) == (
            *(other.id, other.text, other.language, other.speaker, other.group),
            other.words,
        )
    verify(VerifyConfig(str(tmp_path / "b"), str(card), [str(corpus)]))


def test_what_others_write(tmp_path):
    store = take(
        tmp_path,
        {"key": "s3", "code": [3, 3, 3, 1]},
        {"id": "string", "units": "<5><5> <2>", "text": "hi", "language": "fr", "duration_sec": 0.31},
        {"id": 7, "units": [[4], [4]]},
    )
    rows = list(store)
    assert [(row.id, row.language, row.text) for row in rows] == [
        ("s3", "en", ""),
        ("string", "fr", "hi"),
        ("7", "en", ""),
    ]
    assert [row.units.ids[:, 0].tolist() for row in rows] == [[3, 1], [5, 2], [4]]
    assert [row.units.durations.tolist() for row in rows] == [[3, 1], [2, 1], [2]]
    assert [row.duration_sec for row in rows] == [0.4, 0.31, 0.2]
    assert store.fingerprint == "unknown"


def test_several_codebooks(tmp_path):
    store = take(tmp_path, {"id": "a", "units": "<3><1:1><0><1:2>"}, codebook_sizes=[4, 4])
    assert store.row(0).units.ids.tolist() == [[3, 1], [0, 2]]
    export_units(ExportUnitsConfig(str(store.path), str(tmp_path / "out.jsonl")))
    assert json.loads((tmp_path / "out.jsonl").read_text())["units"] == "<3><1:1><0><1:2>"


@pytest.mark.parametrize(
    ("record", "options", "says"),
    [
        ({"units": [1]}, {}, "line 1: no field id; it has units"),
        ({"id": "a", "code2": [1]}, {}, "line 1: no field units; it has id, code2"),
        ({"id": "a", "units": [1]}, {"language": None}, "does not say its language"),
        ({"id": "a", "units": [16]}, {}, "a unit outside its codebook of 16: 16"),
        ({"id": "a", "units": [-1]}, {}, "a unit outside"),
        ({"id": "a", "units": []}, {}, "no units, or not numbers"),
        ({"id": "a", "units": ["x"]}, {}, "no units, or not numbers"),
        ({"id": "a", "units": [[1, 2]]}, {}, "units of 2 codebooks, 1 are expected"),
        ({"id": "a", "units": [[1], [1, 2]]}, {}, "rows of units of different lengths"),
        ({"id": "a", "units": "<1><sosp>"}, {}, "'<sosp>' stands among the units"),
        ({"id": "a", "units": "<1><1:2>"}, {}, "do not go through 1 codebooks"),
        ({"id": "a", "units": [1, 2], "durations": [1]}, {}, "durations must be 2 numbers"),
        ({"id": "a", "units": [1]}, {"codebook_sizes": None}, "name the card"),
        ({"id": "a", "units": [3, -1]}, {}, "line 1: a unit outside its codebook of 16: -1"),
        ({"id": "a", "units": [1], "speaker": 14}, {}, "line 1: speaker must be text, not 14"),
        ({"id": "a", "units": [1], "group": 3}, {}, "line 1: group must be text, not 3"),
        ({"id": "a", "units": [1], "text": ["one"]}, {}, "line 1: text must be text, not"),
        ({"id": "a", "units": [1], "duration_sec": "abc"}, {}, "line 1: duration_sec must be a number of seconds"),
        ({"id": "a", "units": [1], "duration_sec": -3}, {}, "line 1: duration_sec must be a number of seconds, not -3"),
        ({"id": "a\ud83d", "units": [1]}, {}, "line 1: id must be text"),
        ({"id": "a", "units": [1], "text": "\ud83d"}, {}, "line 1: text holds half of a Unicode character"),
        ({"id": "a", "units": [1], "language": "english"}, {}, "line 1: 'english' is no language tag"),
        ({"id": "a", "units": [1], "durations": [[1], [1, 2]]}, {}, "durations must be 1 numbers"),
        ({"id": "a", "units": [1]}, {"frame_rate_hz": 0.0}, "must be more than 0"),
    ],
)
def test_bad_lines_are_named_and_leave_no_store(tmp_path, record, options, says):
    with pytest.raises(UserError, match=says):
        take(tmp_path, record, **options)
    assert not (tmp_path / "s" / "header.json").exists()


def test_an_id_twice(tmp_path):
    with pytest.raises(UserError, match="line 2: the id 'a' stands in .*line 1 too"):
        take(tmp_path, {"id": "a", "units": [1]}, {"id": "a", "units": [2]})


def test_a_bad_line_far_down_leaves_nothing_behind(tmp_path):
    rows = [{"id": str(i), "units": [1]} for i in range(1500)]
    with pytest.raises(UserError, match="line 1501: a unit outside"):
        take(tmp_path, *rows, {"id": "x", "units": [99]})
    assert not (tmp_path / "s").exists()
    assert len(take(tmp_path, *rows)) == 1500


@pytest.mark.parametrize(
    "units", ["71 12 57", ["71", "12", "57"], "<71><12><57>", "<Un71> <Un12> <Un57>", [71, 12, 57]]
)
def test_ways_to_write_units(tmp_path, units):
    store = take(tmp_path, {"id": "a", "units": units}, codebook_sizes=[100])
    assert store.row(0).units.ids[:, 0].tolist() == [71, 12, 57]


def test_lines_of_other_tools(tmp_path):
    (tmp_path / "n.txt").write_text("a/one|71 12 57\n\ntwo|3\n")
    (tmp_path / "k.km").write_text("1 2 2\n4\n")
    options = {"codebook_sizes": [100], "frame_rate_hz": 50.0, "language": "en"}
    named = import_units(ImportUnitsConfig([str(tmp_path / "n.txt")], str(tmp_path / "s1"), **options))
    assert [(row.id, row.units.ids[:, 0].tolist()) for row in named] == [("a/one", [71, 12, 57]), ("two", [3])]
    alone = import_units(ImportUnitsConfig([str(tmp_path / "k.km")], str(tmp_path / "s2"), **options))
    assert [row.id for row in alone] == ["k-00000001", "k-00000002"]
    (tmp_path / "k.tsv").write_text("/data\ndeep/a.wav\t100\nb.wav\t200\n")
    beside = import_units(ImportUnitsConfig([str(tmp_path / "k.km")], str(tmp_path / "s3"), **options))
    assert [row.id for row in beside] == ["deep/a", "b"]
    (tmp_path / "x.txt").write_text("a|1\nhello\n")
    with pytest.raises(UserError, match="x.txt, line 2: is neither a JSON object nor NAME|UNITS"):
        import_units(ImportUnitsConfig([str(tmp_path / "x.txt")], str(tmp_path / "s4"), **options))
    assert not (tmp_path / "s4").exists()


def test_repeats_are_merged_or_kept(tmp_path):
    store = take(tmp_path, {"id": "a", "units": [1, 1, 2]})
    with pytest.raises(UserError, match="merged or kept"):
        export_units(ExportUnitsConfig(str(store.path), str(tmp_path / "o.jsonl"), "dropped"))
    export_units(ExportUnitsConfig(str(store.path), str(tmp_path / "o.jsonl"), "kept"))
    assert json.loads((tmp_path / "o.jsonl").read_text())["units"] == "<1><1><2>"
    assert np.isclose(store.header.audio_sec, 0.3)


@pytest.mark.parametrize("units", ["<" + "9" * 20 + ">", "9" * 5000, "1 " + "9" * 12])
def test_a_unit_of_too_many_digits_is_named(tmp_path, units):
    with pytest.raises(UserError, match="line 1: a unit outside its codebook of 16: 9999"):
        take(tmp_path, {"id": "a", "units": units})


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "is empty"),
        ("1 2\n", "has 1 lines, .*names 2 files"),
        ("a|1 2\n3 4\n", "line 2: is of another kind than the first line"),
    ],
)
def test_units_of_others_that_end_early_or_change_their_kind(tmp_path, content, says):
    (tmp_path / "k.km").write_text(content)
    (tmp_path / "k.tsv").write_text("/data\na.wav\t100\nb.wav\t200\n")
    config = ImportUnitsConfig(
        [str(tmp_path / "k.km")], str(tmp_path / "s"), codebook_sizes=[100], frame_rate_hz=50.0, language="en"
    )
    with pytest.raises(UserError, match=says):
        import_units(config)
    assert not (tmp_path / "s").exists()
