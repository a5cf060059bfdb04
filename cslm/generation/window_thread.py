"""The thread that makes the windows of speech: of many replies, the one whose player runs dry soonest goes first."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class WindowThread:
    """One thread, which starts with the first work, and what waits for it."""

    def __init__(self) -> None:
        self._waiting: queue.PriorityQueue[tuple[float, int, Callable[[], None] | None]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def submit(self, needed_at: float, work: Callable[..., T], *given: Any) -> Future[T]:
        """Have something done.

        Args:
            needed_at: of what waits the least goes first, of equals the first that came.
        """
        future: Future[T] = Future()

        def do() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work(*given))
            except BaseException as error:  # noqa: BLE001  (it is for whoever asked)
                future.set_exception(error)

        self._waiting.put((needed_at, next(self._numbers), do))
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="decoder", daemon=True)
                self._thread.start()
        return future

    def close(self) -> None:
        """End it, behind all that waits."""
        self._waiting.put((float("inf"), next(self._numbers), None))
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while (do := self._waiting.get()[2]) is not None:
            do()
