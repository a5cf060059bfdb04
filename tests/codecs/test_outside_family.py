"""A family from outside the package is one class and one line of ``FAMILIES``; every verb then takes its cards."""

from __future__ import annotations

import numpy as np
import pytest

from cslm.cli import dispatch
from cslm.codecs.card import load_card
from cslm.codecs.families import FAMILIES, card_centroids, load_codec
from cslm.codecs.units import expand_repeats
from cslm.errors import UserError
from cslm.units.store import UnitStore


@pytest.fixture
def outside(monkeypatch):
    monkeypatch.setitem(FAMILIES, "loudness", "tests.worlds.loudness_codec:Loudness")


def test_from_fitting_to_a_verified_store(outside, corpus, tmp_path, capsys):
    card, store = str(tmp_path / "card.yaml"), str(tmp_path / "units")
    fit = ["--family", "loudness", "--codebook_size", "6", "--parameters.floor_db", "50"]
    dispatch(["fit-tokenizer", str(corpus), "--output", card, *fit])
    codec = load_codec(card)
    assert (load_card(card).name, codec.codebook_sizes) == ("loudness-6", (6,))
    assert load_card(card).origin["fitted_on"]["num_frames"] > 1000
    assert np.array_equal(card_centroids(load_card(card))[0], codec.centroids()[0])
    dispatch(["tokenize-corpus", str(corpus), "--tokenizer", card, "--output", store, "--num_workers", "1"])
    made = UnitStore.open(store)
    assert (len(made), made.fingerprint) == (23, codec.fingerprint)
    assert set(np.concatenate([expand_repeats(row.units).ids[:, 0] for row in made])) == set(range(6))
    dispatch(["verify", store, "--tokenizer", card, "--manifests", f"[{corpus}]"])
    dispatch(["check-tokenizer", card, str(corpus), "--num_utterances", "5"])
    told = capsys.readouterr().out
    assert "23 utterances encoded again, 0.0000% of their units differ" in told
    assert told.count("changed  0.0000%") == 4


def test_its_own_refusals_reach_the_user(outside, corpus, tmp_path):
    given = [str(corpus), "--output", str(tmp_path / "card.yaml"), "--family", "loudness"]
    with pytest.raises(UserError, match=r"parameters of loudness: unknown parameter colour; known: floor_db"):
        dispatch(["fit-tokenizer", *given, "--parameters.colour", "3"])


def test_without_the_line_its_card_is_unknown(outside, corpus, tmp_path, monkeypatch):
    dispatch(["fit-tokenizer", str(corpus), "--output", str(tmp_path / "card.yaml"), "--family", "loudness"])
    monkeypatch.delitem(FAMILIES, "loudness")
    with pytest.raises(UserError, match="unknown family of speech tokenizers 'loudness'"):
        load_codec(tmp_path / "card.yaml")
