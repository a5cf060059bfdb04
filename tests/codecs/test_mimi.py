"""The family mimi on transformers' own model, at small size, saved and loaded as users have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import MimiConfig, MimiModel

from cslm.codecs.card import Card
from cslm.codecs.codec import merge_repeats
from cslm.codecs.families import load_codec
from cslm.codecs.mimi import Mimi
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from tests.worlds.small_corpus import glide

RATE_HZ = 24000
CLIPS = [glide(seed, duration_sec, RATE_HZ) for seed, duration_sec in enumerate((0.3, 2.1, 0.97, 1.37))]
SMALL = {
    "hidden_size": 32,
    "num_filters": 4,
    "codebook_size": 64,
    "codebook_dim": 16,
    "vector_quantization_hidden_dimension": 16,
    "num_quantizers": 4,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "intermediate_size": 48,
    "upsample_groups": 32,
}

NO_CARD = Card("small", "mimi", RATE_HZ, 12.5, (64,) * 4, {})


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Random weights, large enough that frames differ."""
    folder = tmp_path_factory.mktemp("mimi") / "model"
    model = MimiModel(MimiConfig(**SMALL))
    state, generator = model.state_dict(), torch.Generator().manual_seed(0)
    for name, tensor in state.items():
        if name.endswith("embed_sum"):
            tensor.normal_(0, 0.5, generator=generator)
        elif name.endswith("cluster_usage"):
            tensor.fill_(1)
        elif name.endswith("weight") and tensor.ndim == 3:
            tensor.normal_(0, 1.5 / (tensor.shape[1] * tensor.shape[2]) ** 0.5, generator=generator)
    latents = Mimi(NO_CARD, model.eval(), 4, Runtime())._latents([glide(9, 6.0, RATE_HZ)])[0]
    with torch.no_grad():  # semantic codes lie where latents do
        semantic = model.quantizer.semantic_residual_vector_quantizer
        semantic.layers[0].codebook.embed_sum.copy_(semantic.input_proj(latents[None])[0].T[:64])
    model.save_pretrained(folder)
    return folder


def card(folder: Path, target: Path, num_codebooks: int = 4, **changes: object) -> Path:
    values = {
        "name": "small",
        "family": "mimi",
        "sample_rate_hz": RATE_HZ,
        "frame_rate_hz": 12.5,
        "codebook_sizes": [64] * num_codebooks,
        "parameters": {"num_codebooks": num_codebooks, "version": 1, "channels": "mean"},
        "weights": {"source": str(folder)},
        **changes,
    }
    target.mkdir(exist_ok=True)
    (target / "card.yaml").write_text(yaml.safe_dump(values))
    return target / "card.yaml"


def test_the_first_table_is_what_decides_the_first_units(folder, tmp_path):
    codec = load_codec(card(folder, tmp_path, num_codebooks=2))
    tables = codec.centroids()
    assert [table.shape for table in tables] == [(64, 16), (64, 16)]
    latents = codec._latents([CLIPS[1]])[0]
    semantic = codec._parts["quantizer"].semantic_residual_vector_quantizer
    projected = semantic.input_proj(latents[None])[0].T.detach()
    nearest = torch.cdist(projected, torch.from_numpy(tables[0])).argmin(1)
    assert nearest.tolist() == codec.encode([CLIPS[1]])[0].ids[:, 0].tolist()


def test_units_are_those_of_transformers(folder, tmp_path):
    codec, model = load_codec(card(folder, tmp_path)), MimiModel.from_pretrained(folder).eval()
    for clip, units in zip(CLIPS, codec.encode(CLIPS), strict=True):
        with torch.inference_mode():
            expected = model.encode(torch.from_numpy(clip)[None, None], num_quantizers=4).audio_codes[0].T
        assert units.ids.tolist() == expected.tolist()
    assert len(np.unique(codec.encode(CLIPS)[1].ids[:, 0])) > 3


def test_neighbours_change_nothing(folder, tmp_path):
    path = card(folder, tmp_path)
    alone = load_codec(path, Runtime(batch_sec=1e-6)).encode(CLIPS)
    together = load_codec(path).encode(CLIPS)
    assert [one.ids.tolist() for one in alone] == [one.ids.tolist() for one in together]


def test_the_window_of_attention_holds_in_every_version_of_transformers(folder, tmp_path):
    """Four seconds hence nothing of the first second is left: a window of 25 frames (1 s) through two layers is 2 s."""
    import json
    import shutil

    short = tmp_path / "short"
    shutil.copytree(folder, short)
    config = json.loads((short / "config.json").read_text())

    def narrow(values: dict) -> None:
        for key, value in values.items():
            if key == "sliding_window":
                values[key] = 25
            elif isinstance(value, dict):
                narrow(value)

    narrow(config)
    (short / "config.json").write_text(json.dumps(config))
    codec = load_codec(card(short, tmp_path / "c"))
    clip = glide(5, 6.0, RATE_HZ)
    other = clip.copy()
    other[:RATE_HZ] = glide(6, 1.0, RATE_HZ)
    first, second = (codec._latents([one])[0] for one in (clip, other))
    assert (first - second)[:, :12].abs().max() > 1e-3
    torch.testing.assert_close(first[:, 50:], second[:, 50:], atol=1e-5, rtol=1e-5)


def test_codebooks(folder, tmp_path):
    first, every = (load_codec(card(folder, tmp_path / str(count), count)) for count in (1, 4))
    assert first.encode(CLIPS)[1].ids[:, 0].tolist() == every.encode(CLIPS)[1].ids[:, 0].tolist()
    assert first.fingerprint != every.fingerprint
    assert first.min_num_samples == 1920
    waveform = every.decode(every.encode(CLIPS)[1])
    assert len(waveform) == len(every.encode(CLIPS)[1]) * 1920
    units = first.encode(CLIPS)[1]
    np.testing.assert_allclose(first.decode(merge_repeats(units)), first.decode(units), atol=1e-6)


def test_bad_cards_and_weights_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="num_codebooks is 5, 1 to 4 are there"):
        load_codec(card(folder, tmp_path, 5))
    with pytest.raises(UserError, match=r"its weights have \(24000, 12.5, \(64,\)\)"):
        load_codec(card(folder, tmp_path, 1, frame_rate_hz=25.0))
    with pytest.raises(UserError, match="no weights: {source"):
        load_codec(card(folder, tmp_path, 1, weights=None))
    with pytest.raises(UserError, match="too short: 1919 samples, one frame has 1920"):
        load_codec(card(folder, tmp_path, 1)).encode([CLIPS[0][:1919]])
