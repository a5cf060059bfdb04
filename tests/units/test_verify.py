from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from cslm.audio.waveform import save_waveform
from cslm.cli import dispatch
from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.units.shards import read_header, write_header, write_shard
from cslm.units.store import UnitStore
from cslm.units.tokenize_corpus import TokenizeCorpusConfig, tokenize_corpus
from cslm.units.verify import VerifyConfig, verify
from tests.worlds.small_corpus import fit_card, glide


@pytest.fixture
def store(corpus, card, tmp_path):
    folder = tmp_path / "store"
    tokenize_corpus(TokenizeCorpusConfig([str(corpus)], str(card), str(folder), num_workers=1, utterances_per_shard=10))
    return folder


def faults(store, capsys, **more):
    with pytest.raises(UserError, match="fault"):
        verify(VerifyConfig(str(store), **more))
    return capsys.readouterr().err


def test_a_whole_store(store, corpus, card, capsys):
    dispatch(["verify", str(store), "--tokenizer", str(card), "--manifests", json.dumps([str(corpus)])])
    told = capsys.readouterr().out
    assert "whole; 3 shards, 23 utterances" in told
    assert "23 utterances encoded again, 0.0000% of their units differ" in told


def test_a_flipped_bit(store, capsys):
    file = store / "shard-00001.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert "shard-00001.parquet changed since it was written" in faults(store, capsys)


def test_a_missing_and_a_truncated_shard_are_both_named(store, capsys):
    (store / "shard-00000.parquet").unlink()
    file = store / "shard-00002.parquet"
    file.write_bytes(file.read_bytes()[:-7])
    told = faults(store, capsys)
    assert "shard-00000.parquet is missing" in told
    assert "shard-00002.parquet changed" in told


def test_another_card(store, corpus, tmp_path, capsys):
    other = fit_card(corpus, tmp_path / "other.yaml", seed=5)
    assert "made with sha256:" in faults(store, capsys, tokenizer=str(other))


def rewrite(store, change):
    """The first shard with other rows, under a header that fits it."""
    rows = [UnitStore.open(store).row(i) for i in range(10)]
    header = read_header(store)
    info = write_shard(store, 0, change(rows), header.codebook_sizes)
    shards = (info, *header.shards[1:])
    totals = {key: sum(getattr(s, key) for s in shards) for key in ("num_utterances", "num_units", "num_frames")}
    write_header(
        store, dataclasses.replace(header, shards=shards, audio_sec=sum(s.audio_sec for s in shards), **totals)
    )


def test_an_id_twice(store, capsys):
    rewrite(store, lambda rows: [*rows, rows[3]])
    assert f"the id {UnitStore.open(store).row(3).id!r} stands in the store twice" in faults(store, capsys)


def test_units_outside_the_codebook_and_a_wrong_sum(store, capsys):
    header = read_header(store)
    rows = [UnitStore.open(store).row(i) for i in range(10)]
    table = pq.read_table(store / "shard-00000.parquet")
    columns = table.to_pydict()
    columns["units"][2][0] = 16
    columns["durations"][4][0] += 1
    pq.write_table(type(table).from_pydict(columns, schema=table.schema), store / "shard-00000.parquet")
    content = (store / "shard-00000.parquet").read_bytes()
    info = dataclasses.replace(header.shards[0], sha256=hashlib.sha256(content).hexdigest(), num_bytes=len(content))
    write_header(store, dataclasses.replace(header, shards=(info, *header.shards[1:])))
    told = faults(store, capsys)
    assert f"{rows[2].id!r}: a unit outside its codebook of (16,)" in told
    assert f"{rows[4].id!r}: its durations do not add up to num_frames" in told


def test_counts_of_the_header(store, capsys):
    header = read_header(store)
    write_header(store, dataclasses.replace(header, num_units=header.num_units + 1, num_rejected=2))
    told = faults(store, capsys)
    assert "num_units of the shards is" in told
    assert "rejected.jsonl lists 0 utterances, the header says 2" in told


def test_units_that_are_not_those_of_the_audio(store, corpus, card, capsys):
    def shifted(rows):
        return [dataclasses.replace(row, units=Units((row.units.ids + 1) % 16, row.units.durations)) for row in rows]

    rewrite(store, shifted)
    assert "differ when encoded again" in faults(store, capsys, tokenizer=str(card), manifests=[str(corpus)])


def test_audio_that_changed_since(store, corpus, card, tmp_path, capsys):
    moved = tmp_path / "corpus"
    shutil.copytree(corpus.parent, moved)
    save_waveform(moved / "audio" / "000.wav", glide(0, 2.0), 16000)
    told = faults(store, capsys, tokenizer=str(card), manifests=[str(moved / corpus.name)])
    assert "'u000' has 30 frames, its audio 200: did the audio change?" in told


def test_a_sample_wants_the_card(store, corpus):
    with pytest.raises(UserError, match="name the card too"):
        verify(VerifyConfig(str(store), manifests=[str(corpus)]))


def test_several_codebooks(tmp_path):
    from cslm.units.store import StoreRow, write_store

    rows = [StoreRow(str(i), "en", "a", 1.0, Units(np.full((5, 2), i, np.int64))) for i in range(3)]
    write_store(tmp_path / "s", rows, fingerprint="unknown", card="x", codebook_sizes=(8, 4), frame_rate_hz=5.0)
    assert verify(VerifyConfig(str(tmp_path / "s"))).num_units == 15
