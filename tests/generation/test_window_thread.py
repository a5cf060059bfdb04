"""Windows of many replies on one thread: which goes first, and what becomes of errors."""

from __future__ import annotations

import threading

import pytest

from cslm.generation.window_thread import WindowThread


def test_what_is_needed_soonest_goes_first_and_equals_in_turn() -> None:
    thread, go, done = WindowThread(), threading.Event(), list[str]()
    thread.submit(0.0, go.wait)
    for needed_at, name in ((3.0, "late"), (1.0, "soon"), (1.0, "soon too"), (0.0, "first sound")):
        thread.submit(needed_at, done.append, name)
    go.set()
    thread.close()
    assert done == ["first sound", "soon", "soon too", "late"]


def test_an_error_is_for_whoever_asked_and_the_next_is_done() -> None:
    thread = WindowThread()
    with pytest.raises(ZeroDivisionError):
        thread.submit(0.0, lambda: 1 // 0).result(60)
    assert thread.submit(0.0, lambda: 1).result(60) == 1
    thread.close()


def test_what_was_cancelled_is_not_done() -> None:
    thread, go, done = WindowThread(), threading.Event(), list[int]()
    thread.submit(0.0, go.wait)
    waits = thread.submit(0.0, done.append, 1)
    assert waits.cancel()
    go.set()
    thread.close()
    assert not done
