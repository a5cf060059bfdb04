"""The manifest: what is written is read, and a bad line is named."""

from __future__ import annotations

import gzip
import json
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cslm.corpora.manifest import Utterance, audio_from, read_manifest, resolve_audio, write_manifest
from cslm.errors import UserError
from cslm.files.json_lines import write_json_lines

GOOD = {"id": "a", "audio": "a.wav", "text": "hello", "language": "en"}

texts = st.text(min_size=1).filter(str.strip)
seconds = st.one_of(st.none(), st.floats(0, 1e6))
words = st.lists(st.tuples(st.text(), st.floats(0, 5), st.floats(5, 9)))
utterances = st.builds(
    Utterance,
    id=texts,
    audio=texts,
    text=st.text(),
    language=st.sampled_from(["en", "zh", "fr"]),
    start_sec=seconds,
    duration_sec=seconds,
    speaker=st.one_of(st.none(), st.text()),
    words=st.one_of(st.none(), words),
    group=st.one_of(st.none(), st.text()),
    channel=st.one_of(st.none(), st.integers(0, 7)),
    document=st.one_of(st.none(), st.text()),
    place=st.one_of(st.none(), st.integers(0, 99)),
)


@settings(deadline=None, max_examples=40)
@given(rows=st.lists(utterances, unique_by=lambda utterance: utterance.id))
def test_what_is_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("manifest") / "manifest.jsonl"
    assert write_manifest(rows, path) == len(rows)
    assert list(read_manifest(path)) == rows


def test_what_is_none_is_left_out_and_text_stays_readable(tmp_path):
    write_manifest([Utterance("a", "a.wav", "你好", "zh")], tmp_path / "m.jsonl")
    line = (tmp_path / "m.jsonl").read_text(encoding="utf-8")
    assert line == '{"id": "a", "audio": "a.wav", "text": "你好", "language": "zh"}\n'


def test_other_keys_and_empty_lines_are_ignored(tmp_path):
    (tmp_path / "m.jsonl").write_text("\n" + json.dumps({**GOOD, "mood": "happy"}) + "\n\n")
    assert [utterance.id for utterance in read_manifest(tmp_path / "m.jsonl")] == ["a"]


