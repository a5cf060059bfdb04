"""Questions of a connection while something else goes wrong, or is not wanted any more."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from cslm.serving import realtime_questions
from tests.serving.test_many import is_free, until
from tests.worlds.realtime_client import MANUAL, RealtimeClient, of_kind
from tests.worlds.served import base64_of, pcm, serving
from tests.worlds.tiny_checkpoint import tone


@pytest.fixture
def deaf(speaking: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Hearing takes until this is set."""
    go, hear = threading.Event(), type(speaking.processor).units

    def units(self: Any, *given: Any) -> Any:
        go.wait(600)
        return hear(self, *given)

    monkeypatch.setattr(type(speaking.processor), "units", units)
    yield go
    go.set()


def test_a_cancel_while_the_question_is_heard_was_told_when_it_was_heard(
    address: str, server: Any, deaf: threading.Event
) -> None:
    with RealtimeClient(address, MANUAL) as client:
        client.ask()
        client.until("response.created")
        client.send("response.cancel")
        done = client.until("response.done")[-1]["response"]
        assert done["status"] == "cancelled" and not deaf.is_set()
        client.ask()
        client.until("response.created")
        deaf.set()
        assert client.until("response.done")[-1]["response"]["status"] in ("completed", "incomplete")
    assert until(lambda: is_free(server))


def test_a_question_that_is_never_heard_fails_by_its_name(speaking: Any, deaf: threading.Event) -> None:
    with serving(speaking, reply_timeout_sec=0.3) as server:
        with RealtimeClient(f"127.0.0.1:{server.port}", MANUAL) as client:
            done = client.answer()[-1]["response"]
        assert done["status"] == "failed" and done["status_details"]["error"]["code"] == "reply_timeout"
        deaf.set()


def test_whoever_leaves_leaves_no_task_behind(speaking: Any, deaf: threading.Event) -> None:
    """One task that failed kept the others from being cancelled and waited for."""
    from cslm.serving.realtime import RealtimeConnection

    left: list[int] = []
    leave = RealtimeConnection._leave

    async def leaving(self: RealtimeConnection) -> None:
        await leave(self)
        left.append(len(self._replies) + len(self._questions._dropped))

    with serving(speaking) as server, pytest.MonkeyPatch.context() as patched:
        patched.setattr(RealtimeConnection, "_leave", leaving)
        client = RealtimeClient(f"127.0.0.1:{server.port}", MANUAL)
        client.ask()
        client.until("response.created")
        for _ in range(2):  # one is dropped, one waits
            client.send("input_audio_buffer.append", audio=base64_of(pcm()))
            client.send("input_audio_buffer.commit")
        client.until("conversation.item.deleted")
        client.drop()
        assert until(lambda: bool(left)) and left == [0]
        deaf.set()


class Detectors:
    """Where detectors of turns are made and asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads: list[str] = []
        original = realtime_questions.TurnDetector

        def made(*given: Any) -> Any:
            self.threads.append(threading.current_thread().name)
            return original(*given)

        monkeypatch.setattr(realtime_questions, "TurnDetector", made)


def test_a_detector_was_made_for_who_commits_and_one_judged_in_the_loop(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detectors = Detectors(monkeypatch)
    with RealtimeClient(address, MANUAL) as client:
        client.answer()
        assert detectors.threads == []
        client.send("session.update", session={"audio": {"input": {"turn_detection": {"type": "server_vad"}}}})
        client.send("input_audio_buffer.append", audio=base64_of(pcm()))
        client.until("input_audio_buffer.speech_started")
    assert len(detectors.threads) == 1 and detectors.threads[0].startswith("turns")


def test_a_committed_turn_was_answered_without_being_asked_for(address: str) -> None:
    """OpenAI's server creates no response by a commit, whoever finds the ends of turns."""
    with RealtimeClient(address) as client:
        client.send("input_audio_buffer.append", audio=base64_of(pcm()))
        client.send("input_audio_buffer.commit")
        client.send("session.update", session={})
        told = client.until("session.updated")
        assert of_kind(told, "input_audio_buffer.committed") and not of_kind(told, "response.created")
        client.send("response.create")
        assert client.until("response.done")[-1]["response"]["status"] in ("completed", "incomplete")


def test_two_connections_called_their_items_the_same(address: str) -> None:
    """Whoever connected again mixed up what was new with what was old."""
    names = []
    for _ in range(2):
        with RealtimeClient(address, MANUAL) as client:
            names.append({event["item"]["id"] for event in of_kind(client.answer(), "conversation.item.added")})
    assert len(names[0]) == len(names[1]) == 2 and not names[0] & names[1]


def test_an_item_has_the_name_that_the_client_gives(address: str) -> None:
    part = {"type": "input_audio", "audio": base64_of(pcm(tone(0.4, 24000)))}
    item = {"id": "mine", "type": "message", "role": "user", "content": [part]}
    with RealtimeClient(address, MANUAL) as client:
        client.send("conversation.item.create", item=item, previous_item_id="root")
        client.send("response.create")
        told = client.until("response.done")
        assert of_kind(told, "input_audio_buffer.committed") == []
        assert of_kind(told, "conversation.item.added")[0]["item"]["id"] == "mine"
        answer = of_kind(told, "response.output_item.added")[0]["item"]["id"]
        client.send("conversation.item.create", item={**item, "id": "other"}, previous_item_id="mine")
        assert client.next()["error"]["code"] == "unsupported_place"
        client.send("conversation.item.create", item={**item, "id": "other"}, previous_item_id=answer)
        added = client.until("conversation.item.done")[-1]
    assert added["item"]["id"] == "other" and added["previous_item_id"] == answer
