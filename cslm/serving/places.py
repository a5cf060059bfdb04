"""Places for requests that the model works on: so many at once, so many that wait, no more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from cslm.serving.refusals import busy


class CancelledReplyError(Exception):
    """The reply is wanted no longer."""


class Place:
    """One request's place, from when it is taken until it is given back."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._lock = threading.Lock()
        self._told: list[Callable[[], None]] = []
        self.is_cancelled = False
        """whether the work for it is to stop"""
        self.admitted_at: float | None = None
        """when the model began to work for it, on the monotonic clock"""
        self.prompt: NDArray[np.int32] | None = None
        """what was asked of the model for it, (num_ids,)"""

    def cancel(self) -> None:
        """Stop the work for it: from any thread, at once, more than once."""
        with self._lock:
            if self.is_cancelled:
                return
            self.is_cancelled = True
            told, self._told = self._told, []
        for tell in told:
            tell()

    def when_cancelled(self, tell: Callable[[], None]) -> None:
        """Have a function called when it is cancelled, at once if it was."""
        with self._lock:
            if not self.is_cancelled:
                self._told.append(tell)
                return
        tell()

    def give_back(self) -> None:
        """Free the place: more than once is once."""
        self._places._free(self)


class Places:
    """Who has a place. Of those who have one, the first ``num_at_once`` are worked on, in the order they came."""

    def __init__(self, num_at_once: int, num_waiting: int) -> None:
        self._most, self._at_once = num_at_once + num_waiting, num_at_once
        self._lock = threading.Lock()
        self._taken: dict[Place, None] = {}
        self.when_freed: Callable[[], None] = lambda: None
        """called when a place was given back"""

    def check_room(self) -> None:
        """Make sure, before anything is read of a request, that there would be a place for it now.

        Raises:
            Refusal: none is left.
        """
        with self._lock:
            self._check_room()

    def take(self) -> Place:
        """A place.

        Raises:
            Refusal: none is left.
        """
        with self._lock:
            self._check_room()
            place = Place(self)
            self._taken[place] = None
            return place

    def _check_room(self) -> None:
        if len(self._taken) >= self._most:
            raise busy()

    def may_work(self, place: Place) -> bool:
        """Whether the model may work for it now."""
        with self._lock:
            ahead = next((n for n, other in enumerate(self._taken) if other is place), self._most)
        if ahead < self._at_once and place.admitted_at is None:
            place.admitted_at = time.monotonic()
        return ahead < self._at_once

    def counts(self) -> tuple[int, int]:
        """How many are worked on, and how many wait."""
        with self._lock:
            taken = len(self._taken)
        return min(taken, self._at_once), max(0, taken - self._at_once)

    def _free(self, place: Place) -> None:
        with self._lock:
            self._taken.pop(place, None)
        self.when_freed()
