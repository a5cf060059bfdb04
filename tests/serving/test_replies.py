"""What a reply's thread tells the loop: all of it, in its order, texts that came together as one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from cslm.generation.events import AnswerText, QuestionText
from cslm.serving.places import Places
from cslm.serving.replies import events_of, joined_texts


def test_pieces_of_one_text_are_one_piece() -> None:
    asked = [QuestionText(0.1, 1, "question_text", "Who"), QuestionText(0.2, 2, "question_text", " is?")]
    answered = [AnswerText(0.3, 3, 0, "An"), AnswerText(0.4, 4, 0, "na"), AnswerText(0.5, 5, 1, " works")]
    told: list[Any] = ["units", AnswerText(0.6, 6, 1, ".")]
    assert joined_texts([*asked, *answered, *told]) == [
        QuestionText(0.2, 2, "question_text", "Who is?"), AnswerText(0.4, 4, 0, "Anna"), answered[2], *told
    ]  # fmt: skip


def test_all_is_told_in_its_order_however_the_threads_meet() -> None:
    def count() -> Generator[int, None, None]:
        for number in range(2000):
            if number % 100 == 0:
                threading.Event().wait(0.001)
            yield number

    async def read(threads: ThreadPoolExecutor) -> list[Any]:
        place = Places(1, 0).take()
        return [event async for event in events_of(count, place, threads, 600)]

    with ThreadPoolExecutor(1) as threads:
        assert asyncio.run(read(threads)) == list(range(2000))
