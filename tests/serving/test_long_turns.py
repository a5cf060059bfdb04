"""Turns without an end, replies without one: both are cut, and told."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.worlds.realtime_client import MANUAL, RealtimeClient, of_kind
from tests.worlds.served import base64_of, pcm, serving
from tests.worlds.tiny_checkpoint import tone


def test_a_turn_that_is_too_long_is_over(speaking: Any) -> None:
    """Also where it ends within a piece, and silence follows in the same."""
    sound = pcm(np.concatenate([tone(0.5, 24000)] * 5 + [np.zeros(24000, np.float32)]))
    session = {"audio": {"input": {"turn_detection": {"type": "server_vad", "create_response": False}}}}
    with serving(speaking, max_audio_sec=1.0) as server, RealtimeClient(f"127.0.0.1:{server.port}", session) as client:
        for start in range(0, len(sound), 43200):  # 0.9 s
            client.send("input_audio_buffer.append", audio=base64_of(sound[start : start + 43200]))
        client.send("response.create")
        events = client.until("response.done")
    began, ended = of_kind(events, "input_audio_buffer.speech_started"), of_kind(events, "input_audio_buffer.committed")
    assert len(began) == len(ended) == 3 and len(of_kind(events, "conversation.item.deleted")) == 2
    lasted = [event["audio_end_ms"] for event in of_kind(events, "input_audio_buffer.speech_stopped")]
    assert lasted[:2] == [1000, 2000] and events[-1]["response"]["status"] in ("completed", "incomplete")


def test_a_reply_that_takes_too_long_fails_by_its_name(speaking: Any, held: Any) -> None:
    limits = {"reply_timeout_sec": 0.3}
    with serving(speaking, **limits) as server, RealtimeClient(f"127.0.0.1:{server.port}", MANUAL) as client:
        events = client.answer()
        held.end()
    assert [event["error"]["code"] for event in of_kind(events, "error")] == ["reply_timeout"]
    assert events[-1]["response"]["status"] == "failed"
    assert events[-1]["response"]["status_details"]["error"]["code"] == "reply_timeout"
