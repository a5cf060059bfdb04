"""Hidden states of self-supervised models are those of transformers, counted and normalized as the authors do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cslm.encoders.runtime import Runtime
from cslm.encoders.ssl_features import SslFeatures
from cslm.errors import UserError
from tests.worlds.small_corpus import glide
from tests.worlds.ssl_models import KINDS, hidden_states, outputs, save_model

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


def test_weights_that_are_not_there_are_named(hubert, tmp_path):
    folder = save_model("hubert_base", tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    del tensors["encoder.layers.1.attention.k_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"no weights for encoder\.layers\.1\.attention\.k_proj\.weight"):
        features(folder, 2)


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
