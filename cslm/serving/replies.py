"""From a reply's thread to the server's loop: what a generator yields on the one, awaited on the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Executor
from contextlib import closing
from typing import Any, TypeVar

from cslm.errors import UserError
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
    told: asyncio.Queue[Any] = asyncio.Queue()
    timer = loop.call_later(longest_sec, place.cancel)
    begun = loop.time()
    future = loop.run_in_executor(threads, _work, make, place, _putter(loop, told))
    future.add_done_callback(lambda _: when_ended())
    try:
        while (event := await told.get()) is not _END:
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


def _putter(loop: asyncio.AbstractEventLoop, told: asyncio.Queue[Any]) -> Callable[[Any], None]:
    def put(event: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
            loop.call_soon_threadsafe(told.put_nowait, event)

    return put
