"""Convolutions with time first are those of transformers."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel

from cslm.encoders.convolutions import TimeFirstConvolutions
from tests.worlds.small_corpus import glide
from tests.worlds.ssl_models import KINDS, save_model


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "w2v_bert"])
def test_what_transformers_computes_for_waveforms_of_any_length(kind, tmp_path):
    extractor = AutoModel.from_pretrained(save_model(kind, tmp_path / kind)).eval().feature_extractor
    ours = TimeFirstConvolutions(extractor.conv_layers)
    found = []
    with torch.inference_mode():
        for seed, samples in enumerate((8000, 16001, 3333, 1000)):  # longer and shorter than what the buffers hold
            waveform = torch.from_numpy(glide(seed, 1.1)[:samples]) + 0.3  # an offset, which a norm takes off
            found.append((ours(waveform), extractor(waveform[None])[0].T))
    for one, other in found:  # after all: what was given is not written over
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


def test_norm_over_time_of_a_silent_waveform(tmp_path):
    extractor = AutoModel.from_pretrained(save_model("hubert_base", tmp_path / "m")).eval().feature_extractor
    with torch.inference_mode():
        silence = torch.zeros(4000)
        expected = extractor(silence[None])[0].T
        torch.testing.assert_close(TimeFirstConvolutions(extractor.conv_layers)(silence), expected)
