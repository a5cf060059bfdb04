"""Served replies measured, server and clients in one process on one machine.

Times are of ``time.monotonic``, in milliseconds: ``p50``, ``p95``, ``p99`` and the largest.

- ``first_audio``: from the client's ``response.create``, behind its commit, to the first
  ``response.output_audio.delta`` at the client; ``cold`` is the first reply of a fresh server, the others are ``warm``.
- ``first_audio_by_floor``: the same by the reply's floor: the units of the question + the first step (the prompt) + the
  steps that the sound given out needed + the decoding of its last window, each measured by itself with no server.
- ``whole``: from the same to ``response.done``.
- ``connections``: ``first_audio`` with so many connections that ask at the same time, and ``p95_by_one``: its p95 by
  that of one.
- ``cancel``: from ``response.cancel`` to the end of the last pass of the model (0 where none ends later), and to
  ``response.done`` at the client.
- ``refusal``: of a server whose places are all taken, from ``response.create`` to the ``error``.
"""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.audio.waveform import load_waveform, resample
from cslm.benchmarks.timed_reply import Asked, floor_sec, spread, timed_apart
from cslm.generation.decoding import DecodingConfig
from cslm.generation.events import QuestionHeard
from cslm.generation.processor import mono_float
from cslm.serving.limits import LimitsConfig
from cslm.serving.received_audio import PCM_RATE_HZ
from cslm.serving.running_server import LOCAL_NAMES, RunningServer, ServerOptions, worth_a_process
from cslm.serving.sent_audio import pcm16

_PIECE = PCM_RATE_HZ // 10  # samples of one message


def served_replies(
    model: Any,
    asked: Sequence[Asked],
    max_new_tokens: int,
    num_connections: int = 8,
    num_cancels: int = 100,
    num_refusals: int = 50,
) -> dict[str, Any]:
    """The figures of this module, for a model and some questions, which are asked in turn."""
    limits = LimitsConfig(num_replies=max(8, num_connections), max_new_tokens=max_new_tokens)
    questions = [_Question(one) for one in asked]
    with _serving(model, limits) as server:
        cold = _ask(server, questions[0])
        warm = [_ask(server, one) for one in questions]
        found: dict[str, Any] = {
            "clock": "time.monotonic, server and clients in one process",
            "num_replies": len(warm),
            "num_heard": sum(reply.first_audio_ms is not None for reply in warm),
            "first_audio": {"cold": cold.first_audio_ms, "warm": spread([reply.first_audio_ms for reply in warm])},
            "whole": {"cold": cold.whole_ms, "warm": spread([reply.whole_ms for reply in warm])},
            "connections": _connections(server, questions, num_connections),
            "cancel": _cancels(server, model, questions, num_cancels),
        }
    found["first_audio_by_floor"] = _by_floor(model, questions, warm, max_new_tokens)
    found["refusal"] = _refusals(model, questions, max_new_tokens, num_refusals)
    return found


