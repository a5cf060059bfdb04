"""The dictionary of families, and what is asked of a card by way of its family."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cslm.codecs import families
from cslm.codecs.card import card_tensors, copy_card, load_card, save_card
from cslm.codecs.families import FAMILIES, card_centroids, family_class
from cslm.errors import UserError


def test_every_family_can_be_imported():
    for name in FAMILIES:
        assert family_class(name).family == name


def test_an_unknown_family_names_the_known():
    with pytest.raises(UserError, match=r"unknown family.*'wav2vec9'.*mel_kmeans"):
        family_class("wav2vec9")


def test_centroids_are_the_cards_or_the_codecs(card, tmp_path, monkeypatch):
    """Where the card has them, no weights are loaded: a checkpoint opens where its tokenizer's model is not."""
    (table,) = card_centroids(load_card(card))
    assert np.array_equal(table, card_tensors(load_card(card))["centroids"])

    class Codec:
        def centroids(self):
            return [np.ones((3, 2))]

    own = load_card(copy_card(card, tmp_path))
    without = save_card(dataclasses.replace(own, artefact=None), tmp_path / "card.yaml")
    monkeypatch.setattr(families, "load_codec", lambda path: Codec())
    assert card_centroids(without)[0].shape == (3, 2)
    assert np.array_equal(card_centroids(load_card(card))[0], table)
