"""The vectors of a clip never depend on what shares its batch: every connector behind every encoder."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from cslm.encoders.encoder_config import (
    EncoderConfig,
    Fairseq2EncoderConfig,
    HearingConfig,
    LongAudioConfig,
    SslEncoderConfig,
    WhisperEncoderConfig,
)
from cslm.encoders.encoders import ENCODERS, open_hearing
from cslm.encoders.runtime import Runtime
from cslm.model.speech_prompt.connector import Between, Connector
from cslm.model.speech_prompt.connector_config import (
    ConnectorConfig,
    ConvolutionsConfig,
    QFormerConfig,
    StackedConfig,
)
from cslm.model.speech_prompt.connectors import CONNECTORS, build_connector
from cslm.model.speech_prompt.query_bank_config import GateConfig, QFormerShapeConfig, QueryBankConfig
from tests.worlds.asr_models import write_whisper
from tests.worlds.small_corpus import glide
from tests.worlds.ssl_models import KINDS, save_model

SECONDS = (0.31, 2.9, 0.05, 1.7, 0.9, 3.4, 0.55, 1.2)
"""of the clips of a batch; the two that are longer than 2 s are heard in pieces"""
WIDTH = 24
SMALL = {
    "qformer": QFormerConfig(window=7, num_queries=2, hidden_dims=16, num_heads=4),
    "convolutions": ConvolutionsConfig(adapter_dims=8),
    "stacked": StackedConfig(stride=4),
    "query_bank": QueryBankConfig(
        num_queries=5,
        shape=QFormerShapeConfig(width=16, layers=2, heads=2, inner=24),
        gate=GateConfig(selection="soft", width=8),
    ),
}
EXACT = 1e-5
WITH_FAIRSEQ2 = ["fairseq2"] if importlib.util.find_spec("fairseq2") else []


@pytest.fixture(scope="module", params=["whisper", "whisper_window", *sorted(KINDS), *WITH_FAIRSEQ2])
def encoder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders") / request.param
    if request.param.startswith("whisper"):
        whole = request.param == "whisper_window"
        config = EncoderConfig(whisper=WhisperEncoderConfig(str(write_whisper(folder)), whole_window=whole))
    elif request.param == "fairseq2":
        from tests.worlds.fairseq2_models import SMALL as ARCHITECTURE
        from tests.worlds.fairseq2_models import save_checkpoint

        folder.mkdir()
        file = save_checkpoint("fairseq2", folder / "model.pt")
        config = EncoderConfig(fairseq2=Fairseq2EncoderConfig(str(file), layer=3, architecture=dict(ARCHITECTURE)))
    else:
        config = EncoderConfig(ssl=SslEncoderConfig(str(save_model(request.param, folder)), layer=3))
    return open_hearing(HearingConfig(config, LongAudioConfig(most_sec=2.0)), Runtime(batch_sec=60.0))


@pytest.fixture(scope="module", params=sorted(CONNECTORS))
def connector_of(request):
    def build(dims: int) -> Connector:
        config = ConnectorConfig(**{request.param: SMALL[request.param]})
        connector = build_connector(config, Between(dims, WIDTH, 0.05, ("en", "de"))).eval()
        with torch.no_grad():
            for parameter in connector.parameters():  # away from zeros and ones that hide mistakes
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
        return connector

    return build


def vectors(encoder, connector: Connector, clips: list[np.ndarray]) -> list[torch.Tensor]:
    found = dict(encoder(clips))
    frames = [found[index] for index in range(len(clips))]
    lengths = torch.tensor([len(one) for one in frames])
    padded = pad_sequence(frames, batch_first=True, padding_value=float("nan"))  # whatever lies there
    with torch.no_grad():
        connected = connector(padded.clone(), lengths)
    assert not connected.vectors.isnan().any()
    return [one[:length] for one, length in zip(connected.vectors, connected.lengths.tolist(), strict=True)]


def test_alone_is_as_in_a_batch(encoder, connector_of):
    connector = connector_of(encoder.dims)
    clips = [glide(seed, seconds) for seed, seconds in enumerate(SECONDS)]
    together = vectors(encoder, connector, clips)
    assert len({encoder.num_frames(len(clip)) for clip in clips}) >= 5
    for clip, found in zip(clips, together, strict=True):
        (alone,) = vectors(encoder, connector, [clip])
        assert len(alone) == len(found) == connector.num_vectors(encoder.num_frames(len(clip)))
        assert (alone - found).abs().max() <= EXACT * alone.abs().max()


def test_there_is_a_size_for_every_connector_and_encoder():
    assert {"whisper", "ssl", "fairseq2"} == set(ENCODERS)
    assert set(SMALL) == set(CONNECTORS)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_vectors_begin_at_the_size_of_embeddings(name):
    connector = build_connector(ConnectorConfig(**{name: SMALL[name]}), Between(32, WIDTH, 0.05, ("en", "de")))
    with torch.no_grad():
        found = connector(torch.randn(4, 64, 32, generator=torch.Generator().manual_seed(0)), torch.full((4,), 64))
    assert 0.025 < float(found.vectors.square().mean().sqrt()) < 0.1
