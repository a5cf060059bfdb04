"""One bad row, file or member is one rejection, with its name and reason: never the end of a preparation."""

from __future__ import annotations

import io
import json
import os
import tarfile

import numpy as np
import pytest

from cslm.audio.waveform import load_waveform, save_waveform
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio, write_manifest
from cslm.errors import UserError
from cslm.synthesis.prepare_corpus import prepare_corpus
from tests.worlds.odd_audio import encoded, sound, wav

RATE_HZ = 8000
HALF = "\ud83d"


def tone(seconds):
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)


def make(name, tmp_path, **options):
    given = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    prepare_corpus(name, tmp_path / "out", given)
    return list(read_manifest(tmp_path / "out" / "manifest.jsonl"))


def listed(tmp_path, name="rejected.jsonl"):
    path = tmp_path / "out" / name
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def seconds_of(tmp_path, row):
    waveform, rate_hz = load_waveform(resolve_audio(tmp_path / "out" / "manifest.jsonl", row), row.start_sec)
    return len(waveform) / rate_hz


def tar(file, members, **options):
    with tarfile.open(file, options.pop("mode", "w"), **options) as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def audio(tmp_path):
    for name in "abc":
        save_waveform(tmp_path / "audio" / f"{name}.wav", tone(0.5), RATE_HZ)
    return tmp_path / "audio"


# Shares.


def test_one_empty_sentence_does_not_stop_a_table(tmp_path, audio, capsys):
    rows = "".join(f"u{i}\ta\tone\n" for i in range(30))
    (audio / "t.tsv").write_text(f"id\tfile\ttext\n{rows}x\tb\t\n")
    options = {"audio_dir": audio, "table": "t.tsv", "language": "en", "path_template": "{file}.wav"}
    assert len(make("table", tmp_path, **options)) == 30
    assert [row["id"] for row in listed(tmp_path)] == ["x"]
    assert "line 32: the text is empty" in listed(tmp_path)[0]["reason"]
    assert "1 rows left out (see rejected.jsonl)" in capsys.readouterr().out


def test_above_the_share_what_is_good_is_written_and_the_status_is_not_0(tmp_path, audio):
    (audio / "t.tsv").write_text("id\ttext\na\tone\nb\t\n")
    options = {"audio_dir": audio, "table": "t.tsv", "language": "en"}
    for _ in range(2):  # the second time it is there already
        with pytest.raises(UserError, match=r"is made, with 1 utterances, but 1 were left out \(50.0%"):
            make("table", tmp_path, **options)
    assert [row.id for row in read_manifest(tmp_path / "out" / "manifest.jsonl")] == ["a"]
    assert [row["id"] for row in listed(tmp_path)] == ["b"]
    prepare_corpus(
        "table",
        tmp_path / "more",
        ["--max_rejected_share", "1", *(str(x) for k, v in options.items() for x in (f"--{k}", v))],
    )
    with pytest.raises(UserError, match="is a share from 0 to 1"):
        make("table", tmp_path, **options, max_rejected_share=5)


# Folders.


def test_a_folder_by_a_link_and_other_suffixes_are_read_and_the_rest_is_counted(tmp_path, audio, capsys):
    (tmp_path / "elsewhere").mkdir()
    for name, kind in [("d.sph", "NIST"), ("e.au", "AU"), ("f.w64", "W64"), ("g.caf", "CAF"), ("h.oga", "OGG")]:
        (tmp_path / "elsewhere" / name).write_bytes(encoded(kind, sound(1)))
    (audio / "i.aifc").write_bytes(encoded("AIFF", sound(1)))
    (audio / "linked").symlink_to(tmp_path / "elsewhere")
    (audio / "round").symlink_to(audio)
    for name in ("notes.md", "a.txt", "b.txt", "._a.wav"):
        (audio / name).write_bytes(b"x")
    rows = make("audio_folder", tmp_path, audio_dir=audio, language="en")
    assert [row.id for row in rows] == ["a", "b", "c", "i", *(f"linked/{name}" for name in "defgh")]
    assert "passed over 1 ._*, 1 .md, 2 .txt" in capsys.readouterr().out


