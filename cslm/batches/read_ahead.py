"""Steps made before they are asked for: documents by worker processes, their rows by a thread, in the same order.

Turning a document into ids takes some hundred microseconds of Python and text tokenizer. Beside an accelerator that
time belongs to other cores. Blocks of document slots go to the workers in turn; what they give back is collected,
packed and queued while the step before it trains. Every step is the one that the stream makes by itself.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from cslm.batches.micro_batch import StepBatch
from cslm.batches.stream import BatchStream
from cslm.errors import UserError
from cslm.sequences.sequence import Sequence

BLOCK = 64
_BLOCKS_AHEAD = 8
_STEPS_AHEAD = 2

Document = tuple[str, Sequence]
_Asked = tuple[Mapping[str, Any], int, int]
"""position, rank, and number of processes"""


@contextlib.contextmanager
def read_ahead(stream: BatchStream, workers: int) -> Iterator[BatchStream | ReadAhead]:
    """The stream itself without workers, else one that reads ahead with so many processes until the block ends."""
    if workers == 0:
        yield stream
        return
    ahead = ReadAhead(stream, workers)
    try:
        yield ahead
    finally:
        ahead.close()


class ReadAhead:
    """The steps of a stream one after the other, each ready before it is asked for."""

    def __init__(self, stream: BatchStream, workers: int) -> None:
        assert workers > 0
        self._stream, self._workers = stream, workers
        self.groups = stream.groups
        self._running: _Running | None = None

    def step(self, position: Mapping[str, Any], rank: int = 0, world_size: int = 1) -> StepBatch:
        """As :meth:`BatchStream.step`; a position that is not the next one starts the reading anew, from there.

        Raises:
            UserError: as the stream.
        """
        asked = (dict(position) or {"slot": 0}, rank, world_size)
        if self._running is not None and self._running.asked != asked:
            self.close()
        if self._running is None:
            blocks = _blocks(self._stream, int(asked[0]["slot"]) // BLOCK, self._workers)
            self._running = _Running(self._stream, blocks, asked)
        batch = self._running.next()
        self._running.asked = (batch.position, rank, world_size)
        return batch

    def phase(self, position: Mapping[str, Any]) -> tuple[int, ...]:
        """As :meth:`BatchStream.phase`."""
        return self._stream.phase(position)

    def close(self) -> None:
        """Stop reading; the next step starts anew."""
        if self._running is not None:
            self._running.close()
            self._running = None


class _Refusal(NamedTuple):
    """What a worker was refused, to be raised in the training process in its own words."""

    error: UserError


class _Running:
    """One thread that makes step after step, as long as fewer than enough are ready."""

    def __init__(self, stream: BatchStream, blocks: Iterator[list[Document]], asked: _Asked) -> None:
        self.asked = asked
        self._stream, self._blocks = stream, blocks
        self._position = asked[0]
        self._held: dict[int, list[Document]] = {}
        self._next_block = int(asked[0]["slot"]) // BLOCK
        self._thread = ThreadPoolExecutor(1, "read ahead")
        self._ready = deque(self._thread.submit(self._make_step) for _ in range(_STEPS_AHEAD))

    def next(self) -> StepBatch:
        self._ready.append(self._thread.submit(self._make_step))
        return self._ready.popleft().result()

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        del self._blocks  # the workers end with it

    def _make_step(self) -> StepBatch:
        batch = self._stream.step(self._position, *self.asked[1:], self._document)
        self._position = batch.position
        return batch

    def _document(self, slot: int) -> Document:
        block = slot // BLOCK
        while self._next_block <= block:
            documents = next(self._blocks)
            if isinstance(documents, _Refusal):
                raise documents.error
            lowest = int(self._position["slot"]) // BLOCK  # where sources take turns, another may still be there
            self._held = {number: held for number, held in self._held.items() if number >= lowest}
            self._held[self._next_block] = documents
            self._next_block += 1
        return self._held[block][slot % BLOCK]


class _Blocks(Dataset[Any]):
    """Blocks of document slots by their number."""

    def __init__(self, stream: BatchStream) -> None:
        self._stream = stream

    def __getitem__(self, number: int) -> list[Document] | _Refusal:
        try:
            return [self._stream.document(number * BLOCK + place) for place in range(BLOCK)]
        except UserError as error:
            return _Refusal(error)


def _blocks(stream: BatchStream, first: int, workers: int) -> Iterator[Any]:
    """Blocks from ``first`` on, in order, made by worker processes that are forked now."""
    return iter(
        DataLoader(
            _Blocks(stream),
            batch_size=None,
            sampler=itertools.count(first),  # without an end
            num_workers=workers,
            collate_fn=_as_it_is,
            worker_init_fn=_leave_signals_to_the_parent,
            prefetch_factor=_BLOCKS_AHEAD,
            multiprocessing_context="fork",  # stores are mapped and text tokenizers loaded once
        )
    )


def _as_it_is(block: Any) -> Any:
    return block


def _leave_signals_to_the_parent(worker: int) -> None:
    """A signal to all processes of a job stops the training process, which then ends its workers."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
