from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cslm.codecs.card import Weights, load_card, save_card
from cslm.codecs.families import load_codec
from cslm.codecs.fit_tokenizer import FitTokenizerConfig, fit_tokenizer
from cslm.codecs.ssl_kmeans import SslKMeans, SslKMeansParameters
from cslm.encoders.runtime import Runtime
from cslm.encoders.ssl_features import SslFeatures
from cslm.errors import UserError
from cslm.units.tokenize_corpus import TokenizeCorpusConfig, tokenize_corpus
from tests.worlds.small_corpus import contents, glide
from tests.worlds.ssl_models import KINDS, save_model

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "units" / "ssl_kmeans.json"
CLIPS = [glide(seed, duration_sec) for seed, duration_sec in enumerate((0.31, 1.7, 0.9, 0.55, 1.2))]


@pytest.fixture(scope="module", params=sorted(KINDS))
def model(request, tmp_path_factory) -> Path:
    return save_model(request.param, tmp_path_factory.mktemp("models") / request.param)


@pytest.fixture(scope="module")
def hubert(tmp_path_factory) -> Path:
    return save_model("hubert_base", tmp_path_factory.mktemp("models") / "hubert")


def features(folder: Path, layer: int, batch_sec: float = 60.0, normalize: bool | None = None) -> SslFeatures:
    return SslFeatures(str(folder), None, layer, normalize, Runtime(batch_sec=batch_sec), "a test")


def by_index(extract: SslFeatures, clips: list[np.ndarray]) -> list[torch.Tensor]:
    return [found for _, found in sorted(extract(clips), key=lambda pair: pair[0])]


def fit(folder: Path, seed: int = 0, **parameters: object) -> SslKMeans:
    values = SslKMeansParameters(**{"model": str(folder), "layer": 2, **parameters})
    return SslKMeans.fit(CLIPS, name="small", parameters=values, codebook_size=12, seed=seed)[0]


def test_the_card_brings_back_the_same_units(model, tmp_path):
    codec = fit(model)
    save_card(codec.card(), tmp_path / "card.yaml", codec.tensors)
    opened = load_codec(tmp_path / "card.yaml", Runtime(batch_sec=1.0))
    assert opened.fingerprint == codec.fingerprint
    assert (opened.codebook_sizes, opened.frame_rate_hz) == ((12,), codec.frame_rate_hz)
    for one, other in zip(codec.encode(CLIPS), opened.encode(CLIPS), strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert one.ids.shape[1] == 1


def test_units_are_the_nearest_centroids(hubert):
    codec = fit(hubert)
    found = by_index(features(hubert, 2), CLIPS)
    for units, frames in zip(codec.encode(CLIPS), found, strict=True):
        distances = torch.cdist(frames.double(), torch.from_numpy(codec.tensors["centroids"]).double())
        assert units.ids[:, 0].tolist() == distances.argmin(1).tolist()


def test_fingerprint_and_units_are_those_of_the_other_stack(model):
    """The file was written once, on one stack; every stack and machine has to agree with it."""
    centroids = np.random.default_rng(5).normal(size=(12, 32)).astype(np.float32)
    codec = SslKMeans("golden", Weights("none"), features(model, 3, normalize=True), centroids)
    ids = codec.encode([glide(9, 2.0)])[0].ids[:, 0]
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))[model.name]
    assert codec.fingerprint == golden["fingerprint"], {"fingerprint": codec.fingerprint, "units": ids.tolist()}
    assert np.mean(ids != golden["units"]) <= 0.01  # rounding


def test_fitting_twice_gives_the_same_centroids(hubert):
    assert fit(hubert).fingerprint == fit(hubert).fingerprint
    assert fit(hubert).fingerprint != fit(hubert, seed=1).fingerprint