def test_a_piece_and_a_file_of_one_name_get_two_ids(tmp_path):
    save_waveform(tmp_path / "audio" / "talk.wav", tone(36), RATE_HZ)
    save_waveform(tmp_path / "audio" / "talk-0000.wav", tone(2), RATE_HZ)
    rows = make("audio_folder", tmp_path, audio_dir=tmp_path / "audio", language="en")
    assert [row.id for row in rows] == ["talk-0000", "talk_-0000", "talk_-0001"]
    write_manifest(
        [Utterance("t", "audio/talk.wav", "", "en"), Utterance("t-0000", "audio/talk.wav", "", "en", 0.0, 2.0)],
        tmp_path / "m.jsonl",
    )
    prepare_corpus("long_utterances", tmp_path / "long", ["--manifest", str(tmp_path / "m.jsonl")])
    assert [row.id for row in read_manifest(tmp_path / "long" / "manifest.jsonl")] == ["t_-0000", "t_-0001", "t-0000"]


def test_a_name_in_another_encoding_is_rejected_by_name(tmp_path, audio):
    with open(os.path.join(os.fsencode(audio), b"caf\xe9.wav"), "wb") as file:
        file.write(wav(encoded("WAV", sound(1))))
    rows = make("audio_folder", tmp_path, audio_dir=audio, language="en")
    assert [row.id for row in rows] == ["a", "b", "c"]
    assert [row["id"] for row in listed(tmp_path)] == ["caf\\udce9"]


def test_a_header_that_is_wrong_is_listed(tmp_path, audio, capsys):
    (audio / "d.wav").write_bytes(wav(data_size=0))
    rows = make("audio_folder", tmp_path, audio_dir=audio, language="en")
    assert [round(seconds_of(tmp_path, row), 2) for row in rows] == [0.5, 0.5, 0.5, 18.0]
    assert [(row["id"], row["note"]) for row in listed(tmp_path, "noted.jsonl")] == [
        ("d", "its header says 0 bytes of samples, 576000 are there")
    ]
    assert "1 headers are wrong (see noted.jsonl)" in capsys.readouterr().out


def test_an_output_below_a_link_finds_its_audio(tmp_path, audio):
    (tmp_path / "disk" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "deep")
    prepare_corpus("audio_folder", tmp_path / "link" / "out", ["--audio_dir", str(audio), "--language", "en"])
    for row in read_manifest(tmp_path / "link" / "out" / "manifest.jsonl"):
        assert os.path.isfile(resolve_audio(tmp_path / "link" / "out" / "manifest.jsonl", row))


# Tables.


def table(tmp_path, audio, content, name, **options):
    (audio / name).write_text(content, encoding="utf-8")
    given = {"audio_dir": audio, "table": name, "language": "en", "path_template": "a.wav", **options}
    return [(row.id, row.text) for row in make("table", tmp_path, **given)]


def test_a_quote_that_is_never_closed_does_not_swallow_the_next_row(tmp_path, audio):
    content = 'id|text\na|"Well\nb|he said\n'
    assert table(tmp_path, audio, content, "t.txt", delimiter="|") == [("a", '"Well'), ("b", "he said")]
    for rows, line in (('a,"Well\nb,he said\n', 2), ('a,"Well\nb,"he said"\n', 2), ('a,x\nb,"one\nc,two"\n', 3)):
        with pytest.raises(UserError, match=f"t.csv, line {line}: .*close or double the quote"):
            table(tmp_path / str(line), audio, f"id,text\n{rows}", "t.csv")
    with pytest.raises(UserError, match="t.csv, line 2: "):
        table(tmp_path / "long", audio, 'id,text\na,"' + "x" * 2_000_000, "t.csv")
    found = table(tmp_path / "none", audio, 'id,text\na,"Well\nb,he said\n', "t.csv", quoting="none")
    assert found == [("a", '"Well'), ("b", "he said")]
    found = table(tmp_path / "csv", audio, 'id,text\na,"one\ntwo"\n', "t.csv", quoting="csv")
    assert found == [("a", "one\ntwo")]


