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
from tests.worlds.ssl_models import KINDS, hidden_states, outputs, save_model

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


def test_the_layer_is_the_one_that_transformers_calls_so(model):
    for layer in (1, 3):
        found = by_index(features(model, layer), CLIPS[:1])[0]
        expected = hidden_states(model, CLIPS[0], layer)
        torch.testing.assert_close(found, expected[: len(found)], atol=2e-5, rtol=1e-4)
        assert 0 <= len(expected) - len(found) <= (1 if "w2v_bert" in model.name else 0)


def test_neighbours_change_nothing_but_rounding(model):
    alone = by_index(features(model, 3, batch_sec=0.01), CLIPS)
    together = by_index(features(model, 3), CLIPS)
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_number_of_frames(model):
    extract = features(model, 1)
    assert [len(one) for one in by_index(extract, CLIPS)] == [extract.num_frames(len(clip)) for clip in CLIPS]
    shortest = extract.min_num_samples
    assert extract.num_frames(shortest) == 1
    assert extract.num_frames(shortest - 1) == 0
    assert len(by_index(extract, [glide(1, 1.0)[:shortest]])[0]) == 1
    assert extract.frame_rate_hz == (25 if "25hz" in model.name else 50)


def test_padding_a_base_model_as_others_do_changes_its_features(hubert):
    """The trap: HuBERT-base's group norm averages over padding too. This is what must not happen to us."""
    from transformers import AutoFeatureExtractor, AutoModel

    inputs = AutoFeatureExtractor.from_pretrained(hubert)(
        CLIPS[:2], sampling_rate=16000, return_tensors="pt", padding=True, return_attention_mask=True
    )
    with torch.inference_mode():
        padded = AutoModel.from_pretrained(hubert).eval()(**inputs, output_hidden_states=True).hidden_states[3][0]
    alone = by_index(features(hubert, 3), CLIPS[:1])[0]
    assert (padded[: len(alone)] - alone).abs().max() > 1e-2


def test_the_last_block_is_taken_before_the_norm_that_follows_it(tmp_path):
    folder = save_model("hubert_large", tmp_path / "model")
    last = by_index(features(folder, 4), CLIPS[:1])[0]
    normed = outputs(folder, CLIPS[0]).last_hidden_state[0]
    assert (last - normed).abs().max() > 1e-2
    weight = load_file(folder / "model.safetensors")
    norm = torch.nn.functional.layer_norm(
        last, (32,), weight["encoder.layer_norm.weight"], weight["encoder.layer_norm.bias"], 1e-5
    )
    torch.testing.assert_close(norm, normed, atol=2e-5, rtol=1e-4)


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


def test_weights_that_are_not_there_are_named(hubert, tmp_path):
    folder = save_model("hubert_base", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layers.1.attention.k_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"no weights for encoder\.layers\.1\.attention\.k_proj\.weight"):
        features(folder, 2)


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


def test_models_that_cannot_be_used_are_named(hubert, tmp_path):
    with pytest.raises(UserError, match="layer 5 of .*, which has 4"):
        features(hubert, 5)
    with pytest.raises(UserError, match="there is no folder /nowhere/at/all"):
        features(Path("/nowhere/at/all"), 1)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="of type bert; this family reads hubert, wav2vec2"):
        features(tmp_path, 1)
    (hubert / "preprocessor_config.json").rename(hubert / "away.json")
    try:
        with pytest.raises(UserError, match="give normalize_waveform"):
            features(hubert, 1)
        assert features(hubert, 1, normalize=True).normalize_waveform
    finally:
        (hubert / "away.json").rename(hubert / "preprocessor_config.json")


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
