"""``/v1/realtime`` event by event: turns, cancelling, what was heard, borders, errors in between."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

from cslm.generation.decoding import DecodingConfig
from cslm.serving.rows import Row
from tests.worlds.realtime_client import MANUAL, RealtimeClient, of_kind, said, sound
from tests.worlds.served import LIMITS, base64_of, pcm
from tests.worlds.tiny_checkpoint import tone

SHORT = DecodingConfig(max_new_tokens=LIMITS["max_new_tokens"])
ENGLISH = {"answer_language": "en", "question_language": "en"}
QUIET = np.zeros(24000, np.float32)


def manual(**own: Any) -> dict[str, Any]:
    return {**MANUAL, "cslm": {**ENGLISH, **own}}


def test_the_session_tells_what_can_be_set(address: str) -> None:
    with RealtimeClient(address) as client:
        session = client.first["session"]
        assert client.first["type"] == "session.created" and session["model"] == "tiny"
        assert session["audio"]["input"]["turn_detection"]["type"] == "server_vad"
        assert session["cslm"]["voices"] == ["en", "zh"] and session["cslm"]["events"] == []
        client.send("session.update", session={"audio": {"output": {"voice": "zh"}}, "max_output_tokens": 9})
        updated = client.next()["session"]
        assert updated["cslm"]["answer_language"] == "zh" and updated["max_output_tokens"] == 9
        client.send("session.update", session=updated)  # what is told may be sent back as it is
        assert client.next()["session"] == updated


def test_a_stock_client_gets_no_event_of_ours(address: str) -> None:
    with RealtimeClient(address, MANUAL) as client:
        assert not [event for event in client.answer() if event["type"].startswith("cslm.")]


def test_borders_units_and_latency(address: str) -> None:
    wanted = ["units", "borders", "texts", "ids", "latency"]
    with RealtimeClient(address, manual(events=wanted)) as client:
        events = client.answer()
    units = [unit for event in of_kind(events, "cslm.units.delta") for unit in event["units"]]
    firsts = [event["first_unit"] for event in of_kind(events, "cslm.units.delta")]
    assert firsts == list(range(len(units)))  # one by one, over all chunks
    borders = of_kind(events, "cslm.audio.borders")
    ends = [end for event in borders for end in event["unit_ends"]]
    assert len(ends) == len(units) and ends == sorted(ends)
    num_samples = len(sound(events)) // 2
    assert sum(event["num_samples"] for event in borders) == num_samples and abs(ends[-1] - num_samples) <= 240
    assert [event["first_sample"] for event in borders] == list(
        np.cumsum([0, *(event["num_samples"] for event in borders)])[:-1]
    )
    starts = [pair for event in borders for pair in event["chunk_starts"]]
    chunks = [event["chunk"] for event in of_kind(events, "cslm.units.delta")]
    for chunk, start in starts:
        before = sum(one < chunk for one in chunks)
        assert start == (ends[before - 1] if before else 0)
    assert [chunk for chunk, _ in starts] == list(range(len(starts))) and len(starts) >= len(set(chunks)) > 1
    texts = "".join(event["delta"] for event in of_kind(events, "cslm.chunk.delta"))
    assert texts == said(events) and texts.startswith("Anna works")
    times = {event["part"]: event["time_ms"] for event in of_kind(events, "cslm.latency")}
    parts = {"admitted", "heard", "first_text", "first_units", "first_audio", "end"}
    assert set(times) == parts and times["end"] == max(times.values())
    (ids,) = of_kind(events, "cslm.reply.ids")
    assert len(ids["ids"]) == events[-1]["response"]["usage"]["output_tokens"] and "<sosp>" in ids["prompt"]


def test_the_server_ends_the_turn_by_silence(address: str) -> None:
    silence = {"type": "server_vad", "silence_duration_ms": 200}
    with RealtimeClient(address, {"audio": {"input": {"turn_detection": silence}}, "cslm": ENGLISH}) as client:
        data = pcm(np.concatenate([QUIET[:4800], tone(0.6, 24000), QUIET]))
        for start in range(0, len(data), 960):
            client.send("input_audio_buffer.append", audio=base64_of(data[start : start + 960]))
        events = client.until("response.done")
    kinds = [event["type"] for event in events]
    assert kinds[:3] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
    ]
    assert abs(events[0]["audio_start_ms"] - 0) <= 20 and abs(events[1]["audio_end_ms"] - 1000) <= 40
    assert len({event["item_id"] for event in events[:3]}) == 1 and len(sound(events)) > 2400


def test_speech_stops_a_reply(address: str, held: Any) -> None:
    silence = {"type": "server_vad", "silence_duration_ms": 200}
    question = pcm(np.concatenate([tone(0.6, 24000), QUIET[:7200]]))
    with RealtimeClient(address, {"audio": {"input": {"turn_detection": silence}}, "cslm": ENGLISH}) as client:
        client.send("input_audio_buffer.append", audio=base64_of(question))
        client.until("response.created")
        client.send("input_audio_buffer.append", audio=base64_of(question))
        events = client.until("response.done")
        assert events[-1]["response"]["status"] == "cancelled"
        assert events[-1]["response"]["status_details"]["reason"] == "turn_detected"
        held.end()
        second = client.until("response.done")
    assert second[-1]["response"]["status"] in ("completed", "incomplete")
    assert second[-1]["response"]["id"] != events[-1]["response"]["id"]


def test_cancelled_at_once_and_asked_again(address: str, held: Any) -> None:
    with RealtimeClient(address, manual(events=["ids"])) as client:
        client.ask()
        client.until("response.created")
        client.send("response.cancel")
        client.send("input_audio_buffer.append", audio=base64_of(pcm()))
        client.send("input_audio_buffer.commit")
        client.send("response.create")
        first = client.until("response.done")  # though the model stands still
        held.end()
        second = client.until("response.done")
    assert first[-1]["response"]["status"] == "cancelled"
    assert first[-1]["response"]["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
    assert second[-1]["response"]["status"] in ("completed", "incomplete")


def last_prompt(client: RealtimeClient) -> str:
    return of_kind(client.answer(), "cslm.reply.ids")[0]["prompt"]


def test_history_keeps_what_was_heard(address: str, speaking: Any) -> None:
    with RealtimeClient(address, manual(events=["ids", "units", "borders"])) as client:
        events = client.answer()
        answer = of_kind(events, "response.output_item.added")[0]["item"]["id"]
        ends = [end for event in of_kind(events, "cslm.audio.borders") for end in event["unit_ends"]]
        assert len(ends) > 3
        heard_ms = 1000 * ends[0] / 24000 + 1  # a unit, and a little of the second
        client.send("conversation.item.truncate", item_id=answer, content_index=0, audio_end_ms=heard_ms)
        assert client.next()["type"] == "conversation.item.truncated"
        cut = last_prompt(client)
    with RealtimeClient(address, manual(events=["ids"])) as client:
        client.answer()
        whole = last_prompt(client)
    units = [unit for event in of_kind(events, "cslm.units.delta") for unit in event["units"]]
    assert f"works<sosp><{units[0]}><eosp>" in cut.replace(" ", "") and len(cut) < len(whole)


def test_a_truncation_before_the_answer_cut_the_one_before_it(address: str, held: Any) -> None:
    with RealtimeClient(address, manual(events=["ids"])) as client:
        held.go.set()
        client.answer()
        with_one = last_prompt(client)
        held.go.clear()
        client.ask()
        item = client.until("response.output_item.added")[-1]["item"]["id"]
        client.send("conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=0)
        client.until("conversation.item.truncated")
        client.send("response.cancel")
        client.until("response.done")
        held.go.set()
        assert last_prompt(client).startswith(with_one)  # both answers stand before it


def test_an_answer_in_text_was_forgotten_when_it_was_cancelled(
    address: str, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, writing = threading.Event(), Row.tell

    def tell(self: Row, *given: Any) -> None:
        writing(self, *given)
        if self.kind.writes == "anything" and self.left < self.most - 3:
            go.wait(600)

    with RealtimeClient(address, {**manual(events=["ids"]), "output_modalities": ["text"]}) as client:
        monkeypatch.setattr(Row, "tell", tell)
        monkeypatch.setattr(Row, "most", LIMITS["max_new_tokens"], raising=False)
        client.ask()
        client.until("response.output_text.delta")
        client.send("response.cancel")
        done = client.until("response.done")[-1]["response"]
        go.set()
        (item,) = done["output"]
        read = item["content"][0]["text"]
        assert done["status"] == "cancelled" and read
        assert read.split()[0] in last_prompt(client)


def test_an_answer_nobody_heard_is_no_turn(address: str) -> None:
    with RealtimeClient(address, manual(events=["ids"])) as client:
        first = client.answer()
        answer = of_kind(first, "response.output_item.added")[0]["item"]["id"]
        client.send("conversation.item.truncate", item_id=answer, content_index=0, audio_end_ms=0)
        client.next()
        assert last_prompt(client) == of_kind(first, "cslm.reply.ids")[0]["prompt"]


def test_a_question_that_is_followed_by_another_is_taken_out(address: str) -> None:
    with RealtimeClient(address, MANUAL) as client:
        for _ in range(2):
            client.send("input_audio_buffer.append", audio=base64_of(pcm()))
            client.send("input_audio_buffer.commit")
        client.send("response.create")
        events = client.until("response.done")
    committed = of_kind(events, "input_audio_buffer.committed")
    (deleted,) = of_kind(events, "conversation.item.deleted")
    assert deleted["item_id"] == committed[0]["item_id"] and committed[1]["previous_item_id"] is None
    assert events[-1]["response"]["status"] in ("completed", "incomplete")


def test_a_whole_question_is_the_same_as_one_in_pieces(address: str) -> None:
    with RealtimeClient(address, manual(events=["ids"])) as client:
        pieces = of_kind(client.answer(), "cslm.reply.ids")[0]["ids"]
    with RealtimeClient(address, manual(events=["ids"])) as client:
        part = {"type": "input_audio", "audio": base64_of(pcm())}
        item = {"type": "message", "role": "user", "content": [part]}
        client.send("conversation.item.create", item=item)
        client.send("response.create", response={"output_modalities": ["text"]})
        events = client.until("response.done")
    assert of_kind(events, "cslm.reply.ids")[0]["ids"] == pieces
    assert of_kind(events, "response.output_text.delta") and not sound(events)


def test_errors_name_the_event_and_change_nothing(address: str, held: Any) -> None:
    with RealtimeClient(address, MANUAL) as client:
        client.send("session.update", session={"max_output_tokens": 5, "cslm": {"seed": -1}}, event_id="mine")
        error = client.next()["error"]
        assert (error["code"], error["event_id"], error["type"]) == ("out_of_range", "mine", "invalid_request_error")
        client.send("session.update", session={})
        assert client.next()["session"]["max_output_tokens"] == "inf"
        client.send("response.create")
        assert client.next()["error"]["code"] == "no_question"
        client.ask()
        client.until("response.created")
        client.send("response.create")
        events = client.until("error")
        held.end()
        client.until("response.done")
    refused = [event["error"]["code"] for event in of_kind(events, "error")]
    assert refused == ["conversation_already_has_active_response"]


def test_a_question_too_short_fails_its_response(address: str) -> None:
    with RealtimeClient(address, MANUAL) as client:
        events = client.answer(np.zeros(20, np.float32))
        assert [event["error"]["code"] for event in of_kind(events, "error")] == ["audio_not_usable"]
        assert events[-1]["response"]["status"] == "failed"
        assert client.answer()[-1]["response"]["status"] in ("completed", "incomplete")


def test_drawn_replies_are_those_of_respond(address: str, speaking: Any) -> None:
    import torch

    with RealtimeClient(address, manual(events=["ids"], temperature=1.0, seed=7)) as client:
        (ids,) = of_kind(client.answer(), "cslm.reply.ids")
    samples = np.frombuffer(pcm(), "<i2").astype(np.float32) / 32768
    drawn = DecodingConfig(max_new_tokens=LIMITS["max_new_tokens"], temperature=1.0)
    *_, end = speaking.stream((samples, 24000), "en", "en", drawn, torch.Generator().manual_seed(7))
    assert ids["ids"] == list(end.ids)


def test_too_many_errors_end_the_connection(speaking: Any) -> None:
    from websockets.exceptions import ConnectionClosed

    from tests.worlds.served import serving

    with serving(speaking, max_errors=3) as server, RealtimeClient(f"127.0.0.1:{server.port}") as client:
        for _ in range(3):
            client.send_text("{")
        with pytest.raises(ConnectionClosed) as closed:
            while json.loads(json.dumps(client.next()))["type"] == "error":
                pass
    assert closed.value.rcvd is not None and closed.value.rcvd.code == 1008
