"""The family mimi on transformers' own model, at small size, saved and loaded as users have it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import MimiModel

from cslm.codecs.families import load_codec
from cslm.codecs.units import merge_repeats
from cslm.encoders.runtime import Runtime
from cslm.errors import UserError
from tests.worlds.mimi_models import RATE_HZ, save_mimi, write_card
from tests.worlds.small_corpus import glide

CLIPS = [glide(seed, duration_sec, RATE_HZ) for seed, duration_sec in enumerate((0.3, 2.1, 0.97, 1.37))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_mimi(tmp_path_factory.mktemp("mimi") / "model")


def test_the_first_table_is_what_decides_the_first_units(folder, tmp_path):
    codec = load_codec(write_card(folder, tmp_path, num_codebooks=2))
    tables = codec.centroids()
    assert [table.shape for table in tables] == [(64, 16), (64, 16)]
    latents = codec._latents([CLIPS[1]])[0]
    semantic = codec._parts["quantizer"].semantic_residual_vector_quantizer
    projected = semantic.input_proj(latents[None])[0].T.detach()
    nearest = torch.cdist(projected, torch.from_numpy(tables[0])).argmin(1)
    assert nearest.tolist() == codec.encode([CLIPS[1]])[0].ids[:, 0].tolist()


def test_units_are_those_of_transformers(folder, tmp_path):
    codec, model = load_codec(write_card(folder, tmp_path)), MimiModel.from_pretrained(folder).eval()
    for clip, units in zip(CLIPS, codec.encode(CLIPS), strict=True):
        with torch.inference_mode():
            expected = model.encode(torch.from_numpy(clip)[None, None], num_quantizers=4).audio_codes[0].T
        assert units.ids.tolist() == expected.tolist()
    assert len(np.unique(codec.encode(CLIPS)[1].ids[:, 0])) > 3


def test_neighbours_change_nothing(folder, tmp_path):
    path = write_card(folder, tmp_path)
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
    codec = load_codec(write_card(short, tmp_path / "c"))
    clip = glide(5, 6.0, RATE_HZ)
    other = clip.copy()
    other[:RATE_HZ] = glide(6, 1.0, RATE_HZ)
    first, second = (codec._latents([one])[0] for one in (clip, other))
    assert (first - second)[:, :12].abs().max() > 1e-3
    torch.testing.assert_close(first[:, 50:], second[:, 50:], atol=1e-5, rtol=1e-5)


def test_codebooks(folder, tmp_path):
    first, every = (load_codec(write_card(folder, tmp_path / str(count), count)) for count in (1, 4))
    assert first.encode(CLIPS)[1].ids[:, 0].tolist() == every.encode(CLIPS)[1].ids[:, 0].tolist()
    assert first.fingerprint != every.fingerprint
    assert first.min_num_samples == 1920
    waveform = every.decode(every.encode(CLIPS)[1])
    assert len(waveform) == len(every.encode(CLIPS)[1]) * 1920
    units = first.encode(CLIPS)[1]
    np.testing.assert_allclose(first.decode(merge_repeats(units)), first.decode(units), atol=1e-6)


def test_bad_cards_and_weights_are_named(folder, tmp_path):
    with pytest.raises(UserError, match="num_codebooks is 5, 1 to 4 are there"):
        load_codec(write_card(folder, tmp_path, 5))
    with pytest.raises(UserError, match=r"its weights have \(24000, 12.5, \(64,\)\)"):
        load_codec(write_card(folder, tmp_path, 1, frame_rate_hz=25.0))
    with pytest.raises(UserError, match="no weights: {source"):
        load_codec(write_card(folder, tmp_path, 1, weights=None))
    with pytest.raises(UserError, match="too short: 1919 samples, one frame has 1920"):
        load_codec(write_card(folder, tmp_path, 1)).encode([CLIPS[0][:1919]])
