"""One thread that runs the language model for everybody: the steps of all replies together.

Requests hand in rows, each a prompt to be answered, and read ids from them as they are written. Rows that are decoded
alike share one :class:`~cslm.generation.decoding.RunningBatch`; what a row writes does not depend on the others. A row
whose place was cancelled leaves before the next step.
"""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cslm.errors import UserError, first_line
from cslm.generation.decoding import (
    DecodingConfig,
    ReadPrompts,
    ReplyRules,
    RunningBatch,
    Step,
    context_length,
)
from cslm.generation.forward_passes import ForwardPasses
from cslm.serving.metrics import Metrics
from cslm.serving.places import Place, Places
from cslm.serving.rows import EngineError, Kind, Row, Written, groups

_HOLD_SEC = 0.001  # a row beside a reply: ids of eight rows are handed over some each 7 ms, those of one at once
_STEPS_WITH_ENDED_ROWS = 16  # before the rows of replies that have ended leave the batch, if fewer than half are such


class _Running:
    """Rows of one kind that are written together."""

    def __init__(self, model: Any, rules: ReplyRules, kind: Kind, most: int) -> None:
        self.kind = kind
        decoding = DecodingConfig(max_new_tokens=most, temperature=kind.temperature, top_p=kind.top_p)
        self._batch = RunningBatch(model, rules, decoding, kind.sure)
        self._rows: dict[int, Row] = {}
        self._numbers = 0
        self._since = 0

    @property
    def is_open(self) -> bool:
        """Whether a row is being written."""
        return bool(self._rows)

    @property
    def can_join(self) -> bool:
        """Whether other rows may be admitted."""
        return self._batch.can_join

    @property
    def num_rows(self) -> int:
        """That are being written."""
        return len(self._rows)

    def read(self, rows: Sequence[Row]) -> ReadPrompts:
        """Read the prompts of rows. If it fails, the others go on."""
        numbers = range(self._numbers, self._numbers + len(rows))
        self._numbers = numbers.stop
        generators = [row.generator for row in rows if row.generator is not None]
        begun = rows[0].begun if len(rows) == 1 else None
        return self._batch.read(numbers, [row.prompt for row in rows], generators, begun)

    def admit(self, rows: Sequence[Row], read: ReadPrompts) -> None:
        """Rows whose prompts were read join, and are told their first ids."""
        self._rows |= dict(zip(read.step.prompts, rows, strict=True))
        self._tell(self._batch.admit(read))

    def step(self) -> int:
        """One id more for each row; how many that were."""
        for number, row in list(self._rows.items()):
            if row.place.is_cancelled:
                self._leave(number)
        if not self._rows:
            return 0
        self._since += 1
        ended = self._batch.num_ended
        if ended and (ended >= self._batch.num_open or self._since >= _STEPS_WITH_ENDED_ROWS):
            self._batch.make_room()
            self._since = 0
        step = self._batch.step()
        self._tell(step)
        return len(step.ids)

    def fail(self, error: BaseException) -> None:
        """Tell all rows that it is over; the batch is used no more."""
        rows, self._rows = self._rows, {}
        for row in rows.values():
            row.end(error)

    def hand_over(self) -> None:
        """Before something that takes long: hold no id back."""
        for row in self._rows.values():
            row.hand_over()

    def _tell(self, step: Step) -> None:
        hold_sec = _HOLD_SEC * (len(self._rows) - 1)
        sure = step.log_probabilities or [float("nan")] * len(step.ids)
        for number, token_id, probability in zip(step.prompts, step.ids, sure, strict=True):
            row = self._rows[number]
            row.tell(Written(token_id, probability), hold_sec)
            row.left -= 1
            if token_id in self.kind.end_ids or not row.left:
                self._leave(number)

    def _leave(self, number: int) -> None:
        self._batch.drop(number)
        self._rows.pop(number).end()


