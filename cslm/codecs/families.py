"""The families of speech tokenizers, and how a card becomes its codec."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from cslm.codecs.card import Card, card_tensors, load_card
from cslm.codecs.family import CardCodec, CodecFamily
from cslm.codecs.fingerprint import check_fingerprint
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError

# Name on a card -> "module:Class", a ``CodecFamily``. Imported only when a card of the family is opened.
FAMILIES = {
    "mel_kmeans": "cslm.codecs.mel_kmeans:MelKMeans",
    "ssl_kmeans": "cslm.codecs.ssl_kmeans:SslKMeans",
    "fairseq2_kmeans": "cslm.codecs.fairseq2_kmeans:Fairseq2KMeans",
    "s3": "cslm.codecs.s3:S3",
    "mimi": "cslm.codecs.mimi:Mimi",
    "speechtokenizer": "cslm.codecs.speechtokenizer_rvq:SpeechTokenizerRvq",
}

if TYPE_CHECKING:  # so that mypy holds each of them to the contract
    from cslm.codecs.fairseq2_kmeans import Fairseq2KMeans
    from cslm.codecs.family import FittableFamily
    from cslm.codecs.mel_kmeans import MelKMeans
    from cslm.codecs.mimi import Mimi
    from cslm.codecs.s3 import S3
    from cslm.codecs.speechtokenizer_rvq import SpeechTokenizerRvq
    from cslm.codecs.ssl_kmeans import SslKMeans

    FITTED: list[FittableFamily] = [MelKMeans, SslKMeans, Fairseq2KMeans]
    READY_MADE: list[CodecFamily] = [Mimi, S3, SpeechTokenizerRvq]


def family_class(name: str) -> CodecFamily:
    """The class of a family, imported now.

    Raises:
        UserError: no family of that name.
    """
    if name not in FAMILIES:
        raise UserError(f"unknown family of speech tokenizers {name!r}; known: {', '.join(sorted(FAMILIES))}")
    module, _, attribute = FAMILIES[name].partition(":")
    return cast(CodecFamily, getattr(importlib.import_module(module), attribute))


def load_codec(path_or_name: str | os.PathLike[str], runtime: Runtime | None = None) -> CardCodec:
    """Open the codec of a card and check that it is the one the card speaks of; it runs as ``runtime`` says.

    Raises:
        UserError: no such card or family, tensors that do not fit, or another fingerprint than the card's.
    """
    card = load_card(path_or_name)
    codec = family_class(card.family).from_card(card, runtime or Runtime())
    if card.fingerprint is not None:
        check_fingerprint(card.fingerprint, codec.fingerprint, f"the card {card.path}", "what its file holds")
    return codec


def card_centroids(card: Card) -> list[NDArray[Any]]:
    """The table (units, dims) of each codebook: of the card's own tensors, or of the codec that it names.

    Raises:
        UserError: the card's family keeps no tables, or what it names cannot be loaded.
    """
    if card.artefact is not None and "centroids" in (tensors := card_tensors(card)):
        return [tensors["centroids"]]
    return load_codec(cast(Path, card.path)).centroids()
