"""A question that comes piece by piece: its units, and the model's reading of them, while it is still spoken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from cslm.codecs.units import Units
from cslm.errors import UserError
from cslm.generation.decoding import context_length
from cslm.generation.listening import Listener, ReadAhead, beginning_of
from cslm.sequences.prompts import PastTurn
from cslm.serving.received_audio import PCM_RATE_HZ
from cslm.serving.refusals import Refusal
from cslm.serving.rows import EngineError
from cslm.serving.served_model import HeardQuestion, ServedModel, Wishes

T = TypeVar("T")

_WORTH_HEARING = PCM_RATE_HZ // 5  # samples that are worth a look at the units


class SpokenQuestion:
    """One question of one connection; in the server's loop, with the work elsewhere."""

    def __init__(self, served: ServedModel, wishes: Wishes, past: Sequence[PastTurn]) -> None:
        """Begin to listen.

        Args:
            wishes: the languages that are known by now; the model reads ahead if the question's is.
            past: the turns before it, as far as they are known by now.
        """
        self._served, self._wishes = served, wishes
        self._past = past[len(past) - min(len(past), served.limits.max_turns) :]
        self._listener = Listener(served.processor)
        self._ahead: ReadAhead | None = ReadAhead(served.model)  # None once it has failed
        self._pending: list[NDArray[np.float32]] = []
        self._working: asyncio.Task[None] | None = None
        self.num_samples = 0
        """that were heard, at 24,000 Hz"""

    def push(self, samples: NDArray[np.float32]) -> None:
        """More of it ``(num_samples,)``, at 24,000 Hz."""
        self.num_samples += len(samples)
        self._pending.append(samples)
        enough = sum(map(len, self._pending)) >= _WORTH_HEARING
        if enough and (self._working is None or self._working.done()) and self._listener.hears_ahead:
            self._working = asyncio.create_task(self._listen())

    async def finish(self) -> HeardQuestion:
        """It is over.

        Raises:
            Refusal: too short to hold speech, or nothing that turns it into units.
        """
        try:
            if self._working is not None:
                await self._working
            rest = self._taken()
            units = await self._hear(lambda: self._finish(rest))
        except UserError as error:
            raise Refusal("audio_not_usable", " ".join(str(error).split()), param="audio") from error
        if self.num_samples and not len(units):
            raise Refusal("audio_not_usable", "the question holds no unit of speech: record it again", param="audio")
        return HeardQuestion(units, self._ahead if self._ahead is not None and self._ahead.num_ids else None)

    def close(self) -> asyncio.Task[None] | None:
        """Stop listening: it is wanted no longer. What is still at work, and is to be cancelled."""
        self._pending = []
        return self._working

    async def _listen(self) -> None:
        while sum(map(len, self._pending)) >= _WORTH_HEARING:
            units = await self._hear(partial(self._listener.push, self._taken(), PCM_RATE_HZ))
            if len(units):
                await self._read_ahead(units)

    async def _read_ahead(self, units: Units) -> None:
        """Have the model read what is certain of the prompt. Where that fails, all of it is read later."""
        asked, ahead = self._wishes.question_language, self._ahead
        if asked is None or ahead is None:
            return
        answered = self._wishes.answer_language or asked
        beginning = await self._hear(lambda: beginning_of(self._served.processor, units, asked, answered, self._past))
        context = context_length(self._served.model)
        if context is None or len(beginning.prompt) < context:
            try:
                engine = self._served.engine
                await asyncio.wrap_future(engine.call(lambda: ahead.read(beginning, foretells=engine.is_idle)))
            except EngineError:
                self._ahead = None

    async def _hear(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._served.ears, work)

    def _taken(self) -> NDArray[np.float32]:
        pieces, self._pending = self._pending, []
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def _finish(self, rest: NDArray[np.float32]) -> Units:
        self._listener.push(rest, PCM_RATE_HZ)
        return self._listener.finish()
