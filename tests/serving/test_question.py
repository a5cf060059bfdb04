"""A question is read while it is still spoken, where units allow it; the answer is the same."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest

from cslm.codecs.mel_kmeans import MelKMeans, MelKMeansParameters
from cslm.generation.decoding import DecodingConfig
from cslm.generation.listening import ReadAhead
from tests.worlds.realtime_client import MANUAL, RealtimeClient, of_kind
from tests.worlds.served import LIMITS, base64_of, pcm, serving
from tests.worlds.tiny_checkpoint import NUM_UNITS, tone

BOUNDED = MelKMeansParameters(fixed_level=1, mean_share=0.0, num_warps=1, change_penalty=0.0)
OWN = {"answer_language": "zh", "question_language": "en", "events": ["units", "ids"]}


@pytest.fixture
def bounded(speaking: Any) -> Any:
    """The model, with a speech tokenizer whose units depend on a part of the clip."""
    tones = [tone(2.0, 16000, 150.0 + 80 * index, index) for index in range(6)]
    codec, _ = MelKMeans.fit(tones, name="bounded", parameters=BOUNDED, codebook_size=NUM_UNITS, seed=0)
    other = copy.copy(speaking)
    other.processor = copy.copy(speaking.processor)
    other.processor.codec = codec
    return other


def test_it_is_read_while_it_is_spoken(bounded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read, original = threading.Event(), ReadAhead.read

    def reading(self: ReadAhead, *given: Any, **more: Any) -> None:
        original(self, *given, **more)
        if self.num_ids:
            read.set()

    monkeypatch.setattr(ReadAhead, "read", reading)
    question = np.concatenate([tone(0.8, 24000, 200.0 + 90 * part, part) for part in range(4)])
    data = pcm(question)
    with serving(bounded) as server, RealtimeClient(f"127.0.0.1:{server.port}", {**MANUAL, "cslm": OWN}) as client:
        assert client.first["session"]["cslm"]["hears_ahead"] is True
        for start in range(0, len(data), 9600):
            if start >= 9600 * 10:
                assert read.wait(600)  # before the question is over
            client.send("input_audio_buffer.append", audio=base64_of(data[start : start + 9600]))
        client.send("input_audio_buffer.commit")
        client.send("response.create")
        events = client.until("response.done")
    (heard,), (written,) = of_kind(events, "cslm.question.heard"), of_kind(events, "cslm.reply.ids")
    samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    short = DecodingConfig(max_new_tokens=LIMITS["max_new_tokens"])
    first, *_, end = bounded.stream((samples, 24000), "zh", "en", short)
    assert heard["units"] == first.units.ids[:, 0].tolist() and heard["num_ids_read_ahead"] > 8
    assert written["ids"] == list(end.ids)


@pytest.mark.parametrize("name", ["read", "begun"])
def test_a_reading_ahead_that_failed_took_the_question_with_it(
    bounded: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Now all of the prompt is read when the question is over."""
    failed, original = threading.Event(), getattr(ReadAhead, name)

    def failing(self: ReadAhead, *given: Any, **more: Any) -> None:
        original(self, *given, **more)
        failed.set()
        raise RuntimeError("out of memory")

    data = pcm(tone(3.0, 24000))
    with serving(bounded) as server, RealtimeClient(f"127.0.0.1:{server.port}", {**MANUAL, "cslm": OWN}) as client:
        (whole,) = of_kind(client.answer(tone(3.0, 24000)), "cslm.reply.ids")
    monkeypatch.setattr(ReadAhead, name, failing)
    with serving(bounded) as server, RealtimeClient(f"127.0.0.1:{server.port}", {**MANUAL, "cslm": OWN}) as client:
        client.send("input_audio_buffer.append", audio=base64_of(data))
        if name == "read":
            assert failed.wait(600)
        client.send("input_audio_buffer.commit")
        client.send("response.create")
        events = client.until("response.done")
    assert failed.is_set() and of_kind(events, "cslm.reply.ids")[0]["ids"] == whole["ids"]
    assert not of_kind(events, "error")


def test_what_was_read_for_another_answer_is_left(bounded: Any) -> None:
    """The language of the answer may be said as late as the answer is asked for."""
    with serving(bounded) as server, RealtimeClient(f"127.0.0.1:{server.port}", {**MANUAL, "cslm": OWN}) as client:
        client.send("input_audio_buffer.append", audio=base64_of(pcm(tone(2.0, 24000))))
        client.send("input_audio_buffer.commit")
        client.send("response.create", response={"audio": {"output": {"voice": "en"}}})
        events = client.until("response.done")
    (heard,) = of_kind(events, "cslm.question.heard")
    assert heard["answer_language"] == "en" and heard["num_ids_read_ahead"] == 0
    assert events[-1]["response"]["status"] in ("completed", "incomplete")
