"""What one connection asks: the question that is being spoken, and the one that is over and waits for its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cslm.generation.turns import SpeechBegan, SpeechEnded, Spoken, TurnDetector
from cslm.serving.question import SpokenQuestion
from cslm.serving.realtime_reply import Asked, Tell
from cslm.serving.realtime_response import message_item
from cslm.serving.realtime_session import TurnDetection
from cslm.serving.received_audio import PCM_RATE_HZ
from cslm.serving.refusals import Refusal
from cslm.serving.served_model import ServedModel


class Questions:
    """The questions of a connection, and where it finds their ends."""

    def __init__(
        self,
        served: ServedModel,
        tell: Tell,
        new_name: Callable[[], str],
        listen: Callable[[], SpokenQuestion],
        detection: TurnDetection | None,
    ) -> None:
        """Begin without one.

        Args:
            tell: sends messages, in order.
            new_name: of an item.
            listen: begins to hear a question.
            detection: how the server finds the end of a turn; None: the client says it.
        """
        self._served, self._tell, self._new_name, self._listen = served, tell, new_name, listen
        self._detection = detection
        self._detector: TurnDetector | None = None  # once there is something to be judged
        self._dropped: set[asyncio.Task[Any]] = set()
        self.speaking: Asked | None = None
        """the one that is being spoken"""
        self.waiting: Asked | None = None
        """one that is over, and was not answered"""
        self.last_item: str | None = None
        """the last item of the conversation"""

    @property
    def num_samples(self) -> int:
        """Of the question that is being spoken, at 24,000 Hz."""
        return 0 if self.speaking is None else self.speaking.question.num_samples

    @property
    def longest(self) -> float:
        """Samples of a question, at most."""
        return self._served.limits.max_audio_sec * PCM_RATE_HZ

    def detect(self, detection: TurnDetection | None) -> None:
        """From now on ends of turns are found in another way."""
        self._detection, self._detector = detection, None

    async def judge(self, samples: NDArray[np.float32]) -> list[SpeechBegan | Spoken | SpeechEnded]:
        """What sound ``(num_samples,)`` at 24,000 Hz tells of turns."""
        return await asyncio.get_running_loop().run_in_executor(self._served.turns, self._judge, samples)

    def _judge(self, samples: NDArray[np.float32]) -> list[SpeechBegan | Spoken | SpeechEnded]:
        if self._detector is None:
            found = self._detection
            assert found is not None
            rule = (found.threshold, found.prefix_padding_ms, found.silence_duration_ms)
            longest_ms = 1000 * self._served.limits.max_audio_sec
            self._detector = TurnDetector(PCM_RATE_HZ, *rule, self._served.voice_activity, longest_ms)
        return list(self._detector.push(samples))

    def end_turn(self) -> None:
        """The turn that is heard is over for another reason."""
        if self._detector is not None:
            self._detector.end()

    def speak(self, samples: NDArray[np.float32], name: str | None = None) -> Asked:
        """More of the question that is being spoken; ``name`` is what a new one is called."""
        if self.speaking is None:
            self.speaking = Asked(name or self._new_name(), self._listen())
        self.speaking.question.push(samples)
        return self.speaking

    def check_length(self, more: int) -> None:
        """Make sure that there may be so many samples more.

        Raises:
            Refusal: the question would be too long.
        """
        if self.num_samples + more > self.longest:
            message = f"the question is longer than {self._served.limits.max_audio_sec:g} s: commit or clear it"
            raise Refusal("audio_too_long", message, param="audio")

    def clear(self) -> None:
        """Forget the question that is being spoken."""
        self.end_turn()
        self._drop(self.speaking)
        self.speaking = None

    async def over(self, is_buffer: bool = True) -> None:
        """The question that is being spoken is over, and waits for its answer.

        Args:
            is_buffer: whether it came through the buffer for sound, or as an item.
        """
        asked, self.speaking = self.speaking, None
        assert asked is not None
        if self.waiting is not None:
            self._drop(self.waiting)
            await self._tell([{"type": "conversation.item.deleted", "item_id": self.waiting.item_id}])
            if self.last_item == self.waiting.item_id:
                self.last_item = None
        asked.heard = asyncio.create_task(asked.question.finish())
        asked.heard.add_done_callback(_looked_at)
        before, self.last_item, self.waiting = self.last_item, asked.item_id, asked
        item = message_item(asked.item_id, "user", "completed", [{"type": "input_audio", "transcript": None}])
        where = {"previous_item_id": before}
        committed = {"type": "input_audio_buffer.committed", "item_id": asked.item_id, **where}
        await self._tell([
            *([committed] if is_buffer else []),
            {"type": "conversation.item.added", "item": item, **where},
            {"type": "conversation.item.done", "item": item, **where},
        ])  # fmt: skip

    def leave(self) -> set[asyncio.Task[Any]]:
        """Stop everything; what is to be waited for."""
        for asked in (self.speaking, self.waiting):
            self._drop(asked)
        self.speaking = self.waiting = None
        return self._dropped

    def _drop(self, asked: Asked | None) -> None:
        for task in () if asked is None else (asked.question.close(), asked.heard):
            if task is not None and not task.done():
                task.cancel()
                self._dropped.add(task)
                task.add_done_callback(self._dropped.discard)


def _looked_at(task: asyncio.Task[Any]) -> None:
    """What a question that nobody asks about ended with is of no interest."""
    if not task.cancelled():
        task.exception()
