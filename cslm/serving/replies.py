"""From a reply's thread to the server's loop: what a generator yields on the one, awaited on the other."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from concurrent.futures import Executor
from contextlib import closing
from typing import Any, TypeVar

from cslm.errors import UserError
from cslm.generation.events import AnswerText, QuestionText
from cslm.serving.places import CancelledReplyError, Place
from cslm.serving.refusals import Refusal, too_slow
from cslm.serving.rows import EngineError

T = TypeVar("T")

_END: Any = object()


async def events_of(
    make: Callable[[], Generator[T, None, None]],
    place: Place,
    threads: Executor,
    longest_sec: float,
    when_ended: Callable[[], None] = lambda: None,
) -> AsyncGenerator[T, None]:
    """What a generator yields that runs on a thread of its own. The place is given back when it has ended.

    Closing this, or cancelling the place, stops the work. A client that takes in nothing holds back no thread: what
    waits for it is no more than one reply.

    Args:
        longest_sec: then the place is cancelled.
        when_ended: called in the loop when the generator has ended, which may be after this was closed.

    Raises:
        Refusal: what the user can mend, an engine that failed, or a reply that took too long.
    """
    loop = asyncio.get_running_loop()
    told = _Told(loop)
    timer = loop.call_later(longest_sec, place.cancel)
    begun = loop.time()
    future = loop.run_in_executor(threads, _work, make, place, told.put)
    future.add_done_callback(lambda _: when_ended())
    try:
        is_over = False
        while not is_over:
            for event in joined_texts(await told.take()):
                is_over = event is _END
                if not is_over:
                    yield event
        await future
    except UserError as error:
        raise Refusal("cannot_answer", " ".join(str(error).split())) from error
    except EngineError as error:
        raise Refusal("engine_failed", str(error), 500) from error
    finally:
        timer.cancel()
        place.cancel()
    if loop.time() - begun >= longest_sec:
        raise too_slow(longest_sec)


def _work(make: Callable[[], Generator[Any, None, None]], place: Place, put: Callable[[Any], None]) -> None:
    try:
        with contextlib.suppress(CancelledReplyError), closing(make()) as events:
            for event in events:
                if place.is_cancelled:
                    break
                put(event)
    finally:
        place.give_back()
        put(_END)


class _Told:
    """What a thread tells a loop, which is woken once for all that comes before it looks."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Any] = deque()
        self._there = asyncio.Event()
        self._is_woken = False

    def put(self, event: Any) -> None:
        """From the thread."""
        self._waiting.append(event)
        if not self._is_woken:
            self._is_woken = True
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
                self._loop.call_soon_threadsafe(self._there.set)

    async def take(self) -> list[Any]:
        """From the loop: all that is there, once there was something; it may be gone already."""
        await self._there.wait()
        self._there.clear()
        self._is_woken = False  # before it is looked: what comes from now on wakes again
        found = []
        while self._waiting:
            found.append(self._waiting.popleft())
        return found


def joined_texts(events: Sequence[Any]) -> list[Any]:
    """The events, pieces of a text that follow each other as one piece: a client gets fewer messages."""
    found: list[Any] = []
    for event in events:
        if found and _goes_on(found[-1], event):
            found[-1] = dataclasses.replace(event, text=found[-1].text + event.text)
        else:
            found.append(event)
    return found


def _goes_on(before: Any, event: Any) -> bool:
    """Whether both are pieces of one text."""
    if isinstance(before, AnswerText) and isinstance(event, AnswerText):
        return before.chunk == event.chunk
    return isinstance(before, QuestionText) and isinstance(event, QuestionText) and before.field == event.field