def test_quotes_doubled_within_quotes_are_quotes(tmp_path, audio):
    content = 'id\ttext\na\t"""Good-bye,"" said."\nb\tsay "hi"\nc\t"hello"\nd\t""\n'
    options = {"max_rejected_share": 1}
    assert table(tmp_path, audio, content, "t.tsv", **options)[:3] == [
        ("a", '"Good-bye," said.'),
        ("b", 'say "hi"'),
        ("c", '"hello"'),
    ]


def test_a_table_without_a_header_and_texts_to_the_end_of_the_line(tmp_path, audio):
    (audio / "deep" / "er").mkdir(parents=True)
    (audio / "deep" / "er" / "84-1.trans.txt").write_text("a GO DO YOU HEAR\nb  HE  SAID\n")
    options = {"columns": "[id, text]", "delimiter": "blank", "path_template": "**/{id}.wav", "language": "en"}
    rows = make("table", tmp_path, audio_dir=audio, table="**/*.trans.txt", **options)
    assert [(row.id, row.text) for row in rows] == [("a", "GO DO YOU HEAR"), ("b", "HE  SAID")]
    assert seconds_of(tmp_path, rows[0]) == 0.5


def test_columns_for_language_times_and_channel(tmp_path, audio):
    (audio / "t.csv").write_text("id,text,lang,from,to,side\na,one,zh_CN,0.1,0.3,0\nb,two,fr,,,\nc,x,en,0.3,0.1,\n")
    columns = {"language_column": "lang", "start_column": "from", "end_column": "to", "channel_column": "side"}
    first, second = make("table", tmp_path, audio_dir=audio, table="t.csv", max_rejected_share=1, **columns)
    assert (first.language, first.start_sec, first.duration_sec, first.channel) == ("zh", 0.1, pytest.approx(0.2), 0)
    assert (second.language, second.start_sec, second.duration_sec, second.channel) == ("fr", None, None, None)
    assert "goes from 0.3 to 0.1 s" in listed(tmp_path)[0]["reason"]


# Tar shards.


def test_texts_that_are_none_and_shadows_of_a_mac_stay_out(tmp_path, capsys):
    good = {f"g{i}.wav": encoded("WAV", sound(0.1)) for i in range(5)}
    said = {"null.json": {"txt": None}, "list.json": {"txt": ["uno"]}, "tongue.json": {"language": None}}
    members = {**good, **{name: json.dumps(facts).encode() for name, facts in said.items()}}
    members |= {name.replace("json", "wav"): encoded("WAV", sound(0.1)) for name in said}
    members |= {
        "._g0.txt": b"\0\5\x16\7\xff",
        "half.json": b'{"txt": "\\ud83d"}',
        "half.wav": encoded("WAV", sound(0.1)),
    }
    tar(tmp_path / "s.tar", members)
    rows = make("tar_shards", tmp_path, shards=tmp_path / "s.tar", language="en", max_rejected_share=1)
    assert [row.id for row in rows] == [f"g{i}" for i in range(5)]
    reasons = {row["id"]: row["reason"] for row in listed(tmp_path)}
    assert "its txt is null, not text" in reasons["null"]
    assert 'its txt is ["uno"], not text' in reasons["list"]
    assert "its language is null: write a tag, or leave the key out" in reasons["tongue"]
    assert "its text holds half of a Unicode character" in reasons["half"]
    assert "passed over 1 ._*" in capsys.readouterr().out


def test_one_bad_shard_of_several_is_one_rejection(tmp_path):
    tar(tmp_path / "a.tar", {"a.wav": encoded("WAV", sound(0.1))})
    (tmp_path / "b.tar").write_bytes(b"junk")
    rows = make("tar_shards", tmp_path, shards=tmp_path / "*.tar", language="en", max_rejected_share=1)
    assert [row.id for row in rows] == ["a"]
    assert listed(tmp_path)[0]["id"] == "b.tar"


