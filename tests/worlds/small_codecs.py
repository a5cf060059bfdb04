"""A card of every family, on real architectures with tiny random weights; those of the other stack are skipped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cslm.codecs.card import save_card
from cslm.codecs.families import family_class
from tests.worlds.small_corpus import glide

CLIPS = [glide(seed, duration_sec) for seed, duration_sec in enumerate((0.31, 1.7, 0.9, 0.55, 1.2))]
"""What is fitted on, at 16 kHz."""

NUM_UNITS = 12


def mel_kmeans(folder: Path) -> Path:
    """Fitted on the clips."""
    return _fitted("mel_kmeans", {}, folder)


def ssl_kmeans(folder: Path) -> Path:
    """Block 2 of a HuBERT-base."""
    from tests.worlds.ssl_models import save_model

    model = save_model("hubert_base", folder / "model")
    return _fitted("ssl_kmeans", {"model": str(model), "layer": 2}, folder)


def fairseq2_kmeans(folder: Path) -> Path:
    """Block 2 of a wav2vec 2.0."""
    from tests.worlds.fairseq2_models import SMALL, save_checkpoint

    model = save_checkpoint("fairseq2", folder / "model.pt")
    return _fitted("fairseq2_kmeans", {"model": str(model), "layer": 2, "architecture": SMALL}, folder)


def s3(folder: Path) -> Path:
    """The network at 25 Hz."""
    from tests.worlds.s3_models import write_card

    return write_card("speech_tokenizer_v1_25hz", folder)


def mimi(folder: Path) -> Path:
    """Two of four codebooks."""
    from tests.worlds.mimi_models import save_mimi, write_card

    return write_card(save_mimi(folder / "model"), folder, 2)


def speechtokenizer(folder: Path) -> Path:
    """Two of three codebooks."""
    from tests.worlds.speechtokenizer_models import save_network, write_card

    return write_card(save_network(folder / "model" / "hubert_avg"), folder, 2)


MAKERS: dict[str, Callable[[Path], Path]] = {
    maker.__name__: maker for maker in (mel_kmeans, ssl_kmeans, fairseq2_kmeans, s3, mimi, speechtokenizer)
}


def _fitted(name: str, values: dict[str, object], folder: Path) -> Path:
    family = family_class(name).fittable()
    parameters = family.parameters_from(values, "a test")
    codec, _ = family.fit(CLIPS, name="small", parameters=parameters, codebook_size=NUM_UNITS, seed=0)
    save_card(codec.card({"fitted_on": "clips"}), folder / "card.yaml", codec.tensors)
    return folder / "card.yaml"
