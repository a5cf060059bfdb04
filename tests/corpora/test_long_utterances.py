"""Long utterances in pieces: nothing of the audio is lost, and words go where they are said."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cslm.audio.waveform import load_waveform, save_waveform
from cslm.corpora.long_utterances import pieces_of
from cslm.corpora.manifest import Utterance, read_manifest, resolve_audio, write_manifest
from cslm.errors import UserError
from cslm.synthesis.prepare_corpus import prepare_corpus

RATE_HZ = 8000


def noise(seconds):
    return np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE_HZ)).astype(np.float32)


def words(text, step_sec=1.0, length_sec=0.8):
    """Words one after another, with pauses of a fifth of a second between them."""
    return [(word, i * step_sec, i * step_sec + length_sec) for i, word in enumerate(text.split())]


def make(tmp_path, rows, **options):
    write_manifest(rows, tmp_path / "in" / "m.jsonl")
    given = [part for key, value in options.items() for part in (f"--{key}", str(value))]
    prepare_corpus("long_utterances", tmp_path / "out", ["--manifest", str(tmp_path / "in" / "m.jsonl"), *given])
    return list(read_manifest(tmp_path / "out" / "manifest.jsonl"))


def listed(tmp_path, name):
    return [json.loads(line) for line in (tmp_path / "out" / name).read_text().splitlines()]


def test_words_go_where_they_are_said_and_none_is_cut():
    text = "One, two three; four five six. Seven eight nine, ten!"
    said = words(text)
    long = Utterance("a", "a.wav", text, "en", start_sec=5.0, words=said, group="g", speaker="ann")
    pieces = pieces_of(long, noise(10), RATE_HZ, 4.0, 1.0)
    assert " ".join(piece.text for piece in pieces) == text
    assert pieces[0].start_sec == 5.0
    assert max(piece.duration_sec for piece in pieces) <= 4.0
    for piece in pieces:
        offset_sec = piece.start_sec - 5.0
        for word, start_sec, end_sec in piece.words:
            assert (word, pytest.approx(start_sec + offset_sec), pytest.approx(end_sec + offset_sec)) in said
        assert (piece.speaker, piece.group) == ("ann", None)


def test_the_pieces_are_the_whole(tmp_path):
    save_waveform(tmp_path / "in" / "a.wav", noise(25), RATE_HZ)
    save_waveform(tmp_path / "in" / "b.wav", noise(3), RATE_HZ)
    rows = make(
        tmp_path,
        [
            Utterance("a", "a.wav", "a text without times", "en"),
            Utterance("b", "b.wav", "short", "en", words=[("short", 0.1, 0.5)]),
            Utterance("c", "none.wav", "gone", "en"),
            Utterance("part", "a.wav", "", "en", 2.0, 20.0),
        ],
        max_sec=10,
    )
    manifest = tmp_path / "out" / "manifest.jsonl"
    whole, _ = load_waveform(tmp_path / "in" / "a.wav")

    def joined(name):
        found = [row for row in rows if row.id.rpartition("-")[0] == name]
        return np.concatenate(
            [load_waveform(resolve_audio(manifest, row), row.start_sec, row.duration_sec)[0] for row in found]
        )

    np.testing.assert_array_equal(joined("a"), whole)
    np.testing.assert_array_equal(joined("part"), whole[2 * RATE_HZ : 22 * RATE_HZ])
    kept = next(row for row in rows if row.id == "b")
    assert (kept.text, kept.words, kept.start_sec) == ("short", [("short", 0.1, 0.5)], None)
    assert [row["id"] for row in listed(tmp_path, "rejected.jsonl")] == ["c"]
    assert listed(tmp_path, "texts_left_out.jsonl") == [{"id": "a", "text": "a text without times"}]


def test_nothing_that_can_be_read(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match=r"not one utterance that can be read; the first: .*no such audio file"):
        make(tmp_path, [Utterance("c", "none.wav", "gone", "en")])
    with pytest.raises(UserError, match="at least twice --min_sec"):
        make(tmp_path, [Utterance("c", "none.wav", "gone", "en")], max_sec=1)
