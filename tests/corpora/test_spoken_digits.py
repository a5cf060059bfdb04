"""Strings of spoken digits: who is trained on, and what is in a string."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from cslm.audio.waveform import load_waveform, save_waveform
from cslm.corpora import spoken_digits
from cslm.corpora.manifest import read_manifest, resolve_audio
from cslm.corpora.spoken_digits import DIGIT_WORDS, SpokenDigitsConfig, find_recordings
from cslm.errors import UserError
from cslm.synthesis.prepare_corpus import prepare_corpus


def record(folder, speakers=("ann", "bob", "cid"), num_takes=7):
    """Each digit is a tone of its own, each speaker has a loudness."""
    time = np.arange(1600) / 8000
    for loudness, speaker in enumerate(speakers, start=1):
        for digit in range(10):
            for take in range(3, 3 + num_takes):
                tone = 0.1 * loudness * np.sin(2 * np.pi * (300 + 200 * digit) * time)
                save_waveform(folder / f"{digit}_{speaker}_{take}.wav", tone, 8000, durable=False)
    (folder / "README.txt").write_text("not a recording")
    return folder


@pytest.fixture(scope="module")
def takes(tmp_path_factory):
    return record(tmp_path_factory.mktemp("takes"))


@pytest.fixture(scope="module")
def corpus(takes, tmp_path_factory):
    output = tmp_path_factory.mktemp("digits") / "corpus"
    options = ["--recordings", str(takes), "--test_speakers", "cid", "--num_workers", "1"]
    assert prepare_corpus("spoken_digits", output, [*options, "--num_train_strings", "40", "--num_test_strings", "12"])
    return output


def rows_of(corpus, name):
    return list(read_manifest(corpus / f"{name}.jsonl"))


def test_the_manifests_and_their_speakers(corpus):
    assert {row.speaker for row in rows_of(corpus, "train")} >= {"ann", "bob"}
    assert {row.speaker for row in rows_of(corpus, "known_speakers")} == {"ann", "bob"}
    assert {row.speaker for row in rows_of(corpus, "unseen_speakers")} == {"cid"}
    card = json.loads((corpus / "card.json").read_text())
    assert card["manifests"]["train"]["num_utterances"] == 40 and card["test_speakers"] == ["cid"]


def test_a_string_says_its_digits(corpus):
    for name in ("train", "known_speakers", "unseen_speakers"):
        for row in rows_of(corpus, name):
            words = row.text.split()
            assert 3 <= len(words) <= 6 and set(words) <= set(DIGIT_WORDS)
            assert [word for word, _, _ in row.words] == words
            waveform, rate_hz = load_waveform(resolve_audio(corpus / "train.jsonl", row))
            assert len(waveform) / rate_hz == pytest.approx(row.duration_sec, abs=1e-4)
            assert row.words[-1][2] <= row.duration_sec


def test_test_strings_are_the_recordings_as_they_are(corpus):
    row = rows_of(corpus, "unseen_speakers")[0]
    waveform, rate_hz = load_waveform(resolve_audio(corpus / "train.jsonl", row))
    for word, start, end in row.words:
        part = waveform[round(start * rate_hz) : round(end * rate_hz)]
        assert len(part) == 1600
        loudest_hz = np.argmax(np.abs(np.fft.rfft(part))) * rate_hz / len(part)
        assert loudest_hz == pytest.approx(300 + 200 * DIGIT_WORDS.index(word), abs=5)
        assert np.abs(part).max() == pytest.approx(0.3, abs=0.01)


def test_the_lowest_indices_are_never_trained_on(takes):
    config = SpokenDigitsConfig(str(takes), test_speakers="cid", num_train_strings=200, num_test_strings=40)
    known = {name: digits for name, digits in find_recordings(config.recordings).items() if name != "cid"}
    train, kept = spoken_digits._split(known, config.recordings)
    trained = _files(spoken_digits._training_strings(train, config))
    tested = _files(spoken_digits._test_strings("known", kept, config, 1))
    assert not trained & tested
    assert {int(re.search(r"_([0-9]+)\.wav", file)[1]) for file in tested} == {3, 4, 5, 6, 7}
    assert {int(re.search(r"_([0-9]+)\.wav", file)[1]) for file in trained} == {8, 9}
    assert not any("cid" in file for file in trained | tested)


def _files(strings):
    return {file for string in strings for file in string.files}


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(takes, tmp_path, monkeypatch):
    monkeypatch.setattr(spoken_digits, "_STRINGS_PER_CHUNK", 2)
    options = ["--recordings", str(takes), "--num_train_strings", "8", "--num_test_strings", "4"]
    for name, extra in (("a", "1"), ("b", "2")):
        assert prepare_corpus("spoken_digits", tmp_path / name, [*options, "--num_workers", extra])
    assert prepare_corpus("spoken_digits", tmp_path / "c", [*options, "--num_workers", "1", "--seed", "1"])
    first, second, other = (_contents(tmp_path / name) for name in "abc")
    assert first == second != other


def _contents(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "config.yaml")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("speakers", "says"),
    [("dora", "no speaker 'dora'; there are ann, bob, cid"), ("ann,bob,cid", "leaves no speaker to train on")],
)
def test_wrong_speakers(takes, tmp_path, speakers, says):
    with pytest.raises(UserError, match=says):
        prepare_corpus("spoken_digits", tmp_path / "o", ["--recordings", str(takes), "--test_speakers", speakers])


def test_too_few_or_no_recordings(tmp_path):
    record(tmp_path / "few", ("ann",), num_takes=5)
    for folder, says in (("few", "5 recordings of 0 by ann"), ("none", "no such folder")):
        with pytest.raises(UserError, match=says):
            prepare_corpus("spoken_digits", tmp_path / "o", ["--recordings", str(tmp_path / folder)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no file named"):
        prepare_corpus("spoken_digits", tmp_path / "o", ["--recordings", str(tmp_path / "empty")])


def test_a_corrupt_recording_is_named_and_nothing_is_left(tmp_path):
    takes = record(tmp_path / "takes", ("ann",), num_takes=6)
    (takes / "4_ann_8.wav").write_bytes(b"no sound")
    options = ["--recordings", str(takes), "--num_train_strings", "30", "--num_workers", "1"]
    with pytest.raises(UserError, match=r"4_ann_8\.wav: cannot be read as audio"):
        prepare_corpus("spoken_digits", tmp_path / "out", options)
    assert [path.name for path in tmp_path.iterdir()] == ["takes"]


def test_real_digits(digits, tmp_path):
    options = ["--recordings", str(digits), "--test_speakers", "nicolas", "--num_workers", "1"]
    small = ["--num_train_strings", "20", "--num_test_strings", "6"]
    assert prepare_corpus("spoken_digits", tmp_path / "out", [*options, *small])
    assert {row.speaker for row in rows_of(tmp_path / "out", "unseen_speakers")} == {"nicolas"}
    recordings = find_recordings(str(digits))
    _, kept = spoken_digits._split({"george": recordings["george"]}, str(digits))
    assert [file.rsplit("_", 1)[1] for file in kept["george"][0]] == [f"{index}.wav" for index in range(5, 10)]
