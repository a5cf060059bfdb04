"""The family fairseq2_kmeans on fairseq2's encoder, at small size, from checkpoints of fairseq and of fairseq2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile  # noqa: F401
import torch
import yaml

pytest.importorskip("fairseq2", reason="fairseq2 belongs to the other stack")

from fairseq2.nn import BatchLayout

from cslm.codecs.card import save_card
from cslm.codecs.fairseq2_kmeans import Fairseq2KMeans, Fairseq2KMeansParameters
from cslm.codecs.families import load_codec
from cslm.encoders.fairseq2_features import Fairseq2Features, _encoder_config
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from tests.worlds.fairseq2_models import SMALL, model, save_checkpoint
from tests.worlds.small_corpus import glide

CLIPS = [glide(seed, duration_sec) for seed, duration_sec in enumerate((0.31, 1.7, 0.9, 1.2))]


@pytest.fixture(scope="module", params=["fairseq", "fairseq2"])
def checkpoint(request, tmp_path_factory) -> Path:
    return save_checkpoint(request.param, tmp_path_factory.mktemp("fs2") / "model.pt")


def features(file: Path, layer: int = 3, batch_sec: float = 60.0, normalize: bool = True) -> Fairseq2Features:
    return Fairseq2Features(str(file), SMALL, layer, normalize, Runtime(batch_sec=batch_sec), "a test")


def by_index(extract: Fairseq2Features, clips: list[np.ndarray]) -> list[torch.Tensor]:
    return [found for _, found in sorted(extract(clips), key=lambda pair: pair[0])]


def block_output(clip: np.ndarray, layer: int) -> torch.Tensor:
    """As Seamless takes it: a hook on fairseq2's whole model."""
    made, kept = model(), []

    def hook(index, output, layout, count):
        if index == layer - 1:
            kept.append(output[0])
        return True

    samples = torch.from_numpy(clip)
    seqs = torch.nn.functional.layer_norm(samples, samples.shape)[None]
    with torch.inference_mode(), made.encoder.register_layer_hook(hook):
        made.encoder(*made.encoder_frontend(seqs, BatchLayout.of(seqs)))
    return kept[0]


def test_the_block_is_the_one_that_seamless_means(checkpoint):
    for layer in (1, 3, 4):
        found = by_index(features(checkpoint, layer), CLIPS[:1])[0]
        torch.testing.assert_close(found, block_output(CLIPS[0], layer), atol=2e-5, rtol=1e-4)


def test_neighbours_change_nothing_but_rounding(checkpoint):
    alone = by_index(features(checkpoint, batch_sec=1e-6), CLIPS)
    for one, other in zip(alone, by_index(features(checkpoint), CLIPS), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_number_of_frames(checkpoint):
    extract = features(checkpoint)
    assert [len(one) for one in by_index(extract, CLIPS)] == [extract.num_frames(len(clip)) for clip in CLIPS]
    assert (extract.frame_rate_hz, extract.min_num_samples, extract.num_frames(400)) == (50.0, 400, 1)


def test_the_card_brings_back_the_same_units(checkpoint, tmp_path):
    parameters = Fairseq2KMeansParameters(model=str(checkpoint), layer=3, architecture=SMALL)
    codec, _ = Fairseq2KMeans.fit(CLIPS, name="small", parameters=parameters, codebook_size=12, seed=0)
    save_card(codec.card(), tmp_path / "card.yaml", codec.tensors)
    assert yaml.safe_load((tmp_path / "card.yaml").read_text())["family"] == "fairseq2_kmeans"
    opened = load_codec(tmp_path / "card.yaml")
    assert opened.fingerprint == codec.fingerprint
    for one, other in zip(codec.encode(CLIPS), opened.encode(CLIPS), strict=True):
        assert one.ids.tolist() == other.ids.tolist()


def test_both_ways_of_writing_a_checkpoint_are_one_tokenizer(tmp_path):
    torch.save(dict(model().state_dict()), tmp_path / "new.pt")
    save_checkpoint("fairseq", tmp_path / "old.pt")
    new, old = (features(tmp_path / name).tensors() for name in ("new.pt", "old.pt"))
    assert set(new) == set(old)
    assert all((new[name] == old[name]).all() for name in new)


def test_what_cannot_be_used_is_named(checkpoint, tmp_path):
    with pytest.raises(UserError, match="layer 5, the encoder has 4"):
        features(checkpoint, 5)
    with pytest.raises(UserError, match="there is no file .*none.pt"):
        features(tmp_path / "none.pt")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(UserError, match="junk.pt cannot be read"):
        features(tmp_path / "junk.pt")
    state = {key: value for key, value in model().state_dict().items() if "layers.1.self_attn" not in key}
    torch.save(state, tmp_path / "part.pt")
    with pytest.raises(UserError, match=r"no weights for encoder\.layers\.1\.self_attn"):
        features(tmp_path / "part.pt")
    with pytest.raises(UserError, match="unknown architecture 'xlsr3'; known: xlsr2_1b_v2"):
        Fairseq2Features("x", "xlsr3", 1, True, Runtime(), "a test")
    with pytest.raises(UserError, match="names depth, which wav2vec 2.0 does not have"):
        Fairseq2Features("x", {"depth": 3}, 1, True, Runtime(), "a test")


def test_the_encoder_of_seamless_has_a_billion_weights():
    config = _encoder_config("xlsr2_1b_v2", "here")
    attention, feed_forward = 4 * config.model_dim**2, 2 * config.model_dim * config.ffn_inner_dim
    assert 0.9e9 < config.num_encoder_layers * (attention + feed_forward) < 1.0e9
