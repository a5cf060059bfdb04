"""Prompts that the engine answers, and the ids of their replies on the way to whoever reads them."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from numpy.typing import NDArray

from cslm.generation.forward_passes import ForwardPasses
from cslm.serving.places import CancelledReplyError, Place


class EngineError(RuntimeError):
    """The model failed, or the engine stands still."""


class Kind(NamedTuple):
    """What rows have in common that are written together."""

    writes: str
    end_ids: frozenset[int]
    temperature: float = 0.0
    top_p: float = 1.0
    sure: bool = False
    """whether log probabilities are wanted"""


class Written(NamedTuple):
    """One id of a row."""

    token_id: int
    log_probability: float
    """nan where it was not asked for"""


class Row:
    """A prompt, and the ids of its reply as they are written: an iterator, for one thread."""

    def __init__(
        self,
        place: Place,
        prompt: NDArray[Any],
        kind: Kind,
        most: int,
        generator: torch.Generator | None,
        begun: ForwardPasses | None = None,
    ) -> None:
        self.place, self.prompt, self.kind, self.left = place, prompt, kind, most
        self.generator, self.begun = generator, begun
        self.step_sec = 0.0
        """how long the last id that was read took: since the id before it"""
        self._told: queue.SimpleQueue[list[tuple[Written, float]] | BaseException | None] = queue.SimpleQueue()
        self._held: list[tuple[Written, float]] = []
        self._last = self._handed_over = time.perf_counter()

    def tell(self, written: Written, hold_sec: float = 0.0) -> None:
        """From the engine: one id more.

        Args:
            hold_sec: ids are handed over no more often than this: each time wakes a thread, which takes the engine's.
        """
        now = time.perf_counter()
        self._held.append((written, now - self._last))
        self._last = now
        if now - self._handed_over >= hold_sec:
            self.hand_over()

    def hand_over(self) -> None:
        """From the engine: hold nothing back."""
        held, self._held, self._handed_over = self._held, [], time.perf_counter()
        if held:
            self._told.put(held)

    def end(self, error: BaseException | None = None) -> None:
        """Nothing comes any more."""
        self.hand_over()
        self._told.put(error)

    def __iter__(self) -> Iterator[Written]:
        """The ids.

        Raises:
            CancelledReplyError: its place was cancelled.
            EngineError: the model failed.
        """
        while True:
            told = self._told.get()
            if self.place.is_cancelled:
                raise CancelledReplyError
            if told is None:
                return
            if isinstance(told, BaseException):
                raise told
            for written, self.step_sec in told:
                if self.place.is_cancelled:
                    raise CancelledReplyError
                yield written


def groups(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows that can be read together; one of which something was read is by itself."""
    together: dict[Kind, list[Row]] = {}
    for row in rows:
        if row.begun is not None:
            yield [row]
        else:
            together.setdefault(row.kind, []).append(row)
    yield from together.values()