class Engine:
    """The thread. Everything else talks to it by :meth:`write` and :meth:`call`."""

    def __init__(self, model: Any, rules: Callable[[Kind], ReplyRules], places: Places, most: int) -> None:
        """Start it.

        Args:
            model: a causal language model.
            rules: of replies of a kind.
            places: says whose rows may be written.
            most: ids of a reply.
        """
        self._model, self._rules, self._places, self._most = model, rules, places, most
        self.metrics = Metrics()
        self._changed = threading.Condition()
        self._waiting: list[Row] = []
        self._calls: list[tuple[Callable[[], Any], Future[Any]]] = []
        self._joining: list[Row] = []
        self._running: list[_Running] = []
        self._error: EngineError | None = None
        self.when_dead: Callable[[], None] = lambda: None
        """called, on its thread, if it ends though nobody closed it"""
        places.when_freed = self._wake
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it works."""
        return self._error is None and self._thread.is_alive()

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits for a step: asked on its thread, by a call."""
        with self._changed:
            return not (self._waiting or self._calls or any(running.is_open for running in self._running))

    def write(
        self,
        place: Place,
        prompts: Sequence[NDArray[Any]],
        kind: Kind,
        most: int,
        generators: Sequence[torch.Generator] = (),
        begun: ForwardPasses | None = None,
    ) -> list[Row]:
        """Have the replies to prompts ``(num_ids,)`` written, ``most`` ids each at most.

        Args:
            generators: one a prompt; needed where the temperature of the kind is above 0.
            begun: of a single prompt, passes that have read the beginning of it.

        Raises:
            UserError: a prompt that fills the model's context.
            EngineError: it stands still.
        """
        rows = []
        for number, prompt in enumerate(prompts):
            room = self._room(prompt)
            generator = generators[number] if generators else None
            rows.append(Row(place, np.asarray(prompt), kind, min(most, self._most, room), generator, begun))
        for row in rows:
            place.when_cancelled(row.end)
        place.when_cancelled(self._wake)
        with self._changed:
            self._check()
            self._waiting += rows
            self._changed.notify()
        return rows

    def call(self, work: Callable[[], Any]) -> Future[Any]:
        """Have something computed with the model between two steps.

        Raises:
            EngineError: it stands still.
        """
        future: Future[Any] = Future()
        with self._changed:
            self._check()
            self._calls.append((work, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Stop, and wait for it. Whoever still reads is told."""
        with self._changed:
            self._error = self._error or EngineError("the server stops")
            self._changed.notify()
        self._thread.join()

    def _check(self) -> None:
        if self._error is not None:
            raise EngineError(str(self._error))

    def _room(self, prompt: NDArray[Any]) -> int:
        context = context_length(self._model)
        if context is not None and len(prompt) >= context:
            raise UserError(f"a prompt of {len(prompt)} ids fills the model's context of {context}: ask a shorter one")
        return self._most if context is None else context - len(prompt)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _run(self) -> None:
        try:
            while self._turn():
                pass
        finally:
            with self._changed:
                is_closed = self._error is not None
                self._error = self._error or EngineError("the engine ended: the log of the server says why")
                rows, calls = [*self._waiting, *self._joining], self._calls
                self._waiting, self._joining, self._calls = [], [], []
            for running in self._running:
                running.fail(self._error)
            for row in rows:
                row.end(self._error)
            for _, future in calls:
                if future.set_running_or_notify_cancel():
                    future.set_exception(self._error)
            if not is_closed:
                self.when_dead()

    def _turn(self) -> bool:
        """One round: a call, rows that join, a step of each batch. False when it is to end."""
        with self._changed:
            while True:
                if self._error is not None:
                    return False
                self._joining = rows = self._admissible()
                if rows or self._calls or any(running.is_open for running in self._running):
                    break
                self._running = []  # the caches of what is over
                self._changed.wait()
            call = self._calls.pop(0) if self._calls else None
        if call is not None:
            _answer(*call)
        if rows:
            for running in self._running:
                running.hand_over()
        for group in groups(rows):
            self._admit(group)
        self._joining = []
        for running in self._running:
            with self._failing(running):
                before = time.perf_counter()
                count = running.step()
                if count:
                    self.metrics.stepped(count, time.perf_counter() - before)
        self._running = [running for running in self._running if running.is_open]
        return True

    def _admissible(self) -> list[Row]:
        """Waiting rows whose turn it is; those that were cancelled are taken out."""
        self._waiting = [row for row in self._waiting if not row.place.is_cancelled]
        found = [row for row in self._waiting if self._places.may_work(row.place)]
        taken = set(map(id, found))
        self._waiting = [row for row in self._waiting if id(row) not in taken]
        return found

    def _admit(self, rows: list[Row]) -> None:
        """Rows of one kind; if they cannot be read together, one by one: only those that fail end."""
        before = time.perf_counter()
        try:
            running = self._batch_for(rows[0].kind)
            read = running.read(rows)
        except Exception as error:  # noqa: BLE001  (whatever is wrong with a prompt ends its reply, not the engine)
            if len(rows) == 1:
                rows[0].end(self._failure(error, 1))
                return
        else:
            self.metrics.prompted(sum(len(row.prompt) for row in rows), time.perf_counter() - before)
            with self._failing(running):
                running.admit(rows, read)
            return
        for row in rows:
            self._admit([row])

    def _batch_for(self, kind: Kind) -> _Running:
        fitting = (one for one in self._running if one.kind == kind and one.can_join)
        running = next(fitting, None)
        if running is None:
            running = _Running(self._model, self._rules(kind), kind, self._most)
            self._running.append(running)
        return running

    @contextlib.contextmanager
    def _failing(self, running: _Running) -> Iterator[None]:
        """What the model cannot do, for want of memory say, ends the replies that it was done for, and nothing else."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  (whatever is wrong with these rows does not end the engine)
            running.fail(self._failure(error, running.num_rows))
            self._running = [one for one in self._running if one is not running]

    def _failure(self, error: Exception, num_rows: int) -> EngineError:
        """Log it; what the requests are told."""
        self.metrics.count("cslm_engine_failures_total")
        print(f"error: the model failed, {num_rows} rows end: {first_line(error)}", flush=True)
        return _told(error)


def _answer(work: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001  (it is for whoever asked)
        future.set_exception(_told(error))
    except BaseException as error:
        future.set_exception(EngineError(f"the engine ended: {first_line(error)}"))
        raise


def _told(error: Exception) -> EngineError:
    """What a request is told of an error; a slip of ours goes to the log as a whole."""
    if not isinstance(error, RuntimeError):
        traceback.print_exception(error)
        return EngineError(f"the model failed: {type(error).__name__}, the log of the server says more")
    return EngineError(f"the model failed: {first_line(error)}")
