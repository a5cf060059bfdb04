"""A progress bar with the time left; plain lines every few seconds where there is no terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Item = TypeVar("Item")

SECONDS_BETWEEN_LINES = 10.0


def progress_bar(
    iterable: Iterable[Item], total: int | None, description: str, note: Callable[[], str] = str
) -> Iterator[Item]:
    """Yield the items of ``iterable`` and show on stderr how far it is and how long the rest will take.

    Args:
        iterable: what to go through.
        total: how many items it has; None where nobody knows.
        description: what is being done, a few words.
        note: what else to show; called again as the work goes on.
    """
    if sys.stderr.isatty():
        yield from _bar(iterable, total, description, note)
    else:
        yield from _lines(iterable, total, description, note)


def _bar(iterable: Iterable[Item], total: int | None, description: str, note: Callable[[], str]) -> Iterator[Item]:
    told = TextColumn("{task.fields[note]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), told)
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(description, total=total, note="")
        for item in iterable:
            yield item
            progress.update(task, advance=1, note=note())


def _lines(iterable: Iterable[Item], total: int | None, description: str, note: Callable[[], str]) -> Iterator[Item]:
    start = last = time.monotonic()
    done = 0
    for item in iterable:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            how_far = ", ".join(part for part in (_how_far(done, total, now - start), note()) if part)
            print(f"{description}: {how_far}", file=sys.stderr, flush=True)
    print(f"{description}: {done} done in {time.monotonic() - start:.1f} s", file=sys.stderr, flush=True)


def _how_far(done: int, total: int | None, elapsed_sec: float) -> str:
    if not total:
        return f"{done}, {elapsed_sec:.0f} s"
    left_sec = elapsed_sec / done * max(total - done, 0)
    return f"{done}/{total}, {elapsed_sec:.0f} s, about {left_sec:.0f} s left"


@contextmanager
def without_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing bars for what takes a moment."""
    from transformers.utils import logging as transformers_logging  # here: audio needs no transformers

    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()