def test_lines_are_read_one_by_one(tmp_path):
    (tmp_path / "m.jsonl").write_text(json.dumps(GOOD) + "\nnot JSON\n")
    reader = read_manifest(tmp_path / "m.jsonl")
    assert next(reader).id == "a"
    with pytest.raises(UserError):
        next(reader)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{'id': 1}", "not JSON"),
        ("[1, 2]", "not a JSON object but list"),
        (json.dumps({key: GOOD[key] for key in ("id", "audio", "language")}), "misses the field 'text'"),
        (json.dumps({**GOOD, "id": 7}), "id must be text, not 7"),
        (json.dumps({**GOOD, "text": None}), "text must be text, not null"),
        (json.dumps({**GOOD, "audio": " "}), "audio is empty"),
        (json.dumps({**GOOD, "start_sec": "1"}), "start_sec must be a number"),
        (json.dumps({**GOOD, "duration_sec": -1}), "duration_sec must be a number"),
        (json.dumps({**GOOD, "duration_sec": float("nan")}), "duration_sec must be a number"),
        (json.dumps({**GOOD, "words": "hello"}), "words must be a list"),
        (json.dumps({**GOOD, "words": [["hello", 0.1]]}), "words must hold"),
        (json.dumps({**GOOD, "words": [["hello", 0.5, 0.1]]}), "ends at 0.1 s, before it begins"),
        (json.dumps(GOOD), "the id 'a' was used before"),
        (json.dumps({**GOOD, "channel": -1}), "channel must be a whole number from 0 on, not -1"),
        (json.dumps({**GOOD, "channel": "left"}), 'channel must be a whole number from 0 on, not "left"'),
        (json.dumps({**GOOD, "place": 1.5}), "place must be a whole number from 0 on, not 1.5"),
        (json.dumps({**GOOD, "document": 3}), "document must be text, not 3"),
        (json.dumps({**GOOD, "language": "english"}), "'english' is no language tag: BCP 47 is wanted"),
        (json.dumps({**GOOD, "language": "english", "channel": 0}), "'english' is no language tag"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_a_bad_line_is_named_with_its_number_and_reason(tmp_path, line, says):
    path = tmp_path / "m.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n" + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    with pytest.raises(UserError, match=says) as error:
        list(read_manifest(path))
    assert f"{path}, line 2" in str(error.value)


def test_a_missing_manifest(tmp_path):
    with pytest.raises(UserError, match=r"none\.jsonl: cannot be opened"):
        list(read_manifest(tmp_path / "none.jsonl"))


def test_the_folder_of_a_corpus_for_its_manifest_was_called_a_wrong_path(tmp_path):
    with pytest.raises(UserError, match=r"is a folder; name the file in it"):
        list(read_manifest(tmp_path))
    write_manifest([], tmp_path / "manifest.jsonl")
    with pytest.raises(UserError, match=r"is a folder; name the file, .*manifest\.jsonl"):
        list(read_manifest(tmp_path))


def test_audio_is_found_from_the_manifest_s_folder(tmp_path):
    manifest = tmp_path / "corpus" / "m.jsonl"
    for audio, expected in [
        ("wav/a.wav", os.path.join(tmp_path, "corpus", "wav", "a.wav")),
        ("/data/a.wav", "/data/a.wav"),
        ("s3://bucket/a.wav", "s3://bucket/a.wav"),
    ]:
        assert resolve_audio(manifest, Utterance("a", audio, "", "en")) == expected


def test_a_gzipped_manifest(tmp_path):
    content = gzip.compress((json.dumps(GOOD) + "\n").encode())
    (tmp_path / "m.jsonl.gz").write_bytes(content)
    assert [row.id for row in read_manifest(tmp_path / "m.jsonl.gz")] == ["a"]
    for broken in (content[:-12], b"no gzip"):
        (tmp_path / "m.jsonl.gz").write_bytes(broken)
        with pytest.raises(UserError, match="m.jsonl.gz: cannot be unpacked behind line 0"):
            list(read_manifest(tmp_path / "m.jsonl.gz"))


@pytest.mark.parametrize("more", [{}, {"channel": 1}])
def test_ways_to_write_a_language_are_one(tmp_path, more):
    said = ["zh_CN", "cmn", "zho", "zh", "wuu", "en-US", "en"]
    rows = [{**GOOD, **more, "id": str(i), "language": tag} for i, tag in enumerate(said)]
    write_json_lines(rows, tmp_path / "m.jsonl")
    found = [utterance.language for utterance in read_manifest(tmp_path / "m.jsonl")]
    assert found == ["zh", "zh", "zh", "zh", "wuu", "en", "en"]


def test_audio_is_named_from_where_a_linked_folder_really_is(tmp_path):
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "a.wav").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "deep")
    audio = audio_from(tmp_path / "link" / "out", str(tmp_path / "a.wav"))
    (tmp_path / "link" / "out").mkdir()
    assert os.path.isfile(resolve_audio(tmp_path / "link" / "out" / "m.jsonl", Utterance("a", audio, "", "en")))
    assert audio_from(tmp_path, "s3://bucket/a.wav") == "s3://bucket/a.wav"


def test_a_failure_while_writing_leaves_the_old_file(tmp_path):
    path = tmp_path / "m.jsonl"
    write_json_lines([{"a": 1}], path)

    def broken():
        yield {"a": 2}
        raise UserError("bad row")

    with pytest.raises(UserError):
        write_json_lines(broken(), path)
    assert path.read_text() == '{"a": 1}\n' and list(tmp_path.iterdir()) == [path]
