"""Every encoder keeps the contract that codecs, alignment and speech prompts rely on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cslm.codecs.fingerprint import fingerprint
from cslm.encoders.audio_batches import AudioBatches, in_order
from cslm.encoders.encoder import Encoder
from cslm.encoders.runtime import Runtime
from tests.worlds.small_corpus import glide
from tests.worlds.ssl_models import KINDS, save_model

CLIPS = [glide(seed, duration_sec) for seed, duration_sec in enumerate((0.31, 1.7, 0.9, 0.55, 1.2))]
Open = Callable[[Runtime], Encoder]


@pytest.fixture(scope="module", params=[*sorted(KINDS), "fairseq2"])
def open_encoder(request, tmp_path_factory) -> Open:
    folder = tmp_path_factory.mktemp("models")
    return _of_fairseq2(folder) if request.param == "fairseq2" else _of_transformers(request.param, folder)


def _of_transformers(kind: str, folder: Path) -> Open:
    from cslm.encoders.ssl_features import SslFeatures

    model = save_model(kind, folder / kind)
    return lambda runtime: SslFeatures(str(model), None, 3, None, runtime, "a test")


def _of_fairseq2(folder: Path) -> Open:
    from tests.worlds.fairseq2_models import SMALL, save_checkpoint

    file = save_checkpoint("fairseq2", folder / "model.pt")
    from cslm.encoders.fairseq2_features import Fairseq2Features

    return lambda runtime: Fairseq2Features(str(file), SMALL, 3, True, runtime, "a test")


@pytest.fixture(scope="module")
def encoder(open_encoder) -> Encoder:
    return open_encoder(Runtime())


def test_a_vector_a_frame(encoder):
    found = list(encoder(CLIPS))
    assert sorted(index for index, _ in found) == list(range(len(CLIPS)))
    for clip, vectors in zip(CLIPS, in_order(found), strict=True):
        assert vectors.shape == (encoder.num_frames(len(clip)), encoder.dims)
        assert vectors.dtype == torch.float32
        assert vectors.isfinite().all()
        assert len(vectors) == pytest.approx(len(clip) / encoder.sample_rate_hz * encoder.frame_rate_hz, abs=2)
    assert list(encoder([])) == []


def test_the_shortest_waveform_has_one_frame(encoder):
    shortest = encoder.min_num_samples
    assert (encoder.num_frames(shortest), encoder.num_frames(shortest - 1), encoder.num_frames(0)) == (1, 0, 0)
    ((_, vectors),) = encoder([glide(1, 1.0)[:shortest]])
    assert vectors.shape == (1, encoder.dims)


def test_neighbours_change_nothing_but_rounding(encoder):
    together = in_order(encoder(CLIPS))
    for clip, vectors in zip(CLIPS, together, strict=True):
        ((_, alone),) = encoder([clip])
        torch.testing.assert_close(vectors, alone, atol=2e-5, rtol=1e-4)


def test_batches_are_those_of_its_runtime_or_those_handed_in(open_encoder, monkeypatch):
    sizes, groups = [], AudioBatches.groups

    def noting(batches, lengths, frame_rate_hz):
        sizes.append(batches.batch_sec)
        return groups(batches, lengths, frame_rate_hz)

    monkeypatch.setattr(AudioBatches, "groups", noting)
    encoder, handed_in = open_encoder(Runtime(batch_sec=2.5)), AudioBatches(60.0)
    assert encoder.runtime == Runtime(batch_sec=2.5)
    assert len(list(encoder(CLIPS))) == len(list(encoder(CLIPS, handed_in))) == len(CLIPS)
    assert sizes == [2.5, 60.0]
    lengths = [encoder.num_frames(len(clip)) for clip in CLIPS]
    assert (handed_in.num_frames, handed_in.num_slots) == (sum(lengths), len(CLIPS) * max(lengths))


def test_what_decides_the_vectors_is_told_in_plain_values(open_encoder, encoder):
    told = {**encoder.parameters(), **encoder.facts()}
    assert json.loads(json.dumps(told, allow_nan=False)).keys() == told.keys()
    assert set(encoder.parameters()) & set(encoder.facts()) == set()
    tensors = encoder.tensors()
    assert tensors and all(tensor.dtype == np.float32 for tensor in tensors.values())
    again = open_encoder(Runtime(batch_sec=1.0))
    assert fingerprint(tensors, told) == fingerprint(again.tensors(), {**again.parameters(), **again.facts()})


def test_it_is_frozen(encoder):
    before = {name: tensor.copy() for name, tensor in encoder.tensors().items()}
    vectors = in_order(encoder(CLIPS[:2]))
    assert not any(one.requires_grad for one in vectors)
    for name, tensor in encoder.tensors().items():
        assert np.array_equal(tensor, before[name]), name