class _Question:
    """A question as clients send it."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        given = asked.question
        samples, rate = given if isinstance(given, tuple) else load_waveform(given)
        samples = resample(mono_float(samples), rate, PCM_RATE_HZ)
        self.pieces = [_text(samples[start : start + _PIECE]) for start in range(0, len(samples), _PIECE)]


def _text(samples: NDArray[np.float32]) -> str:
    audio = base64.b64encode(pcm16(samples)).decode("ascii")
    return json.dumps({"type": "input_audio_buffer.append", "audio": audio})


class _Reply:
    """What a client saw of one reply."""

    def __init__(self, start: float) -> None:
        self._start = start
        self.first_audio_ms: float | None = None
        self.num_samples = 0  # of the first sound
        self.whole_ms = 0.0

    def see(self, event: dict[str, Any]) -> bool:
        """One event more; whether it was the last."""
        now = 1000 * (time.monotonic() - self._start)
        if event["type"] == "response.output_audio.delta" and self.first_audio_ms is None:
            self.first_audio_ms, self.num_samples = now, len(base64.b64decode(event["delta"])) // 2
        self.whole_ms = now
        return bool(event["type"] == "response.done")


class _Client:
    """One connection that commits by itself."""

    def __init__(self, server: RunningServer, question: _Question) -> None:
        from websockets.sync.client import connect

        self._socket = connect(f"ws://127.0.0.1:{server.port}/v1/realtime", max_size=None, compression=None)
        languages = {
            "question_language": question.asked.question_language,
            "answer_language": question.asked.answer_language,
        }
        session = {"audio": {"input": {"turn_detection": None}}, "cslm": languages}
        self.send("session.update", session=session)
        self.until("session.updated")

    def __enter__(self) -> _Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, kind: str, **fields: Any) -> None:
        self._socket.send(json.dumps({"type": kind, **fields}))

    def next(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(self._socket.recv())
        return event

    def until(self, *kinds: str) -> dict[str, Any]:
        event = self.next()
        while event["type"] not in kinds:
            event = self.next()
        return event

    def question(self, question: _Question) -> None:
        for text in question.pieces:
            self._socket.send(text)
        self.send("input_audio_buffer.commit")

    def ask(self, question: _Question, at_once: Callable[[], Any] = lambda: None) -> _Reply:
        self.question(question)
        at_once()
        reply = _Reply(time.monotonic())
        self.send("response.create")
        while not reply.see(self.next()):
            pass
        return reply


def _ask(server: RunningServer, question: _Question, at_once: Callable[[], Any] = lambda: None) -> _Reply:
    """A conversation of its own, in the languages of the question: turns before it would be read too."""
    with _Client(server, question) as client:
        return client.ask(question, at_once)


@contextlib.contextmanager
def _serving(model: Any, limits: LimitsConfig) -> Iterator[RunningServer]:
    options = ServerOptions(port=0, hosts=LOCAL_NAMES, limits=limits, decoder_process=worth_a_process(model))
    with RunningServer(model, "measured", options).in_background() as server:
        yield server


def _connections(server: RunningServer, questions: Sequence[_Question], count: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number in (1, count):
        together = threading.Barrier(number)
        replies: list[_Reply] = []
        with ThreadPoolExecutor(number) as pool:
            for place in range(len(questions)):
                asked = [questions[(place + shift) % len(questions)] for shift in range(number)]
                replies += pool.map(_ask, [server] * number, asked, [together.wait] * number)
        found[str(number)] = spread([reply.first_audio_ms for reply in replies])
    one, many = found["1"], found[str(count)]
    found["p95_by_one"] = many["p95"] / one["p95"] if one and many else None
    return found


def _cancels(server: RunningServer, model: Any, questions: Sequence[_Question], count: int) -> dict[str, Any]:
    last_pass = [0.0]
    hook = model.register_forward_hook(lambda *_: last_pass.__setitem__(0, time.monotonic()))
    numbers, to_model, to_client = np.random.default_rng(0), [], []
    for place in range(count):
        question = questions[place % len(questions)]
        with _Client(server, question) as client:
            client.question(question)
            client.send("response.create")
            client.until("response.created")
            for _ in range(int(numbers.integers(1, 12))):
                if client.next()["type"] == "response.done":
                    break
            else:
                start = time.monotonic()
                client.send("response.cancel")
                client.until("response.done")
                to_client.append(1000 * (time.monotonic() - start))
                while any(server.served.places.counts()):
                    time.sleep(0.001)
                to_model.append(1000 * max(0.0, last_pass[0] - start))
    hook.remove()
    return {"count": len(to_model), "to_last_pass": spread(to_model), "to_response_done": spread(to_client)}


def _refusals(model: Any, questions: Sequence[_Question], max_new_tokens: int, count: int) -> dict[str, float] | None:
    """One place, which is taken by a reply whose passes wait."""
    limits = LimitsConfig(num_replies=1, num_waiting=0, max_new_tokens=max_new_tokens)
    go, found = threading.Event(), []

    def stand_still(*_: Any) -> None:
        go.wait(600)

    hook = model.register_forward_pre_hook(stand_still)
    with _serving(model, limits) as server:
        with _Client(server, questions[0]) as holder, _Client(server, questions[0]) as client:
            holder.question(questions[0])
            holder.send("response.create")
            holder.until("response.created")
            client.question(questions[0])
            client.until("input_audio_buffer.committed")
            for _ in range(count):
                start = time.monotonic()
                client.send("response.create")
                client.until("error")
                found.append(1000 * (time.monotonic() - start))
            go.set()
            holder.until("response.done")
        hook.remove()
    return spread(found)


def _by_floor(
    model: Any, questions: Sequence[_Question], replies: Sequence[_Reply], max_new_tokens: int
) -> dict[str, float] | None:
    """Of replies that were heard."""
    shares = []
    decoding = DecodingConfig(max_new_tokens=max_new_tokens)
    for question, reply in zip(questions, replies, strict=True):
        if reply.first_audio_ms is None:
            continue
        asked = question.asked
        events = model.stream(asked.question, asked.answer_language, asked.question_language, decoding)
        heard = next(events)
        events.close()
        assert isinstance(heard, QuestionHeard)
        with torch.inference_mode():
            timed = timed_apart(model, heard, decoding)
        floor = heard.time_sec + floor_sec(timed.ids, timed.windows, reply.num_samples / PCM_RATE_HZ)
        shares.append(reply.first_audio_ms / (1000 * floor))
    return spread(shares)
