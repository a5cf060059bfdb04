"""The family speechtokenizer on the package's own network, at small size, in the files that users have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("speechtokenizer", reason="speechtokenizer belongs to the fairseq2 stack")

from cslm.codecs.families import load_codec
from cslm.codecs.units import merge_repeats
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from cslm.units.store import UnitStore
from cslm.units.tokenize_corpus import TokenizeCorpusConfig, tokenize_corpus
from tests.worlds.small_corpus import glide
from tests.worlds.speechtokenizer_models import CONFIG, network, save_network, write_card

CLIPS = [glide(seed, duration_sec) for seed, duration_sec in enumerate((0.3, 2.1, 0.9, 1.37))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_network(tmp_path_factory.mktemp("st") / "hubert_avg")


def test_units_are_those_of_the_package(folder, tmp_path):
    codec, made = load_codec(write_card(folder, tmp_path)), network()
    for clip, units in zip(CLIPS, codec.encode(CLIPS), strict=True):
        with torch.inference_mode():
            expected = made.encode(torch.from_numpy(clip)[None, None])[:, 0].T
        assert units.ids.tolist() == expected.tolist()
    assert len(np.unique(codec.encode(CLIPS)[1].ids[:, 0])) > 3


def test_the_first_table_is_what_decides_the_first_units(folder, tmp_path):
    codec = load_codec(write_card(folder, tmp_path))
    tables = codec.centroids()
    assert [table.shape for table in tables] == [(32, 16)] * 3
    with torch.inference_mode():
        nearest = torch.cdist(codec._latents([CLIPS[1]])[0].T, torch.from_numpy(tables[0])).argmin(1)
    assert nearest.tolist() == codec.encode([CLIPS[1]])[0].ids[:, 0].tolist()


def test_neighbours_change_nothing_where_padding_would(folder, tmp_path):
    path, made = write_card(folder, tmp_path), network()
    alone = load_codec(path, Runtime(batch_sec=1e-6)).encode(CLIPS)
    together = load_codec(path).encode(CLIPS)
    assert [one.ids.tolist() for one in alone] == [one.ids.tolist() for one in together]
    padded = torch.nn.utils.rnn.pad_sequence([torch.from_numpy(clip) for clip in CLIPS], batch_first=True)
    with torch.inference_mode():
        leaked = made.encode(padded[:, None])[:, 0].T[: len(alone[0])]
    assert (leaked.numpy() != alone[0].ids).any()


def test_the_first_codebook_alone_is_the_first_of_all(folder, tmp_path):
    (tmp_path / "one").mkdir()
    first = load_codec(write_card(folder, tmp_path / "one", 1))
    every = load_codec(write_card(folder, tmp_path, 3))
    assert first.codebook_sizes == (32,)
    assert first.encode(CLIPS)[1].ids[:, 0].tolist() == every.encode(CLIPS)[1].ids[:, 0].tolist()
    assert first.fingerprint != every.fingerprint


def test_decoding_gives_sound_of_the_same_length(folder, tmp_path):
    codec = load_codec(write_card(folder, tmp_path, 1))
    units = codec.encode(CLIPS)[1]
    waveform = codec.decode(merge_repeats(units))
    assert abs(len(waveform) - len(CLIPS[1])) < 2 * codec.min_num_samples
    np.testing.assert_array_equal(waveform, codec.decode(units))


def test_a_store_keeps_every_codebook(folder, corpus, tmp_path):
    tokenize_corpus(
        TokenizeCorpusConfig([str(corpus)], str(write_card(folder, tmp_path)), str(tmp_path / "s"), num_workers=1)
    )
    store = UnitStore.open(tmp_path / "s")
    assert store.codebook_sizes == (32, 32, 32)
    assert store.row(0).units.ids.shape[1] == 3
    assert store.row(0).units.durations is None


def test_bad_cards_and_weights_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="num_codebooks is 4, 1 to 3 are there"):
        load_codec(write_card(folder, tmp_path, 4))
    with pytest.raises(UserError, match=r"its weights have \(16000, 50.0, \(32,\)\)"):
        load_codec(write_card(folder, tmp_path, 1, codebook_sizes=[64]))
    with pytest.raises(UserError, match="there is no .*/hubert_avg/config.json"):
        load_codec(write_card(folder, tmp_path, 1, weights={"source": str(tmp_path)}))
    broken = tmp_path / "broken" / "hubert_avg"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text(json.dumps({**CONFIG, "dimension": 20}))
    (broken / "SpeechTokenizer.pt").write_bytes((folder / "SpeechTokenizer.pt").read_bytes())
    with pytest.raises(UserError, match="size mismatch"):
        load_codec(write_card(broken, tmp_path, 1))
    (broken / "SpeechTokenizer.pt").write_bytes(b"junk")
    with pytest.raises(UserError, match="SpeechTokenizer.pt cannot be read"):
        load_codec(write_card(broken, tmp_path, 1))