def test_compressed_shards_are_refused_at_once(tmp_path):
    tar(tmp_path / "s.tar.gz", {"a.wav": encoded("WAV", sound(0.1))}, mode="w:gz")
    with pytest.raises(UserError, match="s.tar.gz: is compressed, .*: gunzip it first"):
        make("tar_shards", tmp_path, shards=tmp_path / "*.tar.gz", language="en")


# Kaldi.


def kaldi(tmp_path, **files):
    folder = tmp_path / "data"
    folder.mkdir()
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def test_a_segment_to_the_end_its_channel_and_a_byte_order_mark(tmp_path, audio):
    (audio / "two.wav").write_bytes(encoded("WAV", sound(2, 2)))
    scp = f"\ufeffr {audio}/two.wav\n".encode()
    segments = b"u1 r 0.5 -1\nu2 r 0 1 1\nu3 r 0 1 A\nu4 r 1 0.5\n"
    folder = kaldi(tmp_path, wav_scp=scp, segments=segments)
    rows = make("kaldi", tmp_path, data_dir=folder, language="en", max_rejected_share=0.5)
    assert [(row.id, row.start_sec, row.duration_sec, row.channel) for row in rows] == [
        ("u1", 0.5, None, None),
        ("u2", 0.0, 1.0, 1),
        ("u3", 0.0, 1.0, 0),
    ]
    assert listed(tmp_path)[0]["reason"] == "u4 goes from 1.0 to 0.5 s"
    (folder / "segments").write_text("u1 r 0 1 left\n")
    with pytest.raises(UserError, match=r"line 1: expected UTTERANCE RECORDING START END \[CHANNEL\]"):
        make("kaldi", tmp_path / "b", data_dir=folder, language="en")


def test_audio_inside_an_archive_is_read_and_features_are_refused(tmp_path):
    one, two = encoded("WAV", sound(1)), encoded("FLAC", sound(2))
    (tmp_path / "w.ark").write_bytes(b"r1 " + one + b"r2 " + two + b"r3 " + one)
    places = (3, 6 + len(one), 9 + len(one) + len(two))
    scp = "".join(f"r{i} {tmp_path}/w.ark:{place}\n" for i, place in enumerate(places, start=1)).encode()
    rows = make("kaldi", tmp_path, data_dir=kaldi(tmp_path, wav_scp=scp), language="en")
    assert [seconds_of(tmp_path, row) for row in rows] == [1.0, 2.0, 1.0]
    (tmp_path / "f.ark").write_bytes(b"r1 \0BFM \4" + bytes(100))
    (tmp_path / "data" / "wav.scp").write_text(f"r1 {tmp_path}/f.ark:3\n")
    with pytest.raises(UserError, match=r"f.ark:3, which holds features \(a Kaldi matrix\)"):
        make("kaldi", tmp_path / "b", data_dir=tmp_path / "data", language="en")


def test_a_pipe_that_only_decodes_is_its_file_where_that_is_wanted(tmp_path, audio):
    scp = f"a flac -c -d -s {audio}/a.wav |\nb sox {audio}/b.wav -t wav - |\n".encode()
    folder = kaldi(tmp_path, wav_scp=scp)
    with pytest.raises(UserError, match="a is a command .* which is not run; .* --plain_pipes true"):
        make("kaldi", tmp_path, data_dir=folder, language="en")
    rows = make("kaldi", tmp_path, data_dir=folder, language="en", plain_pipes=True)
    assert [seconds_of(tmp_path, row) for row in rows] == [0.5, 0.5]
    for command in ("sox a.wav -t wav - speed 2 |", "cat $(rm x) |", "sh x.sh |", "sox -n -t wav - |"):
        (folder / "wav.scp").write_text(f"a {command}\n")
        with pytest.raises(UserError, match="a is a command"):
            make("kaldi", tmp_path / "b", data_dir=folder, language="en", plain_pipes=True)


