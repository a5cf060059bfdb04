"""Corpora of others: folders, Kaldi, tar shards, lhotse, Hugging Face. Each becomes a manifest."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
import soundfile

from cslm.audio.waveform import load_waveform, save_waveform
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.errors import UserError
from cslm.synthesis.prepare_corpus import prepare_corpus

RATE_HZ = 8000


def tone(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)


def encoded(seconds, kind="FLAC"):
    content = io.BytesIO()
    soundfile.write(content, tone(seconds), RATE_HZ, format=kind)
    return content.getvalue()


def make(name, tmp_path, **options):
    given = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    prepare_corpus(name, tmp_path / "out", given)
    return list(read_manifest(tmp_path / "out" / "manifest.jsonl"))


def seconds_of(tmp_path, utterance):
    path = resolve_audio(tmp_path / "out" / "manifest.jsonl", utterance)
    waveform, rate_hz = load_waveform(path, utterance.start_sec, utterance.duration_sec)
    return len(waveform) / rate_hz


# A folder of audio.


def test_a_folder_of_audio_long_files_in_pieces(tmp_path):
    folder = tmp_path / "audio"
    save_waveform(folder / "ann" / "short.wav", tone(2), RATE_HZ)
    save_waveform(folder / "bob" / "long.wav", tone(25), RATE_HZ)
    (folder / "bob" / "Loud.FLAC").write_bytes(encoded(1.5))
    (folder / "bad.wav").write_bytes(b"no audio")
    (folder / "notes.md").write_text("not audio")
    rows = make("audio_folder", tmp_path, audio_dir=folder, language="en", max_sec=10, speaker_from="folder")
    assert [row.id for row in rows[:4]] == ["ann/short", "bob/Loud", "bob/long-0000", "bob/long-0001"]
    assert {row.speaker for row in rows} == {"ann", "bob"}
    found = [seconds_of(tmp_path, row) for row in rows]
    assert found[:2] == [2.0, 1.5]
    assert max(found) <= 10
    assert sum(found[2:]) == pytest.approx(25)
    rejected = [json.loads(line) for line in (tmp_path / "out" / "rejected.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rejected] == ["bad"]


def test_two_files_of_one_name_are_two_utterances(tmp_path):
    save_waveform(tmp_path / "audio" / "a.wav", tone(1), RATE_HZ)
    (tmp_path / "audio" / "a.flac").write_bytes(encoded(2.0))
    rows = make("audio_folder", tmp_path, audio_dir=tmp_path / "audio", language="en")
    assert [(row.id, seconds_of(tmp_path, row)) for row in rows] == [("a.flac", 2.0), ("a.wav", 1.0)]


def test_pieces_leave_out_no_sample_at_any_rate(tmp_path):
    waveform = np.random.default_rng(0).normal(0, 0.1, 1_102_501).astype(np.float32)  # 25 s at 44.1 kHz
    save_waveform(tmp_path / "audio" / "a.wav", waveform, 44100)
    rows = make("audio_folder", tmp_path, audio_dir=tmp_path / "audio", language="en", max_sec=10)
    path = resolve_audio(tmp_path / "out" / "manifest.jsonl", rows[0])
    pieces = [load_waveform(path, row.start_sec, row.duration_sec)[0] for row in rows]
    np.testing.assert_array_equal(np.concatenate(pieces), load_waveform(path)[0])


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"audio_dir": "nowhere"}, "no such folder"),
        ({"max_sec": 1.5}, "at least twice --min_sec"),
        ({"speaker_from": "name"}, "none or folder"),
    ],
)
def test_bad_options_for_a_folder(tmp_path, options, says):
    save_waveform(tmp_path / "audio" / "a.wav", tone(1), RATE_HZ)
    with pytest.raises(UserError, match=says):
        make("audio_folder", tmp_path, **{"audio_dir": tmp_path / "audio", "language": "en", **options})
    assert not (tmp_path / "out").exists()


def test_folders_without_audio_that_can_be_used(tmp_path):
    (tmp_path / "audio").mkdir()
    with pytest.raises(UserError, match="no audio in it"):
        make("audio_folder", tmp_path, audio_dir=tmp_path / "audio", language="en")
    (tmp_path / "audio" / "a.wav").write_bytes(b"x")
    with pytest.raises(UserError, match="not one of 1 files can be read; the first: "):
        make("audio_folder", tmp_path, audio_dir=tmp_path / "audio", language="en")


# Kaldi.


def kaldi(tmp_path, **files):
    save_waveform(tmp_path / "wav" / "r1.wav", tone(4), RATE_HZ)
    folder = tmp_path / "data"
    folder.mkdir()
    given = {"wav.scp": f"r1 {tmp_path}/wav/r1.wav\n", "text": "r1 hello there\n", **files}
    for name, content in given.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_kaldi_with_segments(tmp_path, capsys):
    folder = kaldi(
        tmp_path,
        **{
            "segments": "u1 r1 0.5 1.5\nu2\tr1\t1.5\t4.0\nu3 r1 0 1\n",
            "text": "u1 hello there\nu2\tbye\n",
            "utt2spk": "u1 ann\nu2 ann\nu3 bob\n",
        },
    )
    rows = make("kaldi", tmp_path, data_dir=folder, language="en")
    assert [(row.id, row.text, row.speaker) for row in rows] == [
        ("u1", "hello there", "ann"),
        ("u2", "bye", "ann"),
        ("u3", "", "bob"),
    ]
    assert [seconds_of(tmp_path, row) for row in rows] == [1.0, 2.5, 1.0]
    assert "1 of 3 utterances have no text" in capsys.readouterr().out


def test_kaldi_without_segments(tmp_path):
    (row,) = make("kaldi", tmp_path, data_dir=kaldi(tmp_path), language="en")
    assert (row.id, row.text, row.start_sec) == ("r1", "hello there", None)
    assert seconds_of(tmp_path, row) == 4.0


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"wav.scp": "r1 sox a.wav -t wav - |\n"}, "r1 is a command .* not run"),
        ({"wav.scp": "r1\n"}, "line 1: nothing follows r1"),
        ({"wav.scp": "r1 a\nr1 b\n"}, "line 2: r1 stands in the file twice"),
        ({"wav.scp": ""}, "is empty"),
        ({"text": "r2 hello\n"}, "r2 and 0 more stand in no list"),
        ({"segments": "u1 r1 0.5\n"}, "line 1: expected UTTERANCE RECORDING START END"),
        ({"segments": "u1 r9 0 1\n"}, "the recording r9 is not in wav.scp"),
        ({"segments": "u1 r1 2 1\n"}, "u1 goes from 2.0 to 1.0 s"),
    ],
)
def test_bad_kaldi_directories(tmp_path, files, says):
    with pytest.raises(UserError, match=says):
        make("kaldi", tmp_path, data_dir=kaldi(tmp_path, **files), language="en")
    assert not (tmp_path / "out").exists()


# Tar shards.


def tar(file, members):
    with tarfile.open(file, "w") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def test_tar_shards_are_read_in_place(tmp_path):
    tar(tmp_path / "s-0.tar", {"a.flac": encoded(1.0), "a.txt": b"one", "b.wav": encoded(2.0, "WAV")})
    said = json.dumps({"text": "二", "language": "zh", "speaker": 7, "txt": "deux"}).encode()
    tar(tmp_path / "s-1.tar", {"c/d.ogg": encoded(1.5, "OGG"), "c/d.json": said})
    rows = make("tar_shards", tmp_path, shards=tmp_path / "s-*.tar", language="en")
    assert [(row.id, row.text, row.language, row.speaker) for row in rows] == [
        ("a", "one", "en", None),
        ("b", "", "en", None),
        ("c/d", "deux", "zh", "7"),
    ]
    assert [round(seconds_of(tmp_path, row), 2) for row in rows] == [1.0, 2.0, 1.5]


def test_a_shard_is_indexed_once_not_for_every_member(tmp_path, monkeypatch):
    from cslm.audio import tar_member

    tar(tmp_path / "s.tar", {f"{i}.wav": encoded(0.1, "WAV") for i in range(5)})
    opened = []
    monkeypatch.setattr(
        tar_member.tarfile, "open", lambda *a, real=tarfile.open, **k: opened.append(1) or real(*a, **k)
    )
    for index in range(5):
        assert len(load_waveform(f"tar://{index}.wav::{tmp_path}/s.tar")[0]) == RATE_HZ // 10
    assert len(opened) == 1
    with pytest.raises(UserError, match="has no member 9.wav"):
        load_waveform(f"tar://9.wav::{tmp_path}/s.tar")


def test_bad_tar_shards(tmp_path):
    with pytest.raises(UserError, match="no such shards"):
        make("tar_shards", tmp_path, shards=tmp_path / "none.tar")
    (tmp_path / "a.tar").write_bytes(b"junk")
    with pytest.raises(UserError, match="a.tar: cannot be read as tar"):
        make("tar_shards", tmp_path, shards=tmp_path / "a.tar", language="en")
    tar(tmp_path / "a.tar", {"a.flac": encoded(0.1)})
    with pytest.raises(UserError, match="a does not say its language"):
        make("tar_shards", tmp_path, shards=tmp_path / "a.tar")
    tar(tmp_path / "b.tar", {"a.flac": encoded(0.1)})
    with pytest.raises(UserError, match="b.tar: a stands in .*a.tar too"):
        make("tar_shards", tmp_path, shards=tmp_path / "*.tar", language="en")
    tar(tmp_path / "c.tar", {"a.json": b"[1]", "a.wav": encoded(0.1, "WAV")})
    with pytest.raises(UserError, match="a.json holds list"):
        make("tar_shards", tmp_path, shards=tmp_path / "c.tar", language="en")


# Lhotse.


def cut(tmp_path, **changes):
    save_waveform(tmp_path / "r.wav", tone(6), RATE_HZ)
    said = {"id": "s", "start": 0.0, "duration": 2.5, "text": "hello you", "language": "en", "speaker": "ann"}
    said["alignment"] = {"word": [["hello", 0.2, 0.5], ["you", 0.8, 0.4, 0.9]]}
    recording = {"sources": [{"type": "file", "channels": [0], "source": str(tmp_path / "r.wav")}]}
    return {
        "id": "c1",
        "start": 1.5,
        "duration": 2.5,
        "channel": 0,
        "supervisions": [said],
        "recording": recording,
        "type": "MonoCut",
        **changes,
    }


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_lhotse_cuts(tmp_path, name):
    with (gzip.open if name.endswith("gz") else open)(tmp_path / name, "wt") as file:
        file.write(json.dumps(cut(tmp_path)) + "\n\n" + json.dumps(cut(tmp_path, id="c2", supervisions=[])) + "\n")
    first, second = make("lhotse_cuts", tmp_path, cuts=tmp_path / name, language="zh")
    assert (first.id, first.text, first.language, first.speaker) == ("c1", "hello you", "en", "ann")
    assert first.words == [("hello", 0.2, 0.7), ("you", 0.8, pytest.approx(1.2))]
    assert seconds_of(tmp_path, first) == 2.5
    assert (second.text, second.language, second.words) == ("", "zh", None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"supervisions": [{"text": "a"}, {"text": "b"}]}, "has 2 supervisions: trim_to_supervisions"),
        ({"supervisions": []}, "c1 does not say its language"),
        ({"recording": {"sources": [{"type": "memory", "source": ""}]}}, "lies in memory; one file or url"),
        ({"recording": {"sources": [{"type": "command", "source": "x"}]}}, "lies in command"),
        ({"type": "MixedCut", "recording": None}, "line 1: not a cut of one recording"),
    ],
)
def test_cuts_that_cannot_be_read(tmp_path, changes, says):
    (tmp_path / "cuts.jsonl").write_text(json.dumps(cut(tmp_path, **changes)))
    with pytest.raises(UserError, match=says):
        make("lhotse_cuts", tmp_path, cuts=tmp_path / "cuts.jsonl")


def test_no_cuts(tmp_path):
    with pytest.raises(UserError, match="no such file of cuts"):
        make("lhotse_cuts", tmp_path, cuts=tmp_path / "none.jsonl")
    (tmp_path / "cuts.jsonl").write_text("{")
    with pytest.raises(UserError, match="not JSON Lines"):
        make("lhotse_cuts", tmp_path, cuts=tmp_path / "cuts.jsonl")


# Hugging Face.


@pytest.fixture
def rows(tmp_path):
    save_waveform(tmp_path / "beside.wav", tone(3), RATE_HZ)
    return {
        "audio": [
            {"bytes": encoded(1.0), "path": None},
            {"bytes": encoded(2.0, "WAV"), "path": "some/where/x.wav"},
            {"bytes": None, "path": str(tmp_path / "beside.wav")},
        ],
        "sentence": ["one", "deux ", None],
        "lang": ["en", "fr", "en"],
        "who": [3, None, 4],
    }


@pytest.mark.parametrize("kind", ["save_to_disk", "parquet"])
def test_a_data_set_of_hugging_face(tmp_path, rows, kind):
    import datasets

    made = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
    if kind == "parquet":
        (tmp_path / "set").mkdir()
        made.to_parquet(tmp_path / "set" / "train.parquet")
    else:
        made.save_to_disk(tmp_path / "set")
    options = {"text_column": "sentence", "language_column": "lang", "speaker_column": "who"}
    found = make("hugging_face", tmp_path, dataset=tmp_path / "set", **options)
    assert [(row.text, row.language, row.speaker) for row in found] == [
        ("one", "en", "3"),
        ("deux", "fr", None),
        ("", "en", "4"),
    ]
    assert [seconds_of(tmp_path, row) for row in found] == [1.0, 2.0, 3.0]
    assert found[0].audio == "audio/00000/00000000.flac"


def test_data_sets_that_cannot_be_read(tmp_path, rows):
    import datasets

    datasets.Dataset.from_dict({"text": ["a"], "audio": [{"bytes": None, "path": None}]}).save_to_disk(tmp_path / "set")
    options = {"dataset": tmp_path / "set", "language": "en"}
    with pytest.raises(UserError, match="no column 'words'; it has text, audio"):
        make("hugging_face", tmp_path, **options, text_column="words")
    with pytest.raises(UserError, match="row 0: holds no audio"):
        make("hugging_face", tmp_path, **options)
    with pytest.raises(UserError, match="either --language"):
        make("hugging_face", tmp_path, dataset=tmp_path / "set")
    with pytest.raises(UserError, match="cannot be read"):
        make("hugging_face", tmp_path, dataset=tmp_path / "none", language="en")
    assert not (tmp_path / "out").exists()
