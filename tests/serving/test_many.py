"""Many at once: the same ids as alone, a bounded queue, places that are free again whoever goes."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any

import numpy as np
import pytest

from cslm.serving.places import Places
from cslm.serving.refusals import Refusal
from cslm.serving.rows import EngineError
from cslm.serving.running_server import RunningServer, ServerOptions
from tests.worlds.realtime_client import MANUAL, RealtimeClient, of_kind
from tests.worlds.served import asked, pcm, serving
from tests.worlds.tiny_checkpoint import tone

ENGLISH = {"answer_language": "en", "question_language": "en", "events": ["ids"]}


def post(address: str, path: str, body: Any) -> tuple[int, dict[str, Any]]:
    connection = HTTPConnection(address, timeout=600)
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    told = json.loads(response.read())
    connection.close()
    return response.status, told


def until(wanted: Any, seconds: float = 600) -> bool:
    """Whether something becomes so."""
    end = time.monotonic() + seconds
    while not wanted():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def is_free(server: Any) -> bool:
    running = server.served.engine._running
    return server.served.places.counts() == (0, 0) and not any(one.is_open for one in running)


def test_many_connections_get_the_ids_that_each_gets_alone(server: Any, address: str) -> None:
    def ids(number: int) -> list[int]:
        own = {**ENGLISH, "temperature": 1.0 if number % 2 else 0.0, "seed": number}
        with RealtimeClient(address, {**MANUAL, "cslm": own}) as client:
            events = client.answer(tone(0.4 + 0.1 * number, 24000, 200.0 + 50 * number))
        return of_kind(events, "cslm.reply.ids")[0]["ids"]

    alone = [ids(number) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(ids, range(6)))
    assert together == alone and len({tuple(one) for one in alone}) > 2
    assert until(lambda: is_free(server))


def test_beyond_the_queue_requests_are_refused_at_once(speaking: Any, held: Any) -> None:
    with serving(speaking, num_replies=1, num_waiting=1) as server:
        address = f"127.0.0.1:{server.port}"
        clients = [RealtimeClient(address, {**MANUAL, "cslm": ENGLISH}) for _ in range(3)]
        for client in clients[:2]:
            client.ask()
            client.until("response.created")
        clients[2].ask()
        (error,) = of_kind(clients[2].until("error"), "error")
        assert error["error"]["code"] == "server_busy" and error["error"]["type"] == "overloaded_error"
        status, told = post(address, "/v1/chat/completions", asked())
        assert status == 503 and told["error"]["code"] == "server_busy"
        held.end()
        for client in clients[:2]:
            assert client.until("response.done")[-1]["response"]["status"] in ("completed", "incomplete")
        clients[2].send("response.create")  # the question was kept
        assert clients[2].until("response.done")[-1]["response"]["status"] in ("completed", "incomplete")
        for client in clients:
            client.__exit__(None, None, None)


@pytest.mark.parametrize("how", ["cancel", "close", "drop", "http"])
def test_whoever_goes_frees_the_place(speaking: Any, held: Any, how: str) -> None:
    with serving(speaking, num_replies=1, num_waiting=0) as server:
        address = f"127.0.0.1:{server.port}"
        if how == "http":
            connection = HTTPConnection(address)
            body = json.dumps(asked(stream=True))
            connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
            connection.getresponse()
            assert until(lambda: server.served.places.counts() == (1, 0))
            connection.close()
        else:
            client = RealtimeClient(address, {**MANUAL, "cslm": ENGLISH})
            client.ask()
            client.until("response.created")
            assert until(lambda: not is_free(server))
            {"cancel": lambda: client.send("response.cancel"), "close": client._socket.close, "drop": client.drop}[
                how
            ]()
        assert until(lambda: server.served.places.counts() == (0, 0))  # though the model stands still
        held.end()
        assert until(lambda: is_free(server))
        status, told = post(address, "/v1/chat/completions", asked())
        assert status == 200 and told["choices"][0]["message"]["content"] is not None


def test_a_hundred_cancels_leave_nothing(server: Any, address: str) -> None:
    with RealtimeClient(address, {**MANUAL, "cslm": ENGLISH}) as client:
        client.answer()
        before = threading.active_count()
        for _ in range(100):
            client.ask(tone(0.3, 24000))
            client.until("response.created")
            client.send("response.cancel")
            status = client.until("response.done")[-1]["response"]["status"]
            assert status in ("cancelled", "completed", "incomplete")
        assert until(lambda: is_free(server)) and threading.active_count() <= before + 24
        assert client.answer()[-1]["response"]["status"] in ("completed", "incomplete")


def test_a_failing_model_is_told_and_the_next_is_answered(speaking: Any) -> None:
    with serving(speaking) as server:
        address = f"127.0.0.1:{server.port}"

        def fail(*_: Any) -> None:
            raise RuntimeError("out of memory")

        hook = speaking.register_forward_pre_hook(fail)
        status, told = post(address, "/v1/chat/completions", asked())
        assert status == 500 and told["error"]["code"] == "engine_failed"
        # the prompts by which the two languages are told apart, each alone: who asked is told after the first
        assert until(lambda: server.served.engine.metrics.value("cslm_engine_failures_total") == 2)
        hook.remove()
        assert post(address, "/v1/chat/completions", asked())[0] == 200


def test_an_error_of_another_kind_ended_the_engine_for_ever(speaking: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(*_: Any) -> None:
        raise KeyError("a slip")

    with serving(speaking) as server:
        address = f"127.0.0.1:{server.port}"
        hook = speaking.register_forward_pre_hook(fail)
        status, told = post(address, "/v1/chat/completions", asked())
        hook.remove()
        assert status == 500 and told["error"]["code"] == "engine_failed" and "KeyError" in told["error"]["message"]
        assert post(address, "/v1/chat/completions", asked())[0] == 200
        with pytest.raises(EngineError, match="ZeroDivisionError"):
            server.served.engine.call(lambda: 1 // 0).result(600)
        assert server.served.engine.call(lambda: 1).result(600) == 1
    assert "a slip" in capsys.readouterr().err  # the log has all of it


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_server_whose_engine_ended_says_so_and_stops(speaking: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def leave() -> None:
        raise SystemExit("gone")

    server = RunningServer(speaking, "tiny", ServerOptions(port=0))
    with server.in_background():
        asked_for = server.served.engine.call(leave)
        with pytest.raises(EngineError, match="the engine ended"):  # once nobody was told
            asked_for.result(600)
        assert until(lambda: server._server.should_exit) and not server.served.engine.is_alive
        with pytest.raises(EngineError, match="the engine ended"):
            server.served.engine.call(leave)
    assert server._has_failed and "the engine ended: the server stops" in capsys.readouterr().out


def test_a_prompt_that_cannot_be_read_ended_the_replies_of_others(speaking: Any, held: Any) -> None:
    """It ends its own alone, also where others are read together with it."""
    poisoned = tone(0.9, 24000, 700.0)
    units = speaking.processor.units((np.frombuffer(pcm(poisoned), "<i2").astype(np.float32) / 32768, 24000))
    length = len(speaking.processor.question_prompt(units, "en", "en"))

    def fail(_: Any, __: Any, given: dict[str, Any]) -> None:
        if given["input_ids"].shape[1] > 1 and bool((given["attention_mask"].sum(dim=1) == length).any()):
            raise RuntimeError("out of memory")

    with serving(speaking) as server:
        clients = [RealtimeClient(f"127.0.0.1:{server.port}", {**MANUAL, "cslm": ENGLISH}) for _ in range(3)]
        clients[0].ask()
        clients[0].until("response.created")
        assert until(lambda: bool(server.served.engine._joining))  # the model stands still on its prompt
        for client, sound in zip(clients[1:], (poisoned, None), strict=True):
            client.ask(sound)
            client.until("response.created")
        assert until(lambda: len(server.served.engine._waiting) == 2)
        hook = speaking.register_forward_pre_hook(fail, with_kwargs=True)
        held.end()
        ends = [client.until("response.done")[-1]["response"]["status"] for client in clients]
        hook.remove()
        for client in clients:
            client.__exit__(None, None, None)
    assert ends[1] == "failed" and {ends[0], ends[2]} <= {"completed", "incomplete"}


def test_places_are_worked_on_in_the_order_they_came() -> None:
    places = Places(2, 1)
    first, second, third = (places.take() for _ in range(3))
    with pytest.raises(Refusal, match="queue is full"):
        places.take()
    assert [places.may_work(one) for one in (third, second, first)] == [False, True, True]
    assert places.counts() == (2, 1)
    first.give_back()
    first.give_back()
    assert places.may_work(third) and places.counts() == (2, 0)
    told: list[int] = []
    third.when_cancelled(lambda: told.append(1))
    third.cancel()
    third.cancel()
    third.when_cancelled(lambda: told.append(2))
    assert told == [1, 2]


def test_a_question_of_another_language_is_recognised_beside_other_replies(address: str) -> None:
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: post(address, "/v1/chat/completions", asked()), range(3)))
    assert [status for status, _ in found] == [200] * 3
    assert len({told["choices"][0]["message"]["content"] for _, told in found}) == 1