# Lhotse.


def cut(tmp_path, **changes):
    said = {"text": "hello", "language": "en"}
    recording = {"sources": [{"type": "file", "channels": [0, 1], "source": str(tmp_path / "r.wav")}]}
    recording |= changes.pop("recording", {})
    row = {"id": "c", "start": 0.0, "duration": 0.5, "channel": 1, "supervisions": [said], "type": "MonoCut"}
    (tmp_path / "cuts.jsonl").write_text(json.dumps({**row, "recording": recording, **changes}))
    return {"cuts": tmp_path / "cuts.jsonl"}


def test_the_channel_of_a_cut(tmp_path):
    assert make("lhotse_cuts", tmp_path, **cut(tmp_path))[0].channel == 1
    numbered = {"sources": [{"type": "file", "channels": [3, 7], "source": "r.wav"}]}
    assert make("lhotse_cuts", tmp_path / "b", **cut(tmp_path, channel=3, recording=numbered))[0].channel == 0
    one = {"sources": [{"type": "file", "channels": [0], "source": "r.wav"}]}
    assert make("lhotse_cuts", tmp_path / "c", **cut(tmp_path, channel=0, recording=one))[0].channel is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"channel": [0, 1], "type": "MultiCut"}, r"c is a cut of several channels \(MultiCut\)"),
        ({"channel": 2}, r"c is a cut of channel 2, its recording has \[0, 1\]"),
        ({"recording": {"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}}, "c is to be changed by Speed"),
    ],
)
def test_cuts_of_what_is_not_done_here(tmp_path, changes, says):
    with pytest.raises(UserError, match=says):
        make("lhotse_cuts", tmp_path, **cut(tmp_path, **changes))


# NeMo and fairseq.


def test_a_manifest_of_nemo(tmp_path, audio):
    rows = [
        {"audio_filepath": "audio/a.wav", "duration": 0.5, "text": "one", "lang": "cmn"},
        {"audio_filepath": f"{audio}/b.wav", "offset": 0.25, "duration": 0.25, "text": "two"},
        {"audio_filepath": "audio/c.wav", "duration": "long"},
        {"text": "no audio"},
    ]
    (tmp_path / "n.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = make("nemo", tmp_path, manifest=tmp_path / "n.json", language="en", max_rejected_share=0.5)
    assert [(row.id, row.text, row.language) for row in found] == [
        ("audio/a", "one", "zh"),
        (f"{audio}/b-250", "two", "en"),
    ]
    assert [round(seconds_of(tmp_path, row), 2) for row in found] == [0.5, 0.25]
    assert [row["id"] for row in listed(tmp_path)] == ["line 3", "line 4"]


def test_a_manifest_of_fairseq(tmp_path, audio):
    (tmp_path / "train.tsv").write_text(f"{audio}\na.wav\t4000\nb.wav\t4000\n")
    (tmp_path / "train.wrd").write_text("ONE\nTWO\n")
    rows = make("fairseq", tmp_path, tsv=tmp_path / "train.tsv", language="en")
    assert [(row.id, row.text, seconds_of(tmp_path, row)) for row in rows] == [("a", "ONE", 0.5), ("b", "TWO", 0.5)]
    (tmp_path / "train.wrd").write_text("ONE\n")
    with pytest.raises(UserError, match="has 1 lines, .* names 2 files"):
        make("fairseq", tmp_path / "b", tsv=tmp_path / "train.tsv", language="en")


# Hugging Face.


def test_a_data_set_of_an_audio_folder_needs_no_torchcodec(tmp_path, audio):
    (audio / "metadata.csv").write_text("file_name,text\na.wav,one\nb.wav,two\nc.wav,three\n")
    rows = make("hugging_face", tmp_path, dataset=audio, language="en")
    assert sorted((row.text, seconds_of(tmp_path, row)) for row in rows) == [("one", 0.5), ("three", 0.5), ("two", 0.5)]


def test_a_data_set_of_tar_shards_needs_no_torchcodec(tmp_path):
    (tmp_path / "set").mkdir()
    members = {}
    for name in "ab":
        members |= {f"{name}.wav": encoded("WAV", sound(1)), f"{name}.json": json.dumps({"text": name * 2}).encode()}
    tar(tmp_path / "set" / "s.tar", members)
    options = {"audio_column": "wav", "text_column": "json.text", "id_column": "__key__", "language": "en"}
    rows = make("hugging_face", tmp_path, dataset=tmp_path / "set", **options)
    assert [(row.id, row.text, seconds_of(tmp_path, row)) for row in rows] == [("a", "aa", 1.0), ("b", "bb", 1.0)]


def test_audio_that_is_numbers_and_rows_that_are_none(tmp_path):
    import datasets

    audio = [{"array": [0.1] * 800, "sampling_rate": 8000}] * 3 + [{"array": None, "sampling_rate": 8000}]
    text, lang = ["one", "two", HALF.encode("utf-8", "replace").decode(), "four"], ["en", None, "en", "en"]
    datasets.Dataset.from_dict({"audio": audio, "text": text, "lang": lang}).save_to_disk(tmp_path / "set")
    rows = make("hugging_face", tmp_path, dataset=tmp_path / "set", language_column="lang", max_rejected_share=1)
    assert [(row.text, seconds_of(tmp_path, row)) for row in rows] == [("one", 0.1), ("?", 0.1)]
    np.testing.assert_array_equal(load_waveform(tmp_path / "out" / rows[0].audio)[0], np.full(800, 0.1, np.float32))
    assert [row["id"] for row in listed(tmp_path)] == ["00000001", "00000003"]
    assert "its language is null" in listed(tmp_path)[0]["reason"]
    assert "holds no audio" in listed(tmp_path)[1]["reason"]
    datasets.Dataset.from_dict({"audio": [[0.5] * 80], "text": [["a", "b"]]}).save_to_disk(tmp_path / "plain")
    with pytest.raises(UserError, match=r'its text is \["a", "b"\], not text'):
        make("hugging_face", tmp_path / "b", dataset=tmp_path / "plain", language="en")
    with pytest.raises(UserError, match="numbers without a sampling rate: give --sample_rate_hz"):
        make("hugging_face", tmp_path / "c", dataset=tmp_path / "plain", language="en", text_column="null")


# What was lost, or refused later, without a word.


def test_a_file_named_as_another_with_its_suffix_gets_an_id_of_its_own(tmp_path):
    (tmp_path / "audio").mkdir()
    for name in ("x.wav", "x.mp3", "x.wav.flac"):
        (tmp_path / "audio" / name).write_bytes(encoded("WAV", sound(0.5)))
    rows = make("audio_folder", tmp_path, audio_dir=tmp_path / "audio", language="en")
    assert [row.id for row in rows] == ["x.mp3", "x.wav", "x.wav.flac"]


def test_a_carriage_return_in_a_text_does_not_cut_it(tmp_path, audio):
    (tmp_path / "t.tsv").write_bytes(b"id\ttext\na\tone\rtwo\nb\tthree\r\n")
    rows = make("table", tmp_path, audio_dir=audio, table=tmp_path / "t.tsv", language="en")
    assert [row.text for row in rows] == ["one\rtwo", "three"]


def test_a_table_of_an_old_mac(tmp_path, audio):
    (tmp_path / "t.tsv").write_bytes(b"id\ttext\ra\tone\rb\ttwo\r")
    rows = make("table", tmp_path, audio_dir=audio, table=tmp_path / "t.tsv", language="en")
    assert [row.text for row in rows] == ["one", "two"]


def test_two_columns_of_one_name_are_refused(tmp_path, audio):
    (tmp_path / "t.tsv").write_text("id\tid\ttext\na\tb\tone\n")
    with pytest.raises(UserError, match="2 columns are called 'id'"):
        make("table", tmp_path, audio_dir=audio, table=tmp_path / "t.tsv", language="en")


def test_two_audio_files_of_one_name_in_a_shard_are_rejected_by_name(tmp_path):
    sounds = {name: encoded("WAV", sound(0.5)) for name in ("a.wav", "a.flac", "b.wav", "c::d.wav")}
    tar(tmp_path / "s.tar", {**sounds, "b.txt": "\ufefftext".encode(), "b.json": b'\xef\xbb\xbf{"speaker": "s"}'})
    rows = make("tar_shards", tmp_path, shards=tmp_path / "s.tar", language="en", max_rejected_share=1)
    assert [(row.id, row.text, row.speaker) for row in rows] == [("b", "text", "s")]
    reasons = {row["id"]: row["reason"] for row in listed(tmp_path)}
    assert "holds a.wav and a.flac" in reasons["a"]
    assert "has :: in its name" in reasons["c::d"]


def nemo(tmp_path, *lines):
    (tmp_path / "n.json").write_text("".join(f"{line}\n" for line in lines))
    return make("nemo", tmp_path, manifest=tmp_path / "n.json", language="en", max_rejected_share=1)


def test_parts_that_begin_at_one_moment_are_two_utterances(tmp_path):
    parts = [{"offset": 0, "duration": 1}, {"duration": 2}, {"offset": 1.0001, "duration": 1}, {"offset": 1.0004}]
    rows = nemo(tmp_path, *(json.dumps({"audio_filepath": "x.wav", "text": "", **part}) for part in parts))
    assert [row.id for row in rows] == ["x", "x-0-2000", "x-1000", "x-1000-"]


def test_an_infinite_offset_is_one_rejection(tmp_path):
    good = '{"audio_filepath": "x.wav", "text": "hi"}'
    rows = nemo(tmp_path, '{"audio_filepath": "y.wav", "text": "", "offset": 1e400}', good)
    assert [row.id for row in rows] == ["x"]
    assert "offset is 'inf', not a number of seconds" in listed(tmp_path)[0]["reason"]


def test_lines_nested_too_deep_are_named(tmp_path):
    with pytest.raises(UserError, match="line 1: not JSON"):
        nemo(tmp_path, "[" * 100_000)


def test_a_fairseq_list_without_its_folder_loses_no_file(tmp_path):
    (tmp_path / "t.tsv").write_text("a.wav\t1\nb.wav\t1\n")
    with pytest.raises(UserError, match="line 1: names a file"):
        make("fairseq", tmp_path, tsv=tmp_path / "t.tsv", language="en")


@pytest.mark.parametrize("word", [["hi", -0.3, 0.2], ["hi", 0.5, -0.2]])
def test_a_word_that_a_manifest_cannot_hold_is_one_rejection(tmp_path, word):
    cuts = []
    for name, words in (("good", ["hi", 0.1, 0.2]), ("bad", word)):
        said = {"text": "hi", "language": "en", "alignment": {"word": [words]}}
        recording = {"sources": [{"type": "file", "channels": [0], "source": "x.wav"}]}
        cuts.append({"id": name, "start": 0, "duration": 1, "recording": recording, "supervisions": [said]})
    content = "\ufeff" + "".join(json.dumps(cut) + "\n" for cut in cuts)
    (tmp_path / "c.jsonl").write_text(content, encoding="utf-8")
    rows = make("lhotse_cuts", tmp_path, cuts=tmp_path / "c.jsonl", max_rejected_share=1)
    assert [row.id for row in rows] == ["good"]
    assert "its word 'hi' goes from" in listed(tmp_path)[0]["reason"]


def test_a_carriage_return_in_a_text_of_kaldi_is_no_utterance(tmp_path, audio):
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "wav.scp").write_text(f"a {audio / 'a.wav'}\n")
    (tmp_path / "k" / "text").write_bytes(b"a one\rtwo\n")
    assert [row.text for row in make("kaldi", tmp_path, data_dir=tmp_path / "k", language="en")] == ["one\rtwo"]