def test_the_fingerprint_holds_weights_layer_and_normalization_and_no_path(hubert, tmp_path):
    first = fit(hubert)
    elsewhere = save_model("hubert_base", tmp_path / "elsewhere")
    assert fit(elsewhere).fingerprint == first.fingerprint
    tensors = load_file(elsewhere / "model.safetensors")
    late, early = (
        name for name in ("encoder.layers.3.final_layer_norm.bias", "encoder.layers.0.final_layer_norm.bias")
    )
    for name, same in ((late, True), (early, False)):
        tensors[name] = tensors[name] + 1e-3
        save_file(tensors, elsewhere / "model.safetensors", {"format": "pt"})
        again = SslKMeans("small", first.weights, features(elsewhere, 2), first.tensors["centroids"])
        assert (again.fingerprint == first.fingerprint) is same, name
    plain = SslKMeans("small", first.weights, features(hubert, 2, normalize=False), first.tensors["centroids"])
    assert plain.fingerprint != first.fingerprint


def test_weights_that_changed_since_are_refused(hubert, tmp_path):
    folder = save_model("hubert_base", tmp_path / "model")
    codec = fit(folder)
    save_card(codec.card(), tmp_path / "card.yaml", codec.tensors)
    tensors = load_file(folder / "model.safetensors")
    tensors["feature_projection.projection.bias"] += 0.01
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="made with another speech tokenizer"):
        load_codec(tmp_path / "card.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"layer": 2}, "model is missing"),
        ({"model": "a/b"}, "layer is missing"),
        ({"model": "a/b", "layer": "9"}, "layer must be of type int, is '9'"),
        ({"model": "a/b", "layer": 9, "size": 3}, "unknown parameter size; known: model, layer"),
    ],
)
def test_bad_parameters_are_named(values, message):
    with pytest.raises(UserError, match=message):
        SslKMeans.parameters_from(values, "here")


def test_too_short(hubert):
    with pytest.raises(UserError, match="too short: 399 samples, one frame has 400"):
        fit(hubert).encode([CLIPS[0][:399]])


def test_fit_and_tokenize_by_the_tools(hubert, corpus, tmp_path):
    fit_tokenizer(
        FitTokenizerConfig(
            manifests=[str(corpus)],
            output=str(tmp_path / "card.yaml"),
            family="ssl_kmeans",
            codebook_size=16,
            parameters={"model": str(hubert), "layer": 2},
        )
    )
    card = load_card(tmp_path / "card.yaml")
    facts = card.origin["fitted_on"]
    assert facts["mean_square_distance"] == sorted(facts["mean_square_distance"], reverse=True)
    assert card.weights is not None
    assert card.weights.source == str(hubert.resolve())
    assert load_codec(tmp_path / "card.yaml").fingerprint == card.fingerprint


def test_the_store_is_the_same_for_any_number_of_workers(hubert, corpus, tmp_path):
    codec = fit(hubert)
    save_card(codec.card(), tmp_path / "card.yaml", codec.tensors)

    def store(name: str, **options: object) -> dict[str, bytes]:
        given = {"utterances_per_shard": 6, "batch_sec": 2.0, **options}
        tokenize_corpus(TokenizeCorpusConfig([str(corpus)], str(tmp_path / "card.yaml"), str(tmp_path / name), **given))
        return contents(tmp_path / name)

    assert store("one", num_workers=1) == store("two", num_workers=2)


def test_a_store_in_the_making_keeps_its_batches(hubert, corpus, tmp_path, monkeypatch):
    """Rounding differs with the batch: half a store with one size and half with another would be no run's store."""
    codec = fit(hubert)
    save_card(codec.card(), tmp_path / "card.yaml", codec.tensors)
    given = ([str(corpus)], str(tmp_path / "card.yaml"), str(tmp_path / "s"), 1, 6)
    assert tokenize_corpus(TokenizeCorpusConfig(*given, shard="0/2", batch_sec=2.0)) is None
    with pytest.raises(UserError, match=r"holds other work \(batch_sec 2.0, asked for 20.0\)"):
        tokenize_corpus(TokenizeCorpusConfig(*given))
