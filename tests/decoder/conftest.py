from __future__ import annotations

import pytest
import torch

from cslm.decoder.decoder_batches import DecoderStream
from cslm.decoder.speech_decoder import SpeechDecoder
from tests.worlds.tone_voices import CARD, make_corpus, open_data


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """A folder with the corpus of :mod:`tests.worlds.tone_voices`."""
    folder = tmp_path_factory.mktemp("tones")
    make_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def tone_data(tones, tmp_path_factory):
    return open_data(tones, tmp_path_factory.mktemp("mels"))


@pytest.fixture(scope="session")
def trained(tone_data) -> SpeechDecoder:
    """Three hundred steps are enough for tones."""
    torch.manual_seed(0)
    decoder = SpeechDecoder(CARD)
    decoder.mel_mean.copy_(torch.from_numpy(tone_data.mels.mean))
    decoder.mel_deviation.copy_(torch.from_numpy(tone_data.mels.deviation))
    stream = DecoderStream(tone_data, decoder.grid, crop_frames=80, crops_per_step=4, crops_per_micro=4, seed=0)
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-2)
    position = {}
    for _ in range(300):
        step = stream.step(position, 0, 1)
        optimizer.zero_grad()
        (decoder(step.micro_batches[0]).weighted_sum / step.counts["mel_frames"]).backward()
        torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
        optimizer.step()
        position = step.position
    return decoder.eval()
