"""The decoder in a process of its own: the same samples, and what happens when it dies."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
import torch

from cslm.codecs.units import Units
from cslm.decoder.speech_stream import SpeechStream
from cslm.errors import UserError
from cslm.serving.decoder_process import DecoderProcess
from cslm.serving.rows import EngineError
from tests.serving.test_many import post
from tests.worlds.served import asked, serving

UNITS = [Units(np.arange(place, place + 8)[:, None] % 12) for place in range(0, 40, 8)]


def spoken(stream: Any) -> np.ndarray:
    return np.concatenate([*(stream.push(units).samples for units in UNITS), stream.finish().samples])


def test_the_samples_are_those_of_this_process_and_a_dead_one_is_started_anew(speaking: Any) -> None:
    decoder = speaking.processor.speech_decoder()
    wanted, process = spoken(SpeechStream(decoder, "en", 3)), DecoderProcess(decoder)
    np.testing.assert_allclose(spoken(process.stream("en", 3)), wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    with pytest.raises(UserError, match="xx"):
        process.stream("xx").push(UNITS[0])
    broken = process.stream("en", 3)
    broken.push(UNITS[0])
    process._process.kill()
    with pytest.raises(EngineError, match="ended: ask again"):
        broken.push(UNITS[1])
    with pytest.raises(EngineError, match="anew: ask again"):
        broken.push(UNITS[1])
    stopped = process.stream("en", 3)
    stopped.stop()
    assert not len(stopped.push(UNITS[0]).samples)
    assert len(spoken(process.stream("en", 3))) == len(wanted)
    assert not process._dropped  # the process knows which were stopped
    process.close()
    assert process._process.poll() is not None


def test_a_server_with_it_says_the_same_and_leaves_the_threads_as_they_were(speaking: Any) -> None:
    before = torch.get_num_threads()
    told, body = [], asked(modalities=["text", "audio"], audio={"voice": "en", "format": "wav"})
    for apart in (False, True):
        with serving(speaking, decoder_process=apart) as server:
            status, reply = post(f"127.0.0.1:{server.port}", "/v1/chat/completions", body)
            assert status == 200
            sound = base64.b64decode(reply["choices"][0]["message"]["audio"]["data"])
            told.append(np.frombuffer(sound[44:], "<i2").astype(int))
    assert torch.get_num_threads() == before
    assert len(told[0]) == len(told[1]) > 0 and np.abs(told[0] - told[1]).max() <= 2
